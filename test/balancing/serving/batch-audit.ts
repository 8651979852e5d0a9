import { loadExclusions } from '../../../src/balancing/eligibility.ts'
import type { Lease } from '../../../src/balancing/limits/leases.ts'
import { WINDOW_MS } from '../../../src/balancing/limits/sliding-window.ts'
import type { KeyState } from '../../../src/balancing/pool-state.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { ExactMinute } from '../exact-minute.ts'
import { faultsOf } from '../grant-rules.ts'
import type { AnyPool } from '../pool-arbitraries.ts'
import type { Ask, KeySpec, PoolDriver } from '../pool-driver.ts'

const DEFAULT_SHARE = 0.5
const YIELD_MS = 2_000
const PROBES_AFTER_MS = 10_000
const ACTIVE_MS = 60_000
const OF_CAPACITY = ['at_max_concurrent', 'at_rpm', 'at_tpm']

export const isOfBatch = (request: Ask): boolean => request.class === 'batch'

/** What a batch may have of a key, written a second time and from outside. */
export class BatchAudit {
  readonly #config: AnyPool
  readonly #pool: PoolDriver
  readonly #minutes: ReadonlyMap<string, ExactMinute>
  /** When an interactive request lacked each key last. */
  readonly #lackedAtMs = new Map<string, number>()
  #askedAtMs = Number.NEGATIVE_INFINITY
  #interactiveAtMs = Number.NEGATIVE_INFINITY

  constructor(config: AnyPool, pool: PoolDriver) {
    this.#config = config
    this.#pool = pool
    this.#minutes = new Map(config.keys.map(({ id }) => [id, new ExactMinute()]))
  }

  asked(request: Ask): void {
    if (isOfBatch(request)) this.#askedAtMs = this.#pool.now()
    else this.#interactiveAtMs = this.#pool.now()
  }

  /** An interactive request got no lease at once. */
  lacked(request: Ask): void {
    const nowMs = this.#pool.now()
    if (nowMs - this.#askedAtMs >= ACTIVE_MS) return
    for (const key of this.#pool.state.keys.values()) {
      if (this.#isBusyFor(key, request)) this.#lackedAtMs.set(key.id, nowMs)
    }
  }

  /** Whether a key would serve a request if it had room. */
  #isBusyFor(key: KeyState, request: Ask): boolean {
    const { state } = this.#pool
    const nowMs = this.#pool.now()
    const [model = ''] = request.models ?? []
    const imagined = { keyId: key.id, model, request, keys: [...state.keys.values()], nowMs }
    const isAllowed = [true, false].some(
      (panic) => faultsOf({ ...imagined, panic }, this.#config).length === 0,
    )
    if (!isAllowed || key.breaker.kind !== 'closed') return false
    const lacks = loadExclusions(state, key, { tokens: request.tokens ?? 0 }, nowMs)
    const isCapacity = lacks.every(
      ({ reason, clearsAtMs }) => OF_CAPACITY.includes(reason) && clearsAtMs !== null,
    )
    return lacks.length > 0 && isCapacity
  }

  /** @param before the key just before */
  granted(lease: Lease, request: Ask, before: KeyState | undefined, hasWaited: boolean): string[] {
    const nowMs = this.#pool.now()
    const { keyId } = lease
    if (!isOfBatch(request)) {
      if (hasWaited) this.#lackedAtMs.set(keyId, nowMs)
      return []
    }
    const { maxConcurrent, rpm, tpm } = this.#specOf(keyId)
    const share = this.#config.setup.batch?.share ?? DEFAULT_SHARE
    const minute = this.#minutes.get(keyId)
    const { tokens = 0 } = request
    minute?.grant(lease.id, tokens, nowMs)
    const taken = minute?.since(nowMs - WINDOW_MS) ?? { requests: 0, tokens: 0 }
    const { inFlight } = this.#pool.key(keyId).batch
    const most = Math.max(1, Math.floor(share * (maxConcurrent ?? 64)))
    const sinceLackedMs = nowMs - (this.#lackedAtMs.get(keyId) ?? Number.NEGATIVE_INFINITY)
    const isProbe = before?.breaker.kind !== 'closed'
    const rules: readonly [holds: boolean, fault: string][] = [
      [!hasWaited, 'a batch has waited'],
      [inFlight <= most, `a batch has ${inFlight} leases of ${most}`],
      [
        taken.requests <= Math.max(1, share * (rpm ?? Infinity)),
        'a batch is over its share of rpm',
      ],
      [
        taken.tokens <= Math.max(tokens, share * (tpm ?? Infinity)),
        'a batch is over its share of tpm',
      ],
      [sinceLackedMs >= YIELD_MS, 'a batch did not yield'],
      [!lease.panic, 'a batch was granted a lease in panic'],
      [
        !isProbe || nowMs - this.#interactiveAtMs >= PROBES_AFTER_MS,
        'a batch is the probe among interactive requests',
      ],
    ]
    return rules.filter(([holds]) => !holds).map(([, fault]) => `${keyId}: ${fault}`)
  }

  settled(keyId: string, lease: string, told: Partial<Settlement>): void {
    const { usage, outcome, fault } = told
    if (usage === undefined && (outcome === 'success' || fault === 'nobody')) return
    const tokens = usage === undefined ? 0 : usage.promptTokens + usage.completionTokens
    this.#minutes.get(keyId)?.correct(lease, tokens, this.#pool.now())
  }

  /** What a key counts of batches now, and what is live of them. */
  countFaults(live: readonly { readonly keyId: string; readonly request: Ask }[]): string[] {
    return [...this.#pool.state.keys.values()].flatMap(({ id, batch, inFlight, rpm, tpm }) => {
      const out = live.filter(({ keyId, request }) => keyId === id && isOfBatch(request)).length
      const faults: string[] = []
      if (batch.inFlight !== out) faults.push(`${id}: ${batch.inFlight} of ${out} of batches`)
      if (batch.inFlight > inFlight) faults.push(`${id}: batches have more than there is`)
      const windows = [
        [batch.rpm, rpm],
        [batch.tpm, tpm],
      ] as const
      for (const [window, meter] of windows) {
        const sum = window.slots.reduce((all, { amount }) => all + amount, 0)
        if (sum !== window.total || window.slots.some(({ amount }) => amount < 0)) {
          faults.push(`${id}: what batches have taken is no sum`)
        }
        if (meter === null && sum > 0) faults.push(`${id}: batches have taken of no limit`)
      }
      return faults
    })
  }

  #specOf(id: string): KeySpec {
    return this.#config.keys.find((spec) => spec.id === id) ?? { id }
  }
}
