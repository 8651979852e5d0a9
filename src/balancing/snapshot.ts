import { asOf, type Breaker } from './circuit-breaker.ts'
import { breakerObstacles, type Obstacle, survey } from './eligibility.ts'
import { type AccountId, type KeyId, modelId } from './ids.ts'
import { type Counters, createCounters } from './ledger.ts'
import type { PoolState } from './pool-state.ts'
import { REASONS, type Reason } from './reasons.ts'

export interface KeySnapshot {
  readonly id: KeyId
  readonly account: AccountId
  /** Why it would not serve now, or null. Load is not a reason here: a busy key is a usable one. */
  readonly reason: Reason | null
  /** When that ends by itself, or null. */
  readonly clearsAtMs: number | null
  readonly breaker: Breaker['kind']
  readonly inFlight: number
  readonly affordableTokens: number | null
  readonly total: Counters
}

export interface PoolSnapshot {
  readonly panic: boolean
  /** Keys that could serve some request now. */
  readonly usable: number
  readonly keys: readonly KeySnapshot[]
}

/** No caller's model has an empty name: benches of single models don't count against a key here. */
const NO_MODEL = modelId('')

/** The pool as an operator wants to see it. Changes nothing. */
export function snapshot(state: PoolState, nowMs: number): PoolSnapshot {
  const { seen, panic } = survey(state, NO_MODEL, nowMs)
  const keys = seen.map(({ key, lasting }) => {
    const obstacle = first(panic ? lasting : [...lasting, ...breakerObstacles(key, nowMs)])
    return {
      id: key.id,
      account: key.account.id,
      reason: obstacle?.reason ?? null,
      clearsAtMs: obstacle?.clearsAtMs ?? null,
      breaker: asOf(key.breaker, nowMs).kind,
      inFlight: key.inFlight,
      affordableTokens: key.affordableTokens,
      total: state.ledger.byKey.get(key.id)?.total ?? createCounters(),
    }
  })
  return { panic, usable: keys.filter(({ reason }) => reason === null).length, keys }
}

function first(obstacles: readonly Obstacle[]): Obstacle | undefined {
  return obstacles.toSorted((a, b) => REASONS.indexOf(a.reason) - REASONS.indexOf(b.reason))[0]
}
