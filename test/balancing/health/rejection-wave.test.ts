import { expect, it } from 'vitest'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const SUSPECT = {
  outcome: 'failure',
  fault: 'key',
  suspect: true,
  benches: [{ scope: 'key', reason: 'key_rejected', term: { kind: 'for', forMs: 60_000 } }],
} as const

function refuse(pool: PoolDriver, ...ids: string[]): void {
  for (const id of ids) pool.give(pool.grantOf(id), SUSPECT)
}

const TWO_EACH = [
  { id: 'a1', account: 'a' },
  { id: 'a2', account: 'a' },
  { id: 'b1', account: 'b' },
  { id: 'b2', account: 'b' },
]

const restsMs = (pool: PoolDriver, id: string) =>
  (pool.key(id).bench?.untilMs ?? pool.now()) - pool.now()

it('all keys of two accounts that are refused within seconds rest for seconds', () => {
  const pool = drivePool(TWO_EACH)
  refuse(pool, 'a1', 'a2', 'b1')
  expect(restsMs(pool, 'a1')).toBeGreaterThanOrEqual(60_000)
  refuse(pool, 'b2')
  for (const { id } of TWO_EACH) {
    expect(restsMs(pool, id)).toBeGreaterThanOrEqual(5_000)
    expect(restsMs(pool, id)).toBeLessThanOrEqual(6_000)
    expect(pool.key(id).breaker).toMatchObject({ kind: 'closed', failuresAtMs: [] })
  }
})

it('keys that are refused far apart, or with an answer in between, are rejected for themselves', () => {
  const apart = drivePool(['a', 'b'])
  refuse(apart, 'a')
  apart.wait(10_000)
  refuse(apart, 'b')
  const between = drivePool(['a', 'b', 'c'])
  refuse(between, 'a')
  between.give(between.grantOf('c'))
  refuse(between, 'b')
  for (const pool of [apart, between]) expect(restsMs(pool, 'b')).toBeGreaterThanOrEqual(60_000)
})

it('an answer that began before proves nothing, one that began since ends it', () => {
  const pool = drivePool(['a', 'b', 'c'])
  const old = pool.grantOf('c')
  pool.wait(1)
  refuse(pool, 'a', 'b')
  pool.give(old)
  refuse(pool, 'c')
  expect(restsMs(pool, 'c')).toBeLessThanOrEqual(6_000)
  pool.wait(6_000)
  pool.give(pool.grantOf('c'))
  refuse(pool, 'a')
  expect(restsMs(pool, 'a')).toBeGreaterThanOrEqual(60_000)
})
