import { describe, expect, it } from 'vitest'
import { type Booked, BUG, type SoakResult, slopeMibPerMinute, soakFaults } from './judgement.ts'

const memory = (...mib: number[]) =>
  mib.map((processMib, minute) => ({ minute, liveMib: processMib / 8, processMib }))

const KEY: Booked = {
  id: 'a',
  inFlight: 0,
  total: { attempts: 9, successes: 7, failures: 1, ignored: 1, costUsd: 1 },
  upstream: { requests: 9, costUsd: 1 },
  isOfLeavers: false,
}

const SOUND: SoakResult = {
  ...{ minutes: 10, samples: memory(10, 90, 100, 102, 101, 102), statuses: { 200: 990, 502: 10 } },
  ...{ left: 2, broken: 0, keys: [KEY], waiting: 0, unhandled: 0, bugs: [] },
}

const LEAVERS = { ...KEY, isOfLeavers: true }
const total = (more: Partial<Booked['total']>) => ({ total: { ...KEY.total, ...more } })
const upstream = (more: Partial<Booked['upstream']>) => ({
  upstream: { ...KEY.upstream, ...more },
})

describe('a soak is sound', () => {
  it.each<[string, Partial<SoakResult>]>([
    ['where nothing is wrong', {}],
    ['although it ran too briefly to say anything of memory', { ...growing(10), minutes: 4 }],
    ['although upstream has not heard of two that left', keys({ ...LEAVERS, ...unheard() })],
    ['although what left unnamed was charged', keys({ ...LEAVERS, ...upstream({ costUsd: 2 }) })],
    ['where amounts differ by their rounding', keys({ ...KEY, ...total({ costUsd: 1 + 1e-9 }) })],
  ])('%s', (_, more) => {
    expect(soakFaults({ ...SOUND, ...more })).toEqual([])
  })
})

describe('a soak tells', () => {
  it.each<[string, Partial<SoakResult>]>([
    ['the process grows by 7.0 MiB a minute', growing(7)],
    ['the heap grows by 1.1 MiB a minute', heap(1.1)],
    ['a has 1 leases left', keys({ ...KEY, inFlight: 1 })],
    ['a: 9 attempts, 7 upstream', keys({ ...KEY, ...unheard() })],
    ['a: 9 attempts, 8 outcomes', keys({ ...KEY, ...total({ ignored: 0 }) })],
    ['a: 1 USD booked, 2 USD charged', keys({ ...KEY, ...upstream({ costUsd: 2 }) })],
    ['a: 3 USD booked, 1 USD charged', keys({ ...LEAVERS, ...total({ costUsd: 3 }) })],
    ['3 requests wait for a key although nobody sends any', { waiting: 3 }],
    ['1 rejections that nobody handled', { unhandled: 1 }],
    ['in the log: Uncaught x', { bugs: ['Uncaught x'] }],
    ['1 answers with status 500', { statuses: { 200: 990, 500: 1 } }],
    ['only 970 of 1000 answers were what was asked for', { statuses: { 200: 970, 503: 30 } }],
  ])('%s', (fault, more) => {
    expect(soakFaults({ ...SOUND, ...more })).toEqual([fault])
  })
})

it('a soak’s slope is that of its second half', () => {
  const samples = memory(10, 90, 100, 102, 104, 106)
  expect(slopeMibPerMinute(samples, 'processMib')).toBeCloseTo(2)
  expect(slopeMibPerMinute(samples, 'liveMib')).toBeCloseTo(0.25)
  expect(slopeMibPerMinute(memory(5), 'processMib')).toBe(0)
})

it('a soak knows a bug by the log', () => {
  expect('workerd/server: uncaught exception in promise').toMatch(BUG)
  expect('{"message":"internal_error","stack":"x"}').toMatch(BUG)
  expect('{"message":"request","outcome":"answered"}').not.toMatch(BUG)
})

function growing(mib: number) {
  return { samples: memory(...Array.from({ length: 6 }, (_, minute) => mib * minute)) }
}

function heap(mib: number) {
  const sample = (minute: number) => ({ minute, liveMib: mib * minute, processMib: 300 })
  return { samples: Array.from({ length: 6 }, (_, minute) => sample(minute)) }
}

function keys(...those: Booked[]) {
  return { keys: those }
}

function unheard() {
  return upstream({ requests: 7 })
}
