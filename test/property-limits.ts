/**
 * For properties over long histories. fast-check takes a minute and more to shrink one, and a test
 * that Vitest cuts off shows no history at all. So fast-check stops before that: with the shortest
 * history found so far, or, if none has failed, with a failure that says so.
 */
export function within(limitMs: number) {
  return { interruptAfterTimeLimit: limitMs, markInterruptAsFailure: true } as const
}

/**
 * For walks through histories of the whole pool: as many, and no longer. For a mutant (`WIDE=1 npm run mutate`)
 * a tenth is enough.
 */
export function walks(runs: number, limitMs: number) {
  return { numRuns: IS_FOR_MUTANTS ? Math.ceil(runs / 10) : runs, ...within(limitMs) } as const
}

const IS_FOR_MUTANTS = globalThis.process?.env.WIDE === '1'

/**
 * For properties of what parses. They are quick and find what is common; `FUZZ=100 npm run test:unit`
 * makes a hundred times as many runs, each with another seed.
 */
export function fuzz(runs = 200) {
  return { numRuns: runs * FACTOR } as const
}

const FACTOR = Number(globalThis.process?.env.FUZZ ?? 1)
