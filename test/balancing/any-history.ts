import fc from 'fast-check'
import type { PoolPolicy } from '../../src/balancing/pool-state.ts'
import type {
  BenchOrder,
  BenchReason,
  BenchScope,
  BenchTerm,
  Settlement,
} from '../../src/balancing/settlement.ts'
import { STRATEGY_NAMES } from '../../src/balancing/strategy.ts'
import { type KeySpec, usageOf } from './pool-driver.ts'

export interface AnyPool {
  readonly keys: readonly KeySpec[]
  readonly policy: Partial<PoolPolicy>
}

/** What happens next, in numbers that the walk reads as it can: so that any part of a history is one. */
export interface Hint {
  readonly what: 'ask' | 'ask-again' | 'settle' | 'settle-twice' | 'wait' | 'look-up'
  readonly pick: number
  readonly detail: number
}

export const MODELS = ['vendor/a', 'vendor/b', 'vendor/a:free'] as const
const SCOPES: readonly BenchScope[] = ['key', 'account', 'account_free', 'account_model', 'model']

const anyKey = fc.record({
  account: fc.constantFrom('acme', 'globex', 'initech'),
  weight: fc.integer({ min: 1, max: 4 }),
  maxConcurrent: fc.option(fc.integer({ min: 1, max: 4 }), { freq: 2 }),
  disabled: fc.nat({ max: 9 }).map((n) => n === 0),
})

export const anyPool: fc.Arbitrary<AnyPool> = fc.record({
  keys: fc
    .array(anyKey, { minLength: 1, maxLength: 6 })
    .map((keys) => keys.map((key, i) => ({ ...key, id: `k${i}` }))),
  policy: fc.record({
    strategy: fc.constantFrom(...STRATEGY_NAMES),
    panicRatio: fc.constantFrom(0, 0.5, 1),
    breaker: fc.constantFrom(
      { failures: 2, windowMs: 60_000, cooldownMs: 10_000, maxCooldownMs: 40_000 },
      { failures: 1, windowMs: 1_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
    ),
    retryBudget: fc.constantFrom(
      { ratio: 0.2, minPerSecond: 0.1 },
      { ratio: 0, minPerSecond: 0 },
      { ratio: 1, minPerSecond: 2 },
    ),
  }),
})

export const anyHistory: fc.Arbitrary<Hint[]> = fc.array(
  fc.record({
    what: fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom<Hint['what'][]>('ask') },
      { weight: 5, arbitrary: fc.constantFrom<Hint['what'][]>('settle') },
      { weight: 2, arbitrary: fc.constantFrom<Hint['what'][]>('wait') },
      {
        weight: 2,
        arbitrary: fc.constantFrom<Hint['what'][]>('ask-again', 'settle-twice', 'look-up'),
      },
    ),
    pick: fc.nat({ max: 1_000 }),
    detail: fc.nat({ max: 1_000_000 }),
  }),
  // Left to itself fast-check prefers histories of a handful of steps, in which no breaker opens.
  { maxLength: 150, size: 'max' },
)

/** Any of the items, or none if there is none. */
export function at<T>(items: readonly T[], index: number): T | undefined {
  return items.length === 0 ? undefined : items[index % items.length]
}

/** How one attempt ended, and what it taught. */
export function settlementOf(detail: number, nowMs: number): Partial<Settlement> {
  // Eighths of a dollar add up without rounding.
  const usage = usageOf(detail % 100, detail % 10, (detail % 16) / 8)
  switch (detail % 6) {
    case 0:
    case 1:
      return { outcome: 'success', usage }
    case 2:
      return { outcome: 'ignorable', fault: 'caller' }
    case 3:
      return { outcome: 'failure', fault: 'upstream' }
    case 4:
      return { outcome: 'failure', fault: 'unknown', benches: [benchOrder(detail, nowMs)] }
    default:
      return {
        outcome: detail % 12 === 5 ? 'failure' : 'ignorable',
        fault: 'key',
        benches: [benchOrder(detail, nowMs)],
        suspect: detail % 12 === 5,
      }
  }
}

function benchOrder(detail: number, nowMs: number): BenchOrder {
  const turn = Math.floor(detail / 6)
  const terms: readonly BenchTerm[] = [
    { kind: 'until', untilMs: nowMs + (turn % 90_000) - 10_000 },
    { kind: 'for', forMs: 15_000 },
    { kind: 'backoff', baseMs: 1_000, maxMs: 60_000 },
    { kind: 'lookup', lapseMs: turn % 8 === 3 ? null : 300_000 },
  ]
  const term = at(terms, turn) ?? { kind: 'for', forMs: 1 }
  // Only a key's own bench can wait for a lookup without an end: nothing else has lookups.
  const endless = term.kind === 'lookup' && term.lapseMs === null
  const scope = endless ? 'key' : (at(SCOPES, turn) ?? 'key')
  const broke = term.kind === 'lookup' && scope === 'account'
  const passing: BenchReason = broke ? 'account_out_of_credit' : 'account_rate_limited'
  const reason: BenchReason = endless ? 'key_spent' : passing
  return { scope, reason, term }
}
