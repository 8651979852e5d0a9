import { expect, it } from 'vitest'
import { keyForGeneration } from '../../../src/balancing/accounting/generations.ts'
import { clientId } from '../../../src/balancing/ids.ts'
import { checkpoint } from '../../../src/balancing/records/checkpoint.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const DAY_MS = 24 * 60 * 60_000

/** Serves one answer to a client with one key. */
function answered(pool: PoolDriver, generationId: string, key = 'a', client = 'me'): void {
  pool.give(pool.grantOf(key, { client }), { generationId })
}

const keyFor = (pool: PoolDriver, id: string, client = 'me') =>
  keyForGeneration(pool.state, id, clientId(client), pool.now())

it('an answer is asked about with the key that made it', () => {
  const pool = drivePool(['a', 'b'])
  answered(pool, 'gen-1', 'a')
  answered(pool, 'gen-2', 'b')
  expect(keyFor(pool, 'gen-1')).toBe('a')
  expect(keyFor(pool, 'gen-2')).toBe('b')
})

it('with another of the same account where that key is rejected or disabled, and with no other account’s', () => {
  const pool = drivePool([
    { id: 'a', account: 'acme' },
    { id: 'b', account: 'globex' },
    { id: 'c', account: 'acme' },
  ])
  answered(pool, 'gen-1', 'a')
  pool.fail(pool.grantOf('a'), {
    scope: 'key',
    reason: 'key_rejected',
    term: { kind: 'lookup', lapseMs: null },
  })
  expect(keyFor(pool, 'gen-1')).toBe('c')
})

it('nobody but the client that asked for it hears of an answer', () => {
  const pool = drivePool(['a'])
  answered(pool, 'gen-1')
  expect(keyFor(pool, 'gen-1', 'somebody')).toBeNull()
  expect(keyFor(pool, 'gen-2')).toBeNull()
})

it('it is remembered for a day', () => {
  const pool = drivePool(['a'])
  answered(pool, 'gen-1')
  pool.wait(DAY_MS)
  expect(keyFor(pool, 'gen-1')).toBe('a')
  pool.wait(1)
  expect(keyFor(pool, 'gen-1')).toBeNull()
})

it('the last ten thousand are remembered and stored, the oldest are forgotten first', () => {
  const pool = drivePool(['a'])
  const MAX = 10_000
  for (let i = 0; i < 2 * MAX + 1; i++) answered(pool, `gen-${i}`)
  expect(keyFor(pool, 'gen-0')).toBeNull()
  expect(keyFor(pool, `gen-${MAX + 1}`)).toBe('a')
  expect(keyFor(pool, `gen-${2 * MAX}`)).toBe('a')
  const { generations } = checkpoint(pool.state, pool.now())
  expect(generations).toHaveLength(MAX)
  expect(generations[0]?.[0]).toBe(`gen-${MAX + 1}`)
})

it('an id that is too long is not remembered', () => {
  const pool = drivePool(['a'])
  const id = `gen-${'x'.repeat(200)}`
  answered(pool, id)
  expect(keyFor(pool, id)).toBeNull()
})
