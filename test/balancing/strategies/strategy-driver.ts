import fc from 'fast-check'
import type { Credit } from '../../../src/balancing/accounting/credit.ts'
import { createLedger, type Tally, tallyOf } from '../../../src/balancing/accounting/ledger.ts'
import { keyId } from '../../../src/balancing/ids.ts'
import { createMeter, type Meter } from '../../../src/balancing/limits/meter.ts'
import { take } from '../../../src/balancing/limits/sliding-window.ts'
import { isNonEmpty, type NonEmpty } from '../../../src/balancing/non-empty.ts'
import type { PeakEwma } from '../../../src/balancing/strategies/peak-ewma.ts'
import type { Strategy } from '../../../src/balancing/strategies/strategy.ts'
import {
  type Candidate,
  type Choice,
  createMemory,
} from '../../../src/balancing/strategies/strategy.ts'
import { START_MS } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const DAY_MS = 86_400_000

/** A key as strategies see it. A test may change it. */
export interface Key extends Candidate {
  position: number
  weight: number
  inFlight: number
  lastTurn: number
  batch: { lastTurn: number }
  share: number
  credit: Credit
  latency: PeakEwma | null
  rpm: Meter | null
  tpm: Meter | null
  tally: Tally
}

export function keyAt(position: number, more: Partial<Key> = {}): Key {
  return {
    position,
    weight: 1,
    inFlight: 0,
    lastTurn: 0,
    batch: { lastTurn: 0 },
    share: 1,
    credit: { kind: 'unknown' },
    latency: null,
    rpm: null,
    tpm: null,
    tally: tallyWith(0),
    ...more,
  }
}

export const keysOf = (...weights: number[]): Key[] =>
  weights.map((weight, position) => keyAt(position, { weight }))

export const equal = (count: number, more: Partial<Key> = {}): Key[] =>
  Array.from({ length: count }, (_, position) => keyAt(position, structuredClone(more)))

export function creditOf(remainingUsd: number | null, more: Partial<Known> = {}): Credit {
  const limitUsd = remainingUsd === null ? null : 100
  const common = { resetsAtMs: null, asOfMs: START_MS, stale: false }
  return { kind: 'known', limitUsd, remainingUsd, ...common, ...more }
}

type Known = Extract<Credit, { kind: 'known' }>

export function meterWith(limit: number, ...takes: [amount: number, agoMs: number][]): Meter {
  const meter = createMeter(limit)
  if (meter === null) throw new Error('a limit makes a meter')
  for (const [amount, agoMs] of takes.toSorted((a, b) => b[1] - a[1])) {
    take(meter.window, amount, START_MS - agoMs)
  }
  return meter
}

/** The tally of a key that has spent this much on the day of `atMs`. */
export function tallyWith(costUsd: number, atMs: number = START_MS): Tally {
  const tally = tallyOf(createLedger().byKey, keyId('k'), atMs)
  tally.today.costUsd = costUsd
  tally.total.costUsd = costUsd
  return tally
}

export function choiceOf(seed: number, more: Partial<Choice> = {}): Choice {
  return {
    nowMs: START_MS,
    random: seededRandom(seed),
    memory: createMemory(),
    members: [],
    thresholdUsd: 1,
    meanCostUsd: 0,
    spentTodayUsd: 0,
    ...more,
  }
}

export function nonEmpty<T>(items: readonly T[]): NonEmpty<T> {
  if (!isNonEmpty(items)) throw new Error('a strategy is only asked when somebody is eligible')
  return items
}

/** Takes turns, each settled before the next. Returns the position of the key of each turn. */
export function play(
  strategy: Strategy,
  turns: number,
  choice: Choice,
  eligibleAt: (turn: number) => readonly Key[],
  firstTurn = 1,
): number[] {
  return Array.from({ length: turns }, (_, i) => {
    const chosen = strategy.choose(nonEmpty(eligibleAt(firstTurn + i)), choice)
    chosen.lastTurn = firstTurn + i
    return chosen.position
  })
}

/** Takes leases and settles none of them. Returns the position of the key of each lease. */
export function hold(
  strategy: Strategy,
  leases: number,
  choice: Choice,
  keys: readonly Key[],
): number[] {
  return Array.from({ length: leases }, (_, i) => {
    const chosen = strategy.choose(nonEmpty(keys), choice)
    chosen.lastTurn = i + 1
    chosen.inFlight += 1
    return chosen.position
  })
}

export const timesOf = (picks: readonly number[], position: number) =>
  picks.filter((pick) => pick === position).length

export const sharesOf = (picks: readonly number[], keys: readonly Key[]) =>
  keys.map(({ position }) => timesOf(picks, position))

const anyUsd = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e6, noNaN: true }))

const anyCredit: fc.Arbitrary<Credit> = fc.oneof(
  fc.constant<Credit>({ kind: 'unknown' }),
  fc.boolean().map((stale) => creditOf(null, { stale })),
  fc
    .record({
      remainingUsd: anyUsd,
      resetsAtMs: fc.constantFrom(null, START_MS - 1, START_MS + DAY_MS),
      stale: fc.boolean(),
    })
    .map(({ remainingUsd, ...more }) => creditOf(remainingUsd, more)),
)

const anyLatency: fc.Arbitrary<PeakEwma | null> = fc.option(
  fc.record({
    valueMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e6, noNaN: true })),
    // After a clock was set back, a sample may lie in the future.
    atMs: fc.integer({ min: START_MS - 10 * DAY_MS, max: START_MS + 5_000 }),
  }),
)

/** Unused, partly used, full, or over the limit because estimates were too low. */
const anyMeter: fc.Arbitrary<Meter | null> = fc.option(
  fc
    .tuple(
      fc.integer({ min: 1, max: 1_000 }),
      fc.array(fc.tuple(fc.nat({ max: 1_000 }), fc.nat({ max: 59_000 })), { maxLength: 5 }),
    )
    .map(([limit, takes]) => meterWith(limit, ...takes)),
)

const anyTally = fc
  .tuple(anyUsd, fc.constantFrom(START_MS, START_MS - DAY_MS))
  .map(([costUsd, atMs]) => tallyWith(costUsd, atMs))

/** A key in any state that it can have in a pool. */
export const anyKey: fc.Arbitrary<Omit<Key, 'position'>> = fc.record({
  weight: fc.integer({ min: 1, max: 1000 }),
  inFlight: fc.nat({ max: 5000 }),
  lastTurn: fc.nat(),
  batch: fc.record({ lastTurn: fc.nat() }),
  share: fc.constantFrom(1, 0.5, 0.1),
  credit: anyCredit,
  latency: anyLatency,
  rpm: anyMeter,
  tpm: anyMeter,
  tally: anyTally,
})

export const anyKeys: fc.Arbitrary<Key[]> = fc
  .array(anyKey, { minLength: 1, maxLength: 20 })
  .map((keys) => keys.map((key, position) => ({ ...key, position })))

/** A choice after any past of the pool. For the same keys it is the same at each call. */
export const anyChoice: fc.Arbitrary<(members: readonly Key[]) => Choice> = fc
  .record({
    seed: fc.integer(),
    smoothed: fc.array(fc.integer({ min: -1_000_000, max: 1_000_000 }), { maxLength: 20 }),
    current: fc.nat({ max: 25 }),
    isOfBatches: fc.boolean(),
    thresholdUsd: anyUsd,
    meanCostUsd: anyUsd,
    spentTodayUsd: anyUsd,
  })
  .map(({ seed, smoothed, current, isOfBatches, ...known }) => (members) => {
    const memory = { isOfBatches, smoothedWeights: [...smoothed], current }
    return choiceOf(seed, { memory, members, ...known })
  })
