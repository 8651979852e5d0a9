import { expect, it } from 'vitest'
import { historyOf } from './history-of-seed.ts'
import { run } from './run.ts'

/**
 * Histories of the simulation, for mutants that the quick tests let live: among them are clients with limits,
 * lines of batches, operators, and each kind of weather. A mutant is killed by an invariant that does not hold, not by
 * another decision.
 */
const SEEDS = [2, 9, 7, 19, 4]
const HOURS = 10

it.each(SEEDS)('every invariant holds through the history of seed %i', async (seed) => {
  const { violation } = await run(historyOf(seed, HOURS))
  expect(violation).toBeNull()
})
