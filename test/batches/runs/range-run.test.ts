import { expect, it } from 'vitest'
import type { LineResult } from '../../../src/batches/progress/batch-rows.ts'
import { NO_USAGE } from '../../../src/batches/progress/result-line.ts'
import { type RangePorts, RangeRun } from '../../../src/batches/runs/range-run.ts'
import type { LineEnd } from '../../../src/batches/runs/verdict.ts'
import { createVirtualTime } from '../../gateway/virtual-time.ts'

const GOOD: LineEnd = { status: 200, error: null, retryAfterMs: null }
const FAULT: LineEnd = { status: 503, error: null, retryAfterMs: null }

/** Runs lines whose requests take a second each. */
function start(lines: number, changes: Partial<RangePorts> & { ends?: () => LineEnd } = {}) {
  const time = createVirtualTime(0)
  const wait = (ms: number) => new Promise<void>((resolve) => void time.timer(ms, resolve))
  const begun: number[] = []
  const recorded: number[] = []
  const givenBack: unknown[] = []
  const { ends = () => GOOD, ...ports } = changes
  const result = (): LineResult => ({
    outcome: 'completed',
    text: new Uint8Array(),
    usage: NO_USAGE,
  })
  const jobs = Array.from({ length: lines }, (_, i) => ({
    line: { line: i + 1, customId: `${i}`, body: new Uint8Array() },
    tries: 0,
  }))
  const run = new RangeRun(jobs, {
    nowMs: time.nowMs,
    random: () => 0.5,
    wait,
    async runLine({ line }) {
      begun.push(line)
      await wait(1_000)
      return { ...ends(), result }
    },
    renew: async () => true,
    async record(line) {
      recorded.push(line)
      return true
    },
    giveBack: async (after) => void givenBack.push([...after.tries.keys()]),
    ...ports,
  })
  const work = run.run().then(
    () => 'ended',
    (error: unknown) => String(error),
  )
  return { time, work, begun, recorded, givenBack }
}

it('has eight lines in hand at most, and runs all', async () => {
  const { time, work, begun, recorded } = start(20)
  await time.advance(999)
  expect(begun).toHaveLength(8)
  await time.advance(5_000)
  expect(await work).toBe('ended')
  expect(recorded).toHaveLength(20)
})

it('begins nothing more once a record is answered with no, and gives the rest back', async () => {
  // The batch was cancelled, or the claim is another's.
  const { time, work, begun, givenBack } = start(20, { record: async () => false })
  await time.advance(60_000)
  expect(await work).toBe('ended')
  expect(begun).toHaveLength(8)
  expect(givenBack).toEqual([Array.from({ length: 12 }, (_, i) => i + 9)])
})

it('asks before it begins a line again that has waited', async () => {
  const { time, work, begun, givenBack } = start(1, {
    ends: () => FAULT,
    renew: async () => false,
  })
  await time.advance(60_000)
  expect(await work).toBe('ended')
  expect(begun).toEqual([1])
  expect(givenBack).toEqual([[1]])
})

it('keeps the answers of the other lines when one can’t be recorded', async () => {
  const recorded: number[] = []
  const { time, work } = start(20, {
    async record(line) {
      if (line === 1) throw new Error('The object was reset')
      recorded.push(line)
      return true
    },
  })
  await time.advance(120_000)
  expect(await work).toBe('Error: The object was reset')
  expect(recorded).toEqual(expect.arrayContaining([2, 3, 4, 5, 6, 7, 8]))
})
