import { type Picos, picosOf } from './decimal-price.ts'
import { dearerOf, type PriceName, type PriceOverride, type Rates } from './price-table.ts'
import type { PricedFields } from './priced-fields.ts'

/** The rates that may hold for a request, of which the dearest counts. */
export interface PossibleRates {
  readonly all: readonly Rates[]
  readonly overrides: readonly PriceOverride[]
  readonly maxPrice: PricedFields['maxPrice']
}

/** While a request of so many tokens at most runs, in epoch milliseconds. */
export interface Run {
  readonly promptTokens: bigint
  readonly startsAtMs: number
  readonly endsAtMs: number
}

/** Clocks differ. A window counts as open so long before and after. */
const CLOCK_SKEW_MS = 60_000

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

export function possibleRates(
  all: readonly Rates[],
  maxPrice: PricedFields['maxPrice'],
  run: Run,
): PossibleRates {
  const overrides = all.flatMap((rates) => rates.overrides.filter((one) => mayHold(one, run)))
  return { all, overrides, maxPrice }
}

function mayHold({ overTokens, window }: PriceOverride, run: Run): boolean {
  if (overTokens !== undefined && run.promptTokens <= overTokens) return false
  return window === undefined || mayBeOpen(window, run)
}

/** Whether a daily window is open at the start, or begins before the end. */
function mayBeOpen({ from, to }: { from: number; to: number }, run: Run): boolean {
  const startsAtMs = run.startsAtMs - CLOCK_SKEW_MS
  const lengthMs = run.endsAtMs + CLOCK_SKEW_MS - startsAtMs
  const sinceMs = modulo(startsAtMs - from * MINUTE_MS, DAY_MS)
  const openMs = modulo((to - from) * MINUTE_MS, DAY_MS)
  // A window of no length is one that cannot be read: it is open all day.
  return openMs === 0 || sinceMs < openMs || DAY_MS - sinceMs <= lengthMs
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by
}

/**
 * The dearest price that may hold.
 * @returns undefined if there is no such price, null if one of them is unknown
 */
export function dearestPrice(rates: PossibleRates, name: PriceName): Picos | null | undefined {
  const bases = rates.all.map(({ base }) => base[name]).reduce(dearerOf, undefined)
  const base = withinMaxPrice(bases, name, rates.maxPrice)
  return rates.overrides.map(({ prices }) => prices[name]).reduce(dearerOf, base)
}

/**
 * `provider.max_price` keeps a request from endpoints whose list price is higher. What an override
 * makes of that price it does not limit.
 */
function withinMaxPrice(
  price: Picos | null | undefined,
  name: PriceName,
  maxPrice: PricedFields['maxPrice'],
): Picos | null | undefined {
  if (typeof price !== 'number') return price
  const limit = limitOf(name, maxPrice)
  return limit === null ? price : Math.min(price, limit)
}

const TOKENS_PER_MILLION = 1e6

function limitOf(name: PriceName, maxPrice: PricedFields['maxPrice']): Picos | null {
  switch (name) {
    case 'prompt':
    case 'completion': {
      const perMillion = picosOf(maxPrice[name])
      return perMillion === null ? null : Math.ceil(perMillion / TOKENS_PER_MILLION)
    }
    case 'request':
    case 'image':
      return picosOf(maxPrice[name])
    default:
      return null
  }
}
