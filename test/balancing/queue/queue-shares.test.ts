import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { takeDecided } from '../../../src/balancing/pool.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

/** A pool whose only key is busy, with places for so many. */
function busy(maxWaiting: number): PoolDriver {
  const routes = [{ models: ['x', 'y', 'z'] as const }]
  const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], { routes, queue: { maxWaiting } })
  pool.grant()
  return pool
}

/** `3 app x` is three requests of the client `app` for the model `x`. */
function comes(pool: PoolDriver, who: string): string {
  const [count = '', client = '', model = 'x'] = who.split(' ')
  return Array.from({ length: Number(count) }, () => pool.ask({ client, model, waitMs: 10_000 }))
    .map(({ kind }) => (kind === 'waiting' ? 'w' : 'r'))
    .join('')
}

const waitingOf = (pool: PoolDriver) =>
  [...pool.state.queue.waiters.values()].filter(({ state }) => state === 'waits')

/** Who waits: for each client and model how many. */
function present(pool: PoolDriver): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { request } of waitingOf(pool)) {
    const name = `${request.clientId} ${request.models[0]}`
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

describe('a place in the queue', () => {
  it.each<[string, string[], string[], Record<string, number>]>([
    ['a client alone may have all', ['10 a x'], ['wwwwwwwwww'], { 'a x': 10 }],
    ['and no more', ['11 a x'], ['wwwwwwwwwwr'], { 'a x': 10 }],
    [
      'a newcomer takes the place of one that has more than half, until it has half',
      ['10 a x', '6 b x'],
      ['wwwwwwwwww', 'wwwwwr'],
      { 'a x': 5, 'b x': 5 },
    ],
    [
      'no client gets beyond a half while another waits, even if there is room',
      ['1 b x', '6 a x'],
      ['w', 'wwwwwr'],
      { 'a x': 5, 'b x': 1 },
    ],
    [
      'no lane gets beyond a half of its client’s part while another of its lanes waits',
      ['1 a y', '6 a x'],
      ['w', 'wwwwwr'],
      { 'a x': 5, 'a y': 1 },
    ],
    [
      'a lane takes the place of another one of its client that has more than half',
      ['10 a x', '6 a y'],
      ['wwwwwwwwww', 'wwwwwr'],
      { 'a x': 5, 'a y': 5 },
    ],
    [
      'the lanes of a client share the part that it has beside others',
      ['1 b x', '5 a x', '4 a y'],
      ['w', 'wwwww', 'wwrr'],
      { 'a x': 3, 'a y': 2, 'b x': 1 },
    ],
    [
      'a third client finds no place where two have a half each',
      ['10 a x', '5 b x', '1 c x'],
      ['wwwwwwwwww', 'wwwww', 'r'],
      { 'a x': 5, 'b x': 5 },
    ],
  ])('%s', (_, arrivals, answers, left) => {
    const pool = busy(10)
    expect(arrivals.map((who) => comes(pool, who))).toEqual(answers)
    expect(present(pool)).toEqual(left)
  })

  it('is taken from the youngest, who is told at once, and why', () => {
    const pool = busy(2)
    pool.waiting({ lease: 'old', client: 'greedy' })
    pool.waiting({ lease: 'young', client: 'greedy' })
    pool.waiting({ lease: 'new', client: 'modest' })
    expect(takeDecided(pool.state)).toEqual(['young'])
    expect(pool.inquire('old')).toMatchObject({ kind: 'waiting' })
    const refusal = pool.inquire('young')
    expect(refusal).toMatchObject({ kind: 'refusal', reasons: { at_max_concurrent: 1 } })
    expect(refusal?.kind === 'refusal' && (refusal.retryAtMs ?? 0) > pool.now()).toBe(true)
    expect(pool.inquire('young')).toBeNull()
  })
})

const anyCrowd = fc.array(
  fc.record({
    client: fc.constantFrom('a', 'a', 'a', 'b', 'c'),
    model: fc.constantFrom('x', 'x', 'y', 'z'),
    leaves: fc.nat({ max: 3 }),
    pick: fc.nat(),
  }),
  { maxLength: 80, size: 'max' },
)

/** Checks the queue around the coming of one newcomer. Returns what is wrong. */
function faultsOfComing(pool: PoolDriver, newcomer: { client: string; model: string }): string[] {
  const { maxWaiting } = pool.state.policy.queue
  const half = Math.max(1, Math.floor(maxWaiting / 2))
  const before = waitingOf(pool)
  const has = (id: string, waiters = before) =>
    waiters.filter(({ request }) => request.clientId === id).length
  const own = has(newcomer.client)
  const hasOthers = before.length > own
  const { kind } = pool.ask({ ...newcomer, waitMs: 10_000 })
  const after = waitingOf(pool)
  const lanes = new Set(
    before.filter(({ request }) => request.clientId === newcomer.client).map(({ lane }) => lane),
  )
  const isRefused = kind === 'refusal'
  const isGreedy = ['a', 'b', 'c'].some((id) => id !== newcomer.client && has(id) > half)
  const isModest = own < half && lanes.size <= 1
  const rules: [holds: boolean, fault: string][] = [
    [after.length <= maxWaiting, 'too many wait'],
    [
      !hasOthers || has(newcomer.client, after) <= Math.max(half, own),
      'a client grew beyond a half',
    ],
    [!(isRefused && isGreedy && isModest), 'one with less was refused while one had more'],
    [
      !isRefused || before.length >= maxWaiting || !isModest,
      'one was refused although there was room',
    ],
    [half === 1 || before.length === 0 || after[0] === before[0], 'the oldest lost his place'],
  ]
  return rules.filter(([holds]) => !holds).map(([, fault]) => fault)
}

it('whoever comes and goes: nobody grows beyond a half beside others, and none with less is refused for one with more', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), anyCrowd, (maxWaiting, crowd) => {
      const pool = busy(maxWaiting)
      for (const { leaves, pick, ...newcomer } of crowd) {
        const waiters = waitingOf(pool)
        const left = waiters[pick % Math.max(1, waiters.length)]
        if (leaves === 0 && left !== undefined) {
          const gone = { kind: 'grant', leaseId: left.request.leaseId, keyId: '' } as never
          pool.give(gone, { outcome: 'ignorable' })
        }
        expect(faultsOfComing(pool, newcomer)).toEqual([])
      }
    }),
    { numRuns: 300 },
  )
})
