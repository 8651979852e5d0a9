import { expect, it } from 'vitest'
import { inBatchWorld } from './batch-world.ts'

it('the pool hears how far a batch is, every other second, and that it has ended', async () => {
  await inBatchWorld({ lines: 40, perRange: 5, answerMs: 3_000, stepMs: 500 }, async (world) => {
    await world.create()
    await world.toTheEnd()
    const { told } = world
    expect(told[0]).toMatchObject({ status: 'in_progress', total: 40, completed: 0, claimed: 0 })
    expect(told.some(({ claimed, completed }) => claimed > 0 && completed > 0)).toBe(true)
    for (const { completed, failed, claimed, total } of told) {
      expect(completed + failed + claimed).toBeLessThanOrEqual(total)
    }
    expect(told.filter(({ hasEnded }) => hasEnded)).toEqual([told.at(-1)])
    expect(told.at(-1)).toMatchObject({ status: 'completed', completed: 40, claimed: 0 })
    expect(told.length).toBeLessThan(20)
  })
})
