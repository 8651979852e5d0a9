import { creditAsOf } from './accounting/credit.ts'
import type { Counters } from './accounting/ledger.ts'
import { breakerExclusions, type Exclusion, filterStanding } from './eligibility.ts'
import { isActive } from './health/bench.ts'
import { asOf, type Breaker } from './health/circuit-breaker.ts'
import { type AccountId, type KeyId, type ModelId, modelId } from './ids.ts'
import { shareUsed } from './limits/meter.ts'
import type { KeyState, PoolState } from './pool-state.ts'
import { REASONS, type Reason } from './reasons.ts'
import { valueMs } from './strategies/peak-ewma.ts'

export interface KeySnapshot {
  readonly id: KeyId
  readonly account: AccountId
  /** Why it would not serve now, or null. Load is not a reason here: a busy key is a usable one. */
  readonly reason: Reason | null
  /** When that ends by itself, or null. */
  readonly clearsAtMs: number | null
  readonly breaker: Breaker['kind']
  readonly inFlight: number
  /** Null while nobody has found out. */
  readonly credit: CreditSnapshot | null
  readonly expiresAtMs: number | null
  /** Whether it expires within a week. */
  readonly expiresSoon: boolean
  /** Peak EWMA of the time to first output; null while unmeasured. */
  readonly latencyMs: number | null
  /** Shares of its limits that are used; null without a limit. */
  readonly rpmUsed: number | null
  readonly tpmUsed: number | null
  readonly affordableTokens: number | null
  readonly total: Counters
}

export interface CreditSnapshot {
  /** The cap, and what is left of it; null for a key without one. */
  readonly limitUsd: number | null
  readonly remainingUsd: number | null
  readonly resetsAtMs: number | null
  readonly asOfMs: number
  /** Whether OpenRouter could not be asked again when it was time to. */
  readonly stale: boolean
}

export interface PoolSnapshot {
  readonly panic: boolean
  /** Keys that could serve some request now. */
  readonly usable: number
  /** Requests in the queue. */
  readonly waiting: number
  /** Models that are benched everywhere, with the end of it. */
  readonly benchedModels: readonly { readonly model: ModelId; readonly untilMs: number | null }[]
  readonly keys: readonly KeySnapshot[]
}

/** How long before a key expires its operator is to be warned. */
export const EXPIRY_WARNING_MS = 7 * 24 * 60 * 60_000

/** No caller's model has an empty name: benches of single models don't count against a key here. */
const NO_MODEL = modelId('')

/** The pool as an operator wants to see it. Changes nothing. */
export function snapshot(state: PoolState, nowMs: number): PoolSnapshot {
  const route = state.routes.at(-1) ?? state.routes[0]
  const { keys: standing, panic } = filterStanding({ state, nowMs }, route, NO_MODEL)
  const keys = standing.map(({ key, exclusions }) => {
    const breaker = panic ? [] : breakerExclusions(key, nowMs)
    const exclusion = first([...exclusions, ...breaker])
    return keySnapshot(key, exclusion, nowMs)
  })
  return {
    panic,
    usable: keys.filter(({ reason }) => reason === null).length,
    waiting: state.queue.size,
    benchedModels: [...state.modelBenches].flatMap(([model, bench]) =>
      isActive(bench, nowMs) ? [{ model, untilMs: bench.untilMs }] : [],
    ),
    keys,
  }
}

function keySnapshot(key: KeyState, exclusion: Exclusion | undefined, nowMs: number): KeySnapshot {
  const { expiresAtMs, latency, rpm, tpm } = key
  return {
    id: key.id,
    account: key.account.id,
    reason: exclusion?.reason ?? null,
    clearsAtMs: exclusion?.clearsAtMs ?? null,
    breaker: asOf(key.breaker, nowMs).kind,
    inFlight: key.inFlight,
    credit: creditSnapshot(key, nowMs),
    expiresAtMs,
    expiresSoon: expiresAtMs !== null && expiresAtMs - nowMs < EXPIRY_WARNING_MS,
    latencyMs: valueMs(latency, nowMs),
    rpmUsed: rpm === null ? null : shareUsed(rpm, nowMs),
    tpmUsed: tpm === null ? null : shareUsed(tpm, nowMs),
    affordableTokens: key.affordableTokens,
    total: key.tally.total,
  }
}

function creditSnapshot(key: KeyState, nowMs: number): CreditSnapshot | null {
  const credit = creditAsOf(key.credit, nowMs)
  if (credit.kind === 'unknown') return null
  const { limitUsd, remainingUsd, resetsAtMs, asOfMs, stale } = credit
  return { limitUsd, remainingUsd, resetsAtMs, asOfMs, stale }
}

function first(exclusions: readonly Exclusion[]): Exclusion | undefined {
  return exclusions.toSorted((a, b) => REASONS.indexOf(a.reason) - REASONS.indexOf(b.reason))[0]
}
