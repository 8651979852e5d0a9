import { expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import { type Ask, drivePool, type KeySpec, type PoolDriver, START_MS } from '../pool-driver.ts'

const YIELD_MS = 2_000

/** A pool of two keys that are full, one of them with a batch. */
function wanted(spec: Partial<KeySpec>, ask: Ask = {}, before?: (pool: PoolDriver) => void) {
  const pool = drivePool([
    { id: 'a', maxConcurrent: 1, ...spec },
    { id: 'b', maxConcurrent: 1 },
  ])
  pool.grantOf('b', { class: 'batch' })
  before?.(pool)
  pool.refusal(ask)
  return ['a', 'b'].map((id) => pool.key(id).batch.yieldsUntilMs === pool.now() + YIELD_MS)
}

const full = (pool: PoolDriver) => void pool.grantOf('a')

it.each<[string, boolean[], Partial<KeySpec>, Ask, ((pool: PoolDriver) => void)?]>([
  ['are full', [true, true], {}, {}, full],
  ['have no request of their minute left', [true, true], { rpm: 1, maxConcurrent: null }, {}, full],
  [
    'are full, and have too few tokens left',
    [true, true],
    { tpm: 100 },
    { tokens: 50 },
    (pool) => void pool.grantOf('a', { tokens: 60 }),
  ],
  ['and not from one that can never serve it', [false, true], { tpm: 100 }, { tokens: 101 }, full],
  ['nor from one that is out', [false, true], { disabled: true }, {}],
  ['nor from one that it has tried', [false, true], {}, { tried: ['a'] }, full],
  ['nor from any, if a batch wanted them', [false, false], {}, { class: 'batch' }, full],
])(
  'a batch keeps away from the keys that a request wanted and that %s',
  (_, yields, spec, ask, before) => {
    expect(wanted(spec, ask, before)).toEqual(yields)
  },
)

it('keys keep away from nobody while there is no batch', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
  pool.grant()
  pool.refusal()
  expect(pool.key('a').batch.yieldsUntilMs).toBe(0)
  pool.ask({ class: 'batch' })
  pool.wait(59_999)
  pool.refusal()
  expect(pool.key('a').batch.yieldsUntilMs).toBe(START_MS + 59_999 + YIELD_MS)
  pool.wait(1)
  pool.refusal()
  expect(pool.key('a').batch.yieldsUntilMs).toBe(START_MS + 59_999 + YIELD_MS)
})

it('keys of another route, and of another client, are left to batches', () => {
  const pool = drivePool(
    ['a', 'b', 'c'].map((id) => ({ id, maxConcurrent: 1 })),
    {
      routes: [{ models: ['vendor/*'], keys: ['a', 'b'] }],
      clients: [{ id: 'client', keys: [{ kind: 'id', id: keyId('a') }] }],
    },
  )
  for (const id of ['a', 'b', 'c']) {
    pool.grantOf(id, { model: id === 'c' ? 'other/model' : 'vendor/model', client: 'somebody' })
  }
  pool.ask({ class: 'batch', client: 'somebody' })
  pool.refusal()
  expect(['a', 'b', 'c'].map((id) => pool.key(id).batch.yieldsUntilMs > 0)).toEqual([
    true,
    false,
    false,
  ])
})
