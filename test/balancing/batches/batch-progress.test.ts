import { expect, it } from 'vitest'
import {
  type BatchProgress,
  noteBatch,
  type RunningBatch,
  runningBatches,
} from '../../../src/balancing/batches/batch-progress.ts'

const progress = (id: string): BatchProgress => ({
  ...{ id, clientId: 'client', status: 'in_progress', expiresAtMs: 0 },
  ...{ total: 1, completed: 0, failed: 0, claimed: 0 },
})

function noted(...ids: readonly string[]) {
  const running = new Map<string, RunningBatch>()
  for (const [at, id] of ids.entries()) noteBatch(running, progress(id), false, at)
  return running
}

const idsOf = (running: ReadonlyMap<string, RunningBatch>, nowMs: number) =>
  runningBatches(running, nowMs).map(({ id }) => id)

it('batches are told in the order of their ids, whoever spoke last', () => {
  const running = noted('c', 'a', 'b')
  expect(idsOf(running, 2)).toEqual(['a', 'b', 'c'])
  noteBatch(running, progress('a'), false, 3)
  expect(runningBatches(running, 3)[0]).toMatchObject({ id: 'a', toldAtMs: 3 })
  expect(idsOf(running, 3)).toEqual(['a', 'b', 'c'])
})

it('one that has ended is forgotten, and one that has not spoken for two hours', () => {
  const running = noted('a', 'b', 'c')
  noteBatch(running, progress('b'), true, 3)
  expect(idsOf(running, 3)).toEqual(['a', 'c'])
  expect(idsOf(running, 2 * 3_600_000)).toEqual(['c'])
})

it('of more than a hundred, the one is forgotten that was silent for the longest time', () => {
  const running = noted(...Array.from({ length: 100 }, (_, i) => `${i + 100}`))
  noteBatch(running, progress('100'), false, 100)
  noteBatch(running, progress('200'), false, 101)
  expect(running.size).toBe(100)
  expect([running.has('100'), running.has('101')]).toEqual([true, false])
})
