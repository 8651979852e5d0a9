import type { ClientId, GroupId, KeyId, ModelId } from '../ids.ts'
import type { BudgetOwner, Hold, SpendPeriod } from '../limits/quota-charge.ts'
import type { Usage } from '../settlement.ts'
import { MAX_ID_LENGTH } from './generations.ts'

/**
 * An answer that ended without its usage was booked as an estimate. OpenRouter tells some seconds later
 * what it really was (`GET /generation`), so a Worker is told to ask for it, and the difference is
 * booked once. If OpenRouter does not tell it within minutes, the estimate stays, and stays marked.
 */
export interface Reconciliation {
  readonly keyId: KeyId
  readonly clientId: ClientId
  readonly model: ModelId
  /** The group that it was booked for. Absent in a record of an earlier release. */
  readonly groupId?: GroupId | null
  readonly bookedAtMs: number
  /** What the ledger has counted; null for nothing. */
  readonly booked: Usage | null
  /** What the key's credit was charged. */
  readonly keyUsd: number
  /** What each budget was charged. */
  readonly holds: readonly Hold[]
  /** How often OpenRouter has not known it. */
  readonly tries: number
  /** From when on a Worker may be told to ask. While one asks, when another may. */
  readonly dueAtMs: number
}

/** The order to ask `GET /generation` about one answer, given to one Worker at a time. */
export interface GenerationDuty {
  readonly generationId: string
  /** A key of the account that made the answer. */
  readonly keyId: KeyId
}

/** What a Worker found. `not_found` is usual for a while; `unknown`: OpenRouter could not be asked. */
export type GenerationReport =
  | { readonly generationId: string; readonly kind: 'found'; readonly usage: Usage }
  | { readonly generationId: string; readonly kind: 'not_found' | 'unknown' }

/** Estimates that may still be replaced, by the id of their generation. */
export interface Reconciliations {
  readonly open: Map<string, Reconciliation>
  /** What was found, until it is booked with the next checkpoint. */
  readonly found: Map<string, FoundGeneration>
  /** Nothing is due before this moment. */
  dueAtMs: number
}

export interface FoundGeneration {
  readonly reconciliation: Reconciliation
  readonly usage: Usage
}

/** The pauses before OpenRouter is asked, and asked again. After the last of them the estimate stays. */
const PAUSES_MS = [5_000, 15_000, 45_000, 120_000] as const

/** How long a Worker may take to ask before another is told to. */
const TERM_MS = 60_000

/** How long it is tried while OpenRouter cannot be asked at all. */
const GIVE_UP_MS = 15 * 60_000

/** Half a megabyte. Where more are open at once, the oldest stays an estimate. */
const MAX_OPEN = 1_000

export function createReconciliations(): Reconciliations {
  return { open: new Map(), found: new Map(), dueAtMs: Number.POSITIVE_INFINITY }
}

/** Notes an estimate that can be replaced. An id that is open already changes nothing. */
export function openReconciliation(
  state: Reconciliations,
  id: string,
  booked: Omit<Reconciliation, 'tries' | 'dueAtMs'>,
): void {
  if (id.length > MAX_ID_LENGTH || state.open.has(id) || state.found.has(id)) return
  restoreReconciliation(state, id, {
    ...booked,
    tries: 0,
    dueAtMs: booked.bookedAtMs + PAUSES_MS[0],
  })
}

export function restoreReconciliation(
  state: Reconciliations,
  id: string,
  reconciliation: Reconciliation,
): void {
  state.open.set(id, reconciliation)
  state.dueAtMs = Math.min(state.dueAtMs, reconciliation.dueAtMs)
  const [oldest] = state.open.keys()
  if (state.open.size > MAX_OPEN && oldest !== undefined) state.open.delete(oldest)
}

/**
 * Hands out what is due, the most overdue first.
 * @param keyFor a key of the account that made the answer; null if none is left
 */
export function takeGenerationDuties(
  state: Reconciliations,
  keyFor: (keyId: KeyId) => KeyId | null,
  most: number,
  nowMs: number,
): readonly GenerationDuty[] {
  if (nowMs < state.dueAtMs) return []
  const due = [...state.open].filter(([, { dueAtMs }]) => nowMs >= dueAtMs)
  const first = due.toSorted(([, a], [, b]) => a.dueAtMs - b.dueAtMs).slice(0, most)
  const duties = first.flatMap(([generationId, reconciliation]) => {
    const keyId = keyFor(reconciliation.keyId)
    if (keyId === null) state.open.delete(generationId)
    else state.open.set(generationId, { ...reconciliation, dueAtMs: nowMs + TERM_MS })
    return keyId === null ? [] : [{ generationId, keyId }]
  })
  state.dueAtMs = earliestOf(state)
  return duties
}

function earliestOf({ open }: Reconciliations): number {
  let earliestMs = Number.POSITIVE_INFINITY
  for (const { dueAtMs } of open.values()) earliestMs = Math.min(earliestMs, dueAtMs)
  return earliestMs
}

/** Learns what a Worker found. A report of what is not open any more changes nothing. */
export function noteGenerationReport(
  state: Reconciliations,
  report: GenerationReport,
  nowMs: number,
): void {
  const { generationId: id } = report
  const reconciliation = state.open.get(id)
  if (reconciliation === undefined) return
  if (report.kind === 'found') {
    state.open.delete(id)
    state.found.set(id, { reconciliation, usage: report.usage })
    return
  }
  const tries = reconciliation.tries + (report.kind === 'not_found' ? 1 : 0)
  const pauseMs = PAUSES_MS[tries]
  if (pauseMs === undefined || nowMs - reconciliation.bookedAtMs >= GIVE_UP_MS) {
    state.open.delete(id)
    return
  }
  const dueAtMs = nowMs + pauseMs
  state.open.set(id, { ...reconciliation, tries, dueAtMs })
  state.dueAtMs = Math.min(state.dueAtMs, dueAtMs)
}

/** Takes what was found since the last call, to be booked. */
export function takeFound({ found }: Reconciliations): readonly FoundGeneration[] {
  const taken = [...found.values()]
  found.clear()
  return taken
}

/** An operator has forgotten what a budget had spent: nothing of it is to be corrected. */
export function forgetHolds(
  { open, found }: Reconciliations,
  owner: BudgetOwner,
  period: SpendPeriod,
): void {
  const without = (reconciliation: Reconciliation): Reconciliation => ({
    ...reconciliation,
    holds: reconciliation.holds.filter((hold) => hold.owner !== owner || hold.period !== period),
  })
  for (const [id, reconciliation] of open) open.set(id, without(reconciliation))
  for (const [id, { reconciliation, usage }] of found) {
    found.set(id, { reconciliation: without(reconciliation), usage })
  }
}
