import { exclusionsOf, NO_CLAIMS, standingExclusions } from '../../../src/balancing/eligibility.ts'
import type { KeyId, LeaseId } from '../../../src/balancing/ids.ts'
import type { Decision, LeaseRequest } from '../../../src/balancing/lease-request.ts'
import { isBatchLease, type Lease } from '../../../src/balancing/limits/leases.ts'
import { WINDOW_MS } from '../../../src/balancing/limits/sliding-window.ts'
import { type KeyState, membersOf } from '../../../src/balancing/pool-state.ts'
import { requirementsOf, routeOf } from '../../../src/balancing/selection.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { ExactMinute } from '../../balancing/exact-minute.ts'
import { keysFreeFor } from '../../balancing/idle-keys.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, StepChanges, Watcher } from './invariant.ts'

const YIELD_MS = 2_000
const ACTIVE_MS = 60_000
/** Longer than anything that keeps a key for interactive requests after the last of them. */
const ALONE_MS = 15_000
/** After a restart an amount counts a second longer. */
const COUNTED_MS = WINDOW_MS + 1_100
const OF_CAPACITY = ['at_max_concurrent', 'at_rpm', 'at_tpm']

const isOfBatch = (request: Pick<LeaseRequest, 'class'>): boolean => request.class === 'batch'

/** 16. A batch has its share of a key and no more, goes last, and has what nobody else uses. */
export function batchesYield(accuse: Accuse): Watcher {
  const watch = new BatchWatch(accuse)
  return {
    // What a crash or a deployment may cost are counters of some seconds.
    born: (_state, _life, how) => watch.begin(how === 'eviction'),
    before: (step) => watch.before(step),
    after(step, changes) {
      watch.note(step, changes)
      for (const lease of changes.granted) if (isBatchLease(lease)) watch.checkGrant(step, lease)
      for (const [at, want] of (step.request?.wants ?? []).entries()) {
        const decision = step.reply?.decisions[at]
        if (decision !== undefined) watch.decided(step, want, decision)
      }
      if ([...changes.granted, ...changes.ended].some(isBatchLease)) checkCounts(step, accuse)
    },
  }
}

class BatchWatch {
  readonly #accuse: Accuse
  #minutes = new Map<KeyId, ExactMinute>()
  /** When an interactive request lacked each key last. */
  #lackedAtMs = new Map<KeyId, number>()
  #batchAtMs = Number.NEGATIVE_INFINITY
  #interactiveAtMs = Number.NEGATIVE_INFINITY
  #waiting: ReadonlySet<LeaseId> = new Set()
  /** Since when each grant was seen that the pool may count; null until the object's next step. */
  #knowsSinceMs: number | null = null

  constructor(accuse: Accuse) {
    this.#accuse = accuse
  }

  begin(knowsMinutes: boolean): void {
    if (!knowsMinutes) {
      this.#minutes = new Map()
      this.#knowsSinceMs = null
    }
    this.#lackedAtMs = new Map()
    this.#batchAtMs = Number.NEGATIVE_INFINITY
  }

  before({ state: { queue }, nowMs }: ObjectStep): void {
    this.#knowsSinceMs ??= nowMs
    this.#waiting = new Set(queue.size === 0 ? [] : queue.waiters.keys())
  }

  note({ request, nowMs }: ObjectStep, { granted, begun }: StepChanges): void {
    for (const lease of [...granted, ...begun]) {
      if (isBatchLease(lease)) {
        this.#minuteOf(lease.keyId).undo(lease.id)
        this.#minuteOf(lease.keyId).grant(lease.id, lease.tokens, nowMs)
      } else if (this.#waiting.has(lease.id)) this.#lackedAtMs.set(lease.keyId, nowMs)
      else this.#interactiveAtMs = nowMs
    }
    for (const settlement of request?.settlements ?? []) {
      for (const minute of this.#minutes.values()) lower(minute, settlement)
    }
  }

  checkGrant({ state, nowMs }: ObjectStep, lease: Lease): void {
    const key = state.keys.get(lease.keyId)
    if (key === undefined) return
    const { config, batch, id } = key
    const { share } = state.policy.batch
    const most = Math.max(1, Math.floor(share * (config.maxConcurrent ?? 64)))
    const { requests, tokens } = this.#minuteOf(id).since(nowMs - WINDOW_MS)
    const mostRequests = Math.max(1, share * (config.rpm ?? Infinity))
    const mostTokens = Math.max(lease.tokens, share * (config.tpm ?? Infinity))
    const sinceMs = nowMs - (this.#lackedAtMs.get(id) ?? Number.NEGATIVE_INFINITY)
    const rules: readonly [holds: boolean, what: string][] = [
      [batch.inFlight <= most, `${batch.inFlight} leases of ${most}`],
      [requests <= mostRequests, `${requests} requests in a minute`],
      [tokens <= mostTokens, `${tokens} tokens in a minute`],
      [sinceMs >= YIELD_MS, `a lease ${sinceMs} ms after somebody else lacked the key`],
      [!lease.panic, 'a lease in panic'],
    ]
    for (const [holds, what] of rules) if (!holds) this.#accuse(16, `a batch has ${what} of ${id}`)
  }

  decided(step: ObjectStep, want: LeaseRequest, decision: Decision): void {
    const { nowMs } = step
    const isRefused = decision.kind === 'refusal' && decision.cause === 'no_key'
    // The state is that after all wants: what the only one lacked can be told by it.
    const isAlone = step.request?.wants.length === 1
    if (isOfBatch(want)) {
      this.#batchAtMs = nowMs
      if (decision.kind === 'waiting') this.#accuse(16, `${want.leaseId} waits in the queue`)
      if (isRefused && isAlone) this.#checkRefusal(step, want)
      return
    }
    this.#interactiveAtMs = nowMs
    const hasBatch = nowMs - this.#batchAtMs < ACTIVE_MS
    if (!(isAlone && hasBatch && (isRefused || decision.kind === 'waiting'))) return
    for (const key of lackedBy(step, want)) this.#lackedAtMs.set(key.id, nowMs)
  }

  /** Once nobody else is there, a batch has what is free. */
  #checkRefusal({ state, nowMs }: ObjectStep, want: LeaseRequest): void {
    if (nowMs - this.#interactiveAtMs < ALONE_MS || state.queue.size > 0) return
    // What was granted before counts on for its minute.
    if (nowMs - (this.#knowsSinceMs ?? nowMs) < COUNTED_MS) return
    const { class: _class, ...interactive } = want
    const idle = keysFreeFor({ state, nowMs }, interactive).find(
      ({ id, batch, breaker }) =>
        batch.inFlight === 0 &&
        breaker.kind === 'closed' &&
        this.#minuteOf(id).since(nowMs - COUNTED_MS).requests === 0,
    )
    if (idle !== undefined) this.#accuse(16, `a batch was refused although ${idle.id} is idle`)
  }

  #minuteOf(id: KeyId): ExactMinute {
    const known = this.#minutes.get(id) ?? new ExactMinute()
    this.#minutes.set(id, known)
    return known
  }
}

function checkCounts({ state }: ObjectStep, accuse: Accuse): void {
  const live = [...state.leases.live.values()].filter(isBatchLease)
  for (const { id, batch } of state.keys.values()) {
    const count = live.filter(({ keyId }) => keyId === id).length
    if (batch.inFlight === count) continue
    accuse(16, `${id} counts ${batch.inFlight} leases of batches, and has ${count}`)
  }
}

/** The keys that would serve an interactive request if they had room. */
function lackedBy({ state, nowMs }: ObjectStep, want: LeaseRequest): readonly KeyState[] {
  const step = { state, nowMs }
  const [model] = want.models
  const requirements = requirementsOf(step, want, model, NO_CLAIMS)
  return membersOf(state, routeOf(state, want)).filter((key) => {
    const exclusions = standingExclusions(key, model, nowMs)
    const all = exclusionsOf(step, { key, exclusions }, requirements, false)
    const isCapacity = all.every(
      ({ reason, clearsAtMs }) => OF_CAPACITY.includes(reason) && clearsAtMs !== null,
    )
    return all.length > 0 && isCapacity
  })
}

function lower(minute: ExactMinute, { leaseId, unused, usage, outcome, fault }: Settlement): void {
  if (unused) minute.undo(leaseId)
  if (usage === undefined && (outcome === 'success' || fault === 'nobody')) return
  minute.lower(leaseId, usage === undefined ? 0 : usage.promptTokens + usage.completionTokens)
}
