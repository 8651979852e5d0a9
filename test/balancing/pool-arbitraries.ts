import fc from 'fast-check'
import type { KeyReport } from '../../src/balancing/health/key-report.ts'
import type { LookupDuty } from '../../src/balancing/health/lookup-duty.ts'
import { accountId } from '../../src/balancing/ids.ts'
import type {
  BenchDetail,
  BenchOrder,
  BenchReason,
  BenchScope,
  BenchTerm,
  Settlement,
} from '../../src/balancing/settlement.ts'
import { STRATEGY_NAMES } from '../../src/balancing/strategies/strategy-registry.ts'
import {
  type Ask,
  type KeySpec,
  type RouteSpec,
  type Setup,
  usageOf,
  validReport,
} from './pool-driver.ts'

export interface AnyPool {
  readonly keys: readonly KeySpec[]
  readonly setup: Setup
}

const HAPPENINGS = [
  'ask',
  'ask-again',
  'settle',
  'settle-twice',
  'wait',
  'pause',
  'look-up',
  'leave',
  'order',
] as const

/**
 * What happens next. The walk maps the numbers to whatever exists at that moment. So every part of
 * a history is a valid history, and fast-check can shrink it.
 */
export interface Hint {
  readonly what: (typeof HAPPENINGS)[number]
  readonly pick: number
  readonly detail: number
}

export const MODELS = ['vendor/a', 'vendor/b', 'vendor/a:free'] as const
const OWNERS = ['org-1', 'org-2'] as const
const MEMBERS = ['user-1', 'user-2'] as const
const SCOPES: readonly BenchScope[] = [
  ...(['key', 'account', 'account_free', 'account_model', 'model', 'creator'] as const),
  'workspace',
]
const DETAILS: readonly BenchDetail[] = [
  ...(['key_rate_limited', 'budget_layer_spent', 'free_tier_spent'] as const),
  'provider_key_failed',
]

const anyKey = fc.record({
  account: fc.constantFrom('acme', 'globex', 'initech', null),
  tags: fc.subarray(['x', 'y']),
  weight: fc.integer({ min: 1, max: 4 }),
  maxConcurrent: fc.option(fc.integer({ min: 1, max: 4 }), { freq: 2 }),
  rpm: fc.option(fc.integer({ min: 1, max: 8 }), { freq: 2 }),
  tpm: fc.option(fc.integer({ min: 50, max: 400 }), { freq: 2 }),
  minCredit: fc.constantFrom(0, 0, 1),
  maxSpend: fc.constantFrom(
    ...[null, null],
    ...(['capped', 'exact'] as const).map((mode) => ({ usd: 2, period: 'day', mode }) as const),
  ),
  disabled: fc.nat({ max: 9 }).map((n) => n === 0),
})

/** No route here takes every model. Only the pool's last route does. */
const anyRoute = fc.record({
  models: fc.constantFrom<RouteSpec['models'][]>(
    ['vendor/a*'],
    ['vendor/b'],
    ['vendor/a'],
    ['an-alias'],
  ),
  keys: fc.option(
    fc.oneof(
      fc.subarray(['k0', 'k1', 'k3', 'tag:x', 'account:acme'], { minLength: 1 }),
      fc.subarray(['account:globex', 'account:org-1', 'account:org-2'], { minLength: 1 }),
    ),
  ),
  strategy: fc.constantFrom(...STRATEGY_NAMES),
})

export const poolArbitrary: fc.Arbitrary<AnyPool> = fc.record({
  keys: fc
    .array(anyKey, { minLength: 1, maxLength: 6 })
    .map((keys) => keys.map((key, i) => ({ ...key, id: `k${i}` }))),
  setup: fc.record({
    strategy: fc.constantFrom(...STRATEGY_NAMES),
    routes: fc.oneof(fc.constant([]), fc.array(anyRoute, { maxLength: 2 })),
    panicRatio: fc.constantFrom(0, 0.5, 1),
    batch: fc.constantFrom({ share: 0.5 }, { share: 0.5 }, { share: 0.25 }, { share: 1 }),
    breaker: fc.constantFrom(
      { failures: 2, windowMs: 60_000, cooldownMs: 10_000, maxCooldownMs: 40_000 },
      { failures: 1, windowMs: 1_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
    ),
    retryBudget: fc.constantFrom(
      { ratio: 0.2, minPerSecond: 0.1 },
      { ratio: 0, minPerSecond: 0 },
      { ratio: 1, minPerSecond: 2 },
    ),
    credit: fc.constantFrom({ refreshMs: 60_000 }, { refreshMs: 30_000, thresholdUsd: 2 }),
    queue: fc.constantFrom(
      { maxWaiting: 100, maxWaitMs: 10_000 },
      { maxWaiting: 2, maxWaitMs: 30_000 },
      { maxWaiting: 3, maxWaitMs: 60_000 },
      { maxWaiting: 0, maxWaitMs: 10_000 },
    ),
  }),
})

const weighed = (weight: number, ...whats: Hint['what'][]) => ({
  weight,
  arbitrary: fc.constantFrom(...whats),
})

export const historyArbitrary: fc.Arbitrary<Hint[]> = fc.array(
  fc.record({
    what: fc.oneof(
      weighed(7, 'ask'),
      weighed(5, 'settle'),
      weighed(3, 'pause', 'wait'),
      weighed(2, 'ask-again', 'settle-twice', 'leave'),
      weighed(1, 'look-up', 'order'),
    ),
    pick: fc.nat({ max: 1_000 }),
    detail: fc.nat({ max: 1_000_000 }),
  }),
  // By default fast-check prefers histories of a few steps, in which no breaker opens.
  { maxLength: 150, size: 'max' },
)

/** The lease request that a hint stands for. */
export function requestOf({ pick, detail }: Hint, lease: string): Ask {
  const [first, ...rest] = [pick, pick + 1, pick + 2].map((i) => at(MODELS, i) ?? MODELS[0])
  // Some callers send names that nobody knows.
  const asked = detail % 11 === 3 ? `invented/${pick % 5}` : (first ?? MODELS[0])
  const models = [asked, ...rest.slice(0, detail % 3)]
  return {
    lease,
    client: `client-${at([0, 0, 0, 1, 2], detail)}`,
    models,
    asked: detail % 8 === 1 ? 'an-alias' : (models[0] ?? MODELS[0]),
    attempt: at(['first', 'first', 'move', 'retry'], detail) ?? 'first',
    tried: detail % 4 === 0 ? [`k${pick % 6}`] : [],
    notAccounts: detail % 7 === 0 ? ['acme'] : [],
    tokens: at([0, 20, 60, 150, 350], pick + detail) ?? 0,
    size: at([100, 1_000, 10_000], pick) ?? 0,
    affinity:
      at([null, 'talk-1', 'talk-2', { kind: 'cache', id: 'body' } as const], detail >> 3) ?? null,
    leaseMs: detail % 5 === 0 ? 5_000 : 300_000,
    waitMs: at([0, 0, 4_000, 60_000], detail >> 5) ?? 0,
    ...(detail % 13 < 2 ? { class: 'batch' as const } : {}),
  }
}

/** One of the items, chosen by any index; undefined if there are no items. */
export function at<T>(items: readonly T[], index: number): T | undefined {
  return items.length === 0 ? undefined : items[index % items.length]
}

/** A 401. */
const SUSPECTED: BenchOrder = {
  scope: 'key',
  reason: 'key_rejected',
  term: { kind: 'for', forMs: 60_000 },
}

/** The settlement that a number stands for. */
export function settlementOf(detail: number, nowMs: number): Partial<Settlement> {
  // Eighths of a dollar add up without rounding.
  const usage = usageOf(detail % 100, detail % 10, (detail % 16) / 8)
  switch (detail % 6) {
    case 0:
      return { outcome: 'success', usage, firstOutputMs: detail % 3_000 }
    case 1:
      return { outcome: 'success', ...(detail % 4 === 1 ? {} : { usage }) }
    case 2:
      if (detail % 24 < 12) {
        return { outcome: 'ignorable', fault: detail % 4 === 0 ? 'nobody' : 'caller' }
      }
      return {
        outcome: 'ignorable',
        fault: 'key',
        tooLargeFor: detail % 4 === 0 ? 'key' : 'account',
      }
    case 3:
      return { outcome: 'failure', fault: 'upstream', ...(detail % 4 === 3 ? { usage } : {}) }
    case 4:
      return { outcome: 'failure', fault: 'unknown', benches: [benchOrder(detail, nowMs)] }
    default:
      return detail % 12 === 5
        ? { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true }
        : { outcome: 'ignorable', fault: 'key', benches: [benchOrder(detail, nowMs)] }
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
  // Only a key's own bench may have no end but a lookup, because only keys are looked up.
  const endless = term.kind === 'lookup' && term.lapseMs === null
  const scope = endless ? 'key' : (at(SCOPES, turn) ?? 'key')
  const broke = term.kind === 'lookup' && scope === 'account'
  const passing: BenchReason = broke ? 'account_out_of_credit' : 'account_rate_limited'
  const reason: BenchReason = endless ? 'key_spent' : passing
  const named = turn % 3 === 0 ? at(DETAILS, detail) : undefined
  return { scope, reason, term, ...(named === undefined ? {} : { detail: named }) }
}

/** What a lookup finds. Sometimes it is an answer that another Worker got a moment ago. */
export function keyReportOf(order: LookupDuty, detail: number, nowMs: number): KeyReport {
  const { keyId } = order
  const askedAtMs = detail % 5 === 0 ? Math.max(order.freshSinceMs, nowMs - 10_000) : nowMs
  if (detail % 6 === 0) return { keyId, kind: 'rejected', askedAtMs }
  if (detail % 6 === 1) return { keyId, kind: 'unknown' }
  const owner = at([null, ...OWNERS], detail >> 4) ?? null
  const remainingUsd = detail % 9 === 0 ? null : (detail % 7) - 1
  return validReport(keyId, remainingUsd, askedAtMs, {
    resetsAtMs: detail % 3 === 0 ? nowMs + 30_000 : null,
    owner: owner === null ? null : accountId(owner),
    layer: detail % 4 === 0 ? 'member' : null,
    creator: at([null, ...MEMBERS], detail >> 3) ?? null,
    workspace: at([null, ...MEMBERS], detail >> 5) ?? null,
    freeRemaining: at([null, 0, 5], detail >> 7) ?? null,
    balanceUsd: order.withBalance && detail % 8 < 3 ? (detail % 5) - 1 : null,
  })
}
