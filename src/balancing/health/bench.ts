import type { Random } from '../random.ts'
import type { BenchDetail, BenchOrder, BenchReason } from '../settlement.ts'

/**
 * Out of use until a moment, or until a lookup shows room. A key, an account, or a model of one can
 * be benched.
 */
export interface Bench {
  readonly reason: BenchReason
  /** The reason in finer words; see `BenchDetail`. */
  readonly detail?: BenchDetail | undefined
  /** When time ends it, in epoch milliseconds; null if only a lookup ends it. */
  readonly untilMs: number | null
  /** `time` if waiting cures it; `lookup` if an operator has to pay or to repair something. */
  readonly cure: 'time' | 'lookup'
  /** Whether OpenRouter named the end, or the gateway guessed it. */
  readonly provenance: 'upstream' | 'guess'
  readonly sinceMs: number
  /** A bench below this one: it ends sooner, but no lookup clears it. Null for none. */
  readonly hidden: Bench | null
}

/** Benches that a lookup may end early. */
const CLEARED_BY_LOOKUP: ReadonlySet<BenchReason> = new Set([
  'key_rejected',
  'key_spent',
  'account_out_of_credit',
])

/**
 * No bench is longer than the longest window of a spending cap, a month. A `Retry-After`
 * is limited to less where it is read.
 */
export const MAX_BENCH_MS = 32 * 24 * 60 * 60 * 1000

/**
 * A guess is made longer by up to a fifth, at random, and never shorter. So keys that were
 * benched at the same moment do not all return at the same moment.
 */
const MAX_JITTER = 0.2

/**
 * The bench that an order asks for.
 * @param strikes how many consecutive `backoff` orders came before this one
 */
export function benchOf(order: BenchOrder, strikes: number, nowMs: number, random: Random): Bench {
  const { reason, detail, term } = order
  const guess = (ms: number) => nowMs + Math.min(ms * (1 + MAX_JITTER * random()), MAX_BENCH_MS)
  const common = {
    ...{ reason, sinceMs: nowMs, hidden: null },
    ...(detail === undefined ? {} : { detail }),
  }
  switch (term.kind) {
    case 'until': {
      const untilMs = Math.min(Math.max(term.untilMs, nowMs), nowMs + MAX_BENCH_MS)
      return { ...common, untilMs, cure: 'time', provenance: 'upstream' }
    }
    case 'for':
      return { ...common, untilMs: guess(term.forMs), cure: 'time', provenance: 'guess' }
    case 'backoff': {
      const forMs = Math.min(term.baseMs * 2 ** strikes, term.maxMs)
      return { ...common, untilMs: guess(forMs), cure: 'time', provenance: 'guess' }
    }
    case 'lookup': {
      const untilMs = term.lapseMs === null ? null : guess(term.lapseMs)
      return { ...common, untilMs, cure: 'lookup', provenance: 'guess' }
    }
  }
}

/**
 * The reason that is reported for a key while a bench excludes it. A rejection that time ends is not
 * confirmed yet. It needs no finer word of its own: every release makes such a bench.
 */
export function reportedReason({
  reason,
  detail,
  untilMs,
}: Bench): BenchReason | BenchDetail | 'key_suspected' {
  return detail ?? (reason === 'key_rejected' && untilMs !== null ? 'key_suspected' : reason)
}

/** Whether a lookup of a key may end the bench before time does: see key-report.ts. */
export function mayEndByLookup({ reason, detail, provenance }: Bench): boolean {
  return CLEARED_BY_LOOKUP.has(reason) || (detail === 'free_tier_spent' && provenance === 'guess')
}

/** Whether a bench has not ended yet. */
export function isActive(bench: Bench | null, nowMs: number): bench is Bench {
  return bench !== null && (bench.untilMs === null || nowMs < bench.untilMs)
}

/**
 * Of two benches of one thing, the one that ends later holds. It remembers the other bench if
 * a lookup may clear the later one but not the other: a paid bill does not end a rate limit.
 *
 * The reason is the promise that a reset of OpenRouter's is kept exactly. It saves little.
 * Measured by seeded simulation at 5 requests a second: if rate limits and empty keys are
 * independent, no bench ever covers another. If every rate limit of ten minutes comes with
 * an empty key that is topped up after one minute, 2.5 instead of 1.4 attempts in 1,000
 * requests fail without this memory (one key), or 4.7 instead of 2.7 (two keys). The number
 * of requests served is the same.
 */
export function later(old: Bench | null, next: Bench, nowMs: number): Bench {
  if (!isActive(old, nowMs)) return next
  const [first, last] = endsBefore(old, next) ? [old, next] : [next, old]
  if (!CLEARED_BY_LOOKUP.has(last.reason)) return last
  const others = [last.hidden, first, first.hidden].filter(
    (bench) => isActive(bench, nowMs) && !CLEARED_BY_LOOKUP.has(bench.reason),
  )
  const hidden = others.reduce<Bench | null>(
    (longest, bench) => (longest === null || endsBefore(longest, bench) ? bench : longest),
    null,
  )
  return { ...last, hidden }
}

function endsBefore(a: Bench, b: Bench | null): boolean {
  return a.untilMs !== null && (b === null || b.untilMs === null || b.untilMs > a.untilMs)
}

/** The bench that remains after a lookup has cleared this one; null for none. */
export function cleared({ hidden }: Bench, nowMs: number): Bench | null {
  return isActive(hidden, nowMs) ? hidden : null
}

/**
 * The bench of a key that was rejected, ended by time after all: it is not rejected for what it is. Any
 * other bench stays as it is.
 */
export function withoutRejection(
  bench: Bench | null,
  untilMs: number,
  nowMs: number,
): Bench | null {
  if (
    !isActive(bench, nowMs) ||
    bench.reason !== 'key_rejected' ||
    endsBefore(bench, { ...bench, untilMs })
  ) {
    return bench
  }
  const { sinceMs, hidden } = bench
  const common = { reason: 'key_rejected', sinceMs, hidden: null } as const
  const short: Bench = { ...common, untilMs, cure: 'time', provenance: 'guess' }
  return hidden === null ? short : later(short, hidden, nowMs)
}
