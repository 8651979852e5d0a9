import { expect, it } from 'vitest'
import type { Bench } from '../../../src/balancing/health/bench.ts'
import { putBench } from '../../../src/balancing/health/model-benches.ts'
import { modelId } from '../../../src/balancing/ids.ts'

const T = 1_800_000_000_000

const until = (untilMs: number): Bench => ({
  ...{ reason: 'account_rate_limited', untilMs, cure: 'time', provenance: 'upstream' },
  ...{ sinceMs: T, hidden: null },
})

/** The models that are benched after these benches, each at its moment: `name: [nowMs, untilMs]`. */
function benched(
  most: number,
  ...puts: (readonly [name: string, nowMs: number, untilMs: number])[]
) {
  const benches = new Map<ReturnType<typeof modelId>, Bench>()
  for (const [name, nowMs, untilMs] of puts) {
    putBench(benches, modelId(name), until(untilMs), { most, nowMs })
  }
  return Object.fromEntries([...benches].map(([name, bench]) => [name, bench.untilMs]))
}

it('of one model the longer bench holds', () => {
  expect(benched(2, ['a', T, T + 9], ['a', T, T + 5])).toEqual({ a: T + 9 })
  expect(benched(2, ['a', T, T + 5], ['a', T, T + 9])).toEqual({ a: T + 9 })
})

it('of more models than there may be, the first are benched', () => {
  const two = [['a', T, T + 9] as const, ['b', T, T + 9] as const]
  expect(benched(2, ...two)).toEqual({ a: T + 9, b: T + 9 })
  expect(benched(2, ...two, ['c', T, T + 9])).toEqual({ a: T + 9, b: T + 9 })
})

it('one that is benched may be benched for longer, however many there are', () => {
  const full = [['a', T, T + 9] as const, ['b', T, T + 9] as const]
  expect(benched(2, ...full, ['b', T, T + 20])).toEqual({ a: T + 9, b: T + 20 })
})

it('ended benches make room, and only where room is short', () => {
  const ended = [['a', T, T + 5] as const, ['b', T, T + 9] as const]
  expect(benched(2, ...ended, ['c', T + 5, T + 20])).toEqual({ b: T + 9, c: T + 20 })
  expect(benched(3, ...ended, ['c', T + 5, T + 20])).toEqual({ a: T + 5, b: T + 9, c: T + 20 })
})
