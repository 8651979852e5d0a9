import { minimumBy } from './minimum.ts'
import type { Candidate, Memory, Strategy } from './strategy.ts'

/**
 * Each eligible key in turn: always the key whose last turn was longest ago.
 *
 * A cursor over the list would give the share of every ineligible key to the key that follows it.
 * The order by last turn spreads that share evenly. While all keys are eligible, both are the same
 * strict rotation.
 */
export const roundRobin: Strategy = {
  choose: (eligible, { memory, random }) => minimumBy(eligible, orderBy(memory), random),
  score: (key, { memory }) => (memory.isOfBatches ? key.batch.lastTurn : key.lastTurn),
  best: 'lowest',
}

const byTurn = (a: Candidate, b: Candidate) => a.lastTurn - b.lastTurn
const byBatchTurn = (a: Candidate, b: Candidate) => a.batch.lastTurn - b.batch.lastTurn
const orderBy = ({ isOfBatches }: Memory) => (isOfBatches ? byBatchTurn : byTurn)
