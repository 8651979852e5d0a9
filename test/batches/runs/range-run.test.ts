import { expect, it } from 'vitest'
import type { LineResult } from '../../../src/batches/progress/batch-rows.ts'
import { NO_USAGE } from '../../../src/batches/progress/result-line.ts'
import { type RangePorts, RangeRun } from '../../../src/batches/runs/range-run.ts'
import type { LineEnd } from '../../../src/batches/runs/verdict.ts'
import { createVirtualTime } from '../../gateway/virtual-time.ts'

const GOOD: LineEnd = { status: 200, error: null, retryAfterMs: null }
const FAULT: LineEnd = { status: 503, error: null, retryAfterMs: null }

type Wait = (ms: number) => Promise<void>

interface Changes extends Pick<Partial<RangePorts>, 'renew'> {
  /** What each run of a line ends with. */
  readonly ends?: (line: number, nth: number) => LineEnd
  readonly begins?: (line: number) => void
  /** What the object says to a result. */
  readonly record?: (line: number, result: LineResult, wait: Wait) => Promise<boolean>
}

/** Runs lines whose requests take a second each. */
function start(lines: number, { ends = () => GOOD, begins, record, renew }: Changes = {}) {
  const time = createVirtualTime(0)
  const wait: Wait = (ms) => new Promise((resolve) => void time.timer(ms, resolve))
  const begun: number[] = []
  const recorded: number[] = []
  const givenBack: unknown[] = []
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
      begins?.(line)
      await wait(1_000)
      return { ...ends(line, begun.filter((each) => each === line).length), result }
    },
    renew: renew ?? (async () => true),
    async record(line, lineResult) {
      const mayGoOn = (await record?.(line, lineResult, wait)) ?? true
      recorded.push(line)
      return mayGoOn
    },
    giveBack: async (after) => void givenBack.push([...after.tries.keys()]),
  })
  const work = run.run().then(
    () => 'ended',
    (error: unknown) => String(error),
  )
  return { time, work, begun, recorded, givenBack }
}

it('has one line in hand, records it before the next one begins, and runs all', async () => {
  const inHand = new Set<number>()
  let most = 0
  const { time, work, begun, recorded } = start(20, {
    begins: (line) => {
      inHand.add(line)
      most = Math.max(most, inHand.size)
    },
    async record(line, _, wait) {
      await wait(300)
      inHand.delete(line)
      return true
    },
  })
  await time.advance(1_299)
  expect([begun, recorded]).toEqual([[1], []])
  await time.advance(30_000)
  expect(await work).toBe('ended')
  expect(recorded).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
  expect(most).toBe(1)
})

it('begins nothing more once a record is answered with no, and gives the rest back', async () => {
  // The batch was cancelled, or the claim is another's.
  const { time, work, begun, givenBack } = start(20, { record: async () => false })
  await time.advance(60_000)
  expect(await work).toBe('ended')
  expect(begun).toEqual([1])
  expect(givenBack).toEqual([Array.from({ length: 19 }, (_, i) => i + 2)])
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

it('goes on with the other lines while one of them waits', async () => {
  const { time, work, begun, recorded } = start(4, {
    ends: (line, nth) => (line === 1 && nth === 1 ? FAULT : GOOD),
  })
  await time.advance(60_000)
  expect(await work).toBe('ended')
  expect(begun.slice(0, 2)).toEqual([1, 2])
  expect(begun.toSorted()).toEqual([1, 1, 2, 3, 4])
  expect(recorded.toSorted()).toEqual([1, 2, 3, 4])
})

it('says a result again that could not be recorded, and goes on', async () => {
  let failures = 0
  const { time, work, begun, recorded, givenBack } = start(4, {
    async record(line) {
      if (line !== 2 || failures === 5) return true
      failures += 1
      throw new Error('The object was reset')
    },
  })
  await time.advance(60_000)
  expect(await work).toBe('ended')
  expect(failures).toBe(5)
  expect(begun).toEqual([1, 2, 3, 4])
  expect(recorded).toEqual([1, 2, 3, 4])
  expect(givenBack).toEqual([])
})

it('ends when a result can’t be recorded at all: whoever runs its lines next has them from the object', async () => {
  const { time, work, begun } = start(20, {
    async record() {
      throw new Error('The object was reset')
    },
  })
  await time.advance(120_000)
  expect(await work).toBe('Error: The object was reset')
  expect(begun).toEqual([1])
})
