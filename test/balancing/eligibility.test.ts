import { expect, it } from 'vitest'
import { keyId } from '../../src/balancing/ids.ts'
import { drivePool, usageOf } from './pool-driver.ts'

it('a key that lacks both credit and max_spend is out, for both reasons', () => {
  const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day' } }])
  pool.give(pool.grant(), { usage: usageOf(1, 1, 2) })
  pool.lookUp('a', 0)
  expect(pool.refusal().reasons).toEqual({ below_min_credit: 1 })
  pool.lookUp('a', 9, { askedAtMs: pool.now() + 1 })
  expect(pool.refusal().reasons).toEqual({ at_max_spend: 1 })
})

it('a key that was tried, and that the client may not use, is out', () => {
  const only = (...ids: string[]) => ids.map((id) => ({ kind: 'id', id: keyId(id) }) as const)
  const pool = drivePool(['a', 'b', 'c'], {
    groups: [{ id: 'team', keys: only('b', 'c') }],
    clients: [{ id: 'client', group: 'team', keys: only('a', 'b') }],
  })
  expect(pool.grant().keyId).toBe('b')
  expect(pool.refusal({ tried: ['a', 'b'] }).reasons).toEqual({
    ...{ already_tried: 2, not_for_client: 1 },
  })
})

it('the moment that a refusal names is that of what lasts longest', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 2, rpm: 1 }])
  pool.grant({ class: 'batch' })
  const { reasons, retryAtMs } = pool.refusal({ class: 'batch' })
  expect(reasons).toEqual({ at_rpm: 1 })
  expect(retryAtMs).toBe(pool.now() + 60_000)
})
