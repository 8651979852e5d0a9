import type { KeyId } from '../ids.ts'
import { type Bench, isActive } from './bench.ts'
import type { KeyReport } from './key-report.ts'

/**
 * Whether a key has to be looked up. `due`: from `atMs` on. `out`: a Worker has the duty. Until
 * `overdueAtMs` its report may still come, so no other Worker gets the duty.
 */
export type DutyState =
  | { readonly kind: 'due'; readonly atMs: number }
  | { readonly kind: 'out'; readonly overdueAtMs: number }

/** What the pool knows of a key's lookups. */
export interface LookupState {
  readonly duty: DutyState
  /** When the latest report came, whatever it found; null if none came yet. */
  readonly reportedAtMs: number | null
  /** When the key came into doubt, while no newer answer has come; null if it is not in doubt. */
  readonly doubtedAtMs: number | null
  /** When the last report came for a key in doubt, whatever it found. */
  readonly verifiedAtMs: number | null
}

/** The order to ask `GET /key` about one key, given to one Worker at a time. */
export interface LookupDuty {
  readonly keyId: KeyId
  /** An answer of this moment or later is fresh enough, from any Worker. Epoch milliseconds. */
  readonly freshSinceMs: number
  /** Whether to ask for the account's balance too, if OpenRouter shows it. */
  readonly withBalance: boolean
}

/** A hundred requests that end with a 401 one after another must not cause a hundred lookups. */
const VERIFY_AGAIN_MS = 60_000

/** At first every key is due, because nothing is known of it. */
export const NEVER_LOOKED_UP: LookupState = {
  duty: { kind: 'due', atMs: 0 },
  reportedAtMs: null,
  doubtedAtMs: null,
  verifiedAtMs: null,
}

/** Whether the duty may be handed out: it is due, or its report is overdue. */
export function isDue(state: LookupState, nowMs: number): boolean {
  return nowMs >= dueAtMs(state)
}

/** When the duty may be handed out next, in epoch milliseconds. */
export function dueAtMs({ duty }: LookupState): number {
  return duty.kind === 'due' ? duty.atMs : duty.overdueAtMs
}

/** How long a lookup takes, about. */
const LOOKUP_MS = 1_000

/** When the next report may come, in epoch milliseconds: after the lookup under way, or the next. */
export function reportDueMs({ duty }: LookupState, nowMs: number): number {
  return duty.kind === 'due' ? Math.max(duty.atMs, nowMs + LOOKUP_MS) : nowMs + LOOKUP_MS
}

/** What tells whether a key is looked up while no request comes. */
interface RestingKey {
  readonly lookup: LookupState
  readonly bench: Bench | null
  readonly account: { readonly bench: Bench | null }
}

/** While an account is out of credit, its keys are looked up at least this often. */
const OUT_OF_CREDIT_MS = 5 * 60_000

/** Whether the key's account is out of credit, so that a lookup asks for its balance too. */
export function isOutOfCredit({ account }: Pick<RestingKey, 'account'>, nowMs: number): boolean {
  return isActive(account.bench, nowMs) && account.bench.reason === 'account_out_of_credit'
}

/**
 * Whether a key is to be looked up although no request comes. That is so while a lookup may show that
 * the key can serve again, or soon can't.
 */
export function isDueAtRest(key: RestingKey, isCapNear: boolean, nowMs: number): boolean {
  const { lookup, bench } = key
  const isWithoutCredit = isOutOfCredit(key, nowMs)
  const isCuredByLookup =
    isActive(bench, nowMs) && ['key_rejected', 'key_spent'].includes(bench.reason)
  const isWatched = isWithoutCredit || isCuredByLookup || isCapNear || lookup.doubtedAtMs !== null
  if (!isWatched) return false
  if (isDue(lookup, nowMs)) return true
  const { duty, reportedAtMs } = lookup
  return (
    isWithoutCredit &&
    duty.kind === 'due' &&
    nowMs >= (reportedAtMs ?? Number.NEGATIVE_INFINITY) + OUT_OF_CREDIT_MS
  )
}

/**
 * Hands out the duty.
 * @param refreshMs how old an answer may be, in milliseconds. A key that is not in doubt is not
 * looked up more often
 */
export function handOut(
  state: LookupState,
  nowMs: number,
  refreshMs: number,
): { state: LookupState; freshSinceMs: number } {
  return {
    // If the Worker dies before its report, it may still have asked OpenRouter. So the duty is not
    // handed out again before `refreshMs` have passed.
    state: { ...state, duty: { kind: 'out', overdueAtMs: nowMs + refreshMs } },
    // With an answer that is exactly `refreshMs` old, the next lookup would be due at once.
    freshSinceMs: Math.max(nowMs - refreshMs + 1, state.doubtedAtMs ?? 0),
  }
}

/**
 * Puts a key in doubt. The last answer no longer counts, even if it is fresh. A lookup to verify
 * the key is due at once, or `VERIFY_AGAIN_MS` after the last verification. If a Worker already has
 * the duty, its report decides what follows.
 */
export function doubt(state: LookupState, nowMs: number): LookupState {
  const doubted = { ...state, doubtedAtMs: nowMs }
  return state.duty.kind === 'out' ? doubted : { ...doubted, duty: verification(doubted, nowMs) }
}

function verification({ verifiedAtMs }: LookupState, nowMs: number): DutyState {
  const restedAtMs = verifiedAtMs === null ? nowMs : verifiedAtMs + VERIFY_AGAIN_MS
  return { kind: 'due', atMs: Math.max(nowMs, restedAtMs) }
}

/** The state after a report. An answer that is older than the doubt does not end the doubt. */
export function afterReport(
  state: LookupState,
  lookup: KeyReport,
  nowMs: number,
  refreshMs: number,
): LookupState {
  const askedAtMs = lookup.kind === 'unknown' ? nowMs : lookup.askedAtMs
  const isOlder = state.doubtedAtMs !== null && askedAtMs < state.doubtedAtMs
  const reported = { ...state, reportedAtMs: nowMs }
  // This report still counts as a verification. While 401s keep coming in, every answer is older
  // than the latest 401, and the lookups would follow each other without a pause.
  if (isOlder) return { ...reported, verifiedAtMs: nowMs, duty: verification(state, nowMs) }
  const wasDoubted = state.doubtedAtMs !== null
  return {
    duty: { kind: 'due', atMs: Math.min(askedAtMs, nowMs) + refreshMs },
    reportedAtMs: nowMs,
    // A failed lookup does not end the doubt. The next lookup comes after the usual time.
    doubtedAtMs: lookup.kind === 'unknown' ? state.doubtedAtMs : null,
    verifiedAtMs: wasDoubted ? nowMs : state.verifiedAtMs,
  }
}
