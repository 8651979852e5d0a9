import { runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type KeyId, modelId } from '../../src/balancing/ids.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import {
  deployed,
  failing,
  give,
  grantOf,
  keyOf,
  leaseRequestOf,
  newPool,
} from './object-driver.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** The keys of the next grants. Each lease is given back at once. */
function inTurn(object: KeyPool, count: number): KeyId[] {
  return Array.from({ length: count }, () => {
    const request = { version: 1, wants: [leaseRequestOf()], settlements: [], lookups: [] } as const
    const [decision] = object.exchange(request).decisions
    if (decision?.kind !== 'grant') throw new Error('Refused')
    const settlement = { outcome: 'success', benches: [], suspect: false } as const
    object.exchange({ ...request, wants: [], settlements: [{ ...decision, ...settlement }] })
    return decision.keyId
  })
}

it('a key that was added serves, one that was removed is gone, and the others are as they were', async () => {
  const pool = newPool()
  for (let i = 0; i < 3; i++) {
    // Each with a model of its own: one that fails with two keys is itself at fault.
    for (const id of ['alpha', 'beta']) {
      const grant = await grantOf(pool, id, { models: [modelId(`only/${id}`)] })
      await give(pool, grant, failing())
    }
  }
  const keys = [keyOf('delta'), keyOf('gamma'), keyOf('alpha')]
  const snapshot = await deployed(pool, { keys }, (object) => object.snapshot())
  expect(snapshot.keys.map(({ id, reason }) => [id, reason])).toEqual([
    ['delta', null],
    ['gamma', null],
    ['alpha', 'breaker_open'],
  ])
})

it('a key that comes back after it was away meets what was known of it', async () => {
  const pool = newPool()
  for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
  await deployed(pool, { keys: [keyOf('beta')] }, (object) => object.snapshot())
  const keys = [keyOf('alpha'), keyOf('beta'), keyOf('gamma')]
  const { keys: shown } = await deployed(pool, { keys }, (object) => object.snapshot())
  expect(shown[0]).toMatchObject({ id: 'alpha', reason: 'breaker_open' })
})

it('a lease on a key that is gone holds up nothing, and its settlement harms nothing', async () => {
  const pool = newPool()
  const running = await grantOf(pool, 'alpha')
  await runInDurableObject(pool, () => void vi.advanceTimersByTime(5_000))
  const { keys } = await deployed(pool, { keys: [keyOf('beta')] }, (object) => {
    const { leaseId, keyId } = running
    const settlement = { leaseId, keyId, outcome: 'success', benches: [], suspect: false } as const
    object.exchange({ version: 1, wants: [], settlements: [settlement], lookups: [] })
    return object.snapshot()
  })
  expect(keys).toMatchObject([{ id: 'beta', inFlight: 0, total: { attempts: 0 } }])
})

it('the turn of round-robin goes on where the object before left off', async () => {
  const pool = newPool()
  const deployment = {
    keys: [keyOf('alpha'), keyOf('beta'), keyOf('gamma')],
    policy: { strategy: 'round-robin' },
  }
  const first = await deployed(pool, deployment, (object) => {
    const keys = inTurn(object, 4)
    vi.advanceTimersByTime(5_000)
    return keys
  })
  const second = await deployed(pool, deployment, (object) => inTurn(object, 5))
  // The first round is in random order, since no key has had a turn yet.
  const round = first.slice(0, 3)
  expect(round.toSorted()).toEqual(['alpha', 'beta', 'gamma'])
  expect([...first, ...second]).toEqual([...round, ...round, ...round])
})

it('the shares of weighted keys are exact across a restart', async () => {
  const pool = newPool()
  const keys = [
    { ...keyOf('alpha'), weight: 3 },
    { ...keyOf('beta'), weight: 2 },
    { ...keyOf('gamma'), weight: 1 },
  ]
  const deployment = { keys, policy: { strategy: 'weighted' } }
  const served: KeyId[] = []
  for (const count of [2, 2, 2]) {
    served.push(
      ...(await deployed(pool, deployment, (object) => {
        const keys = inTurn(object, count)
        vi.advanceTimersByTime(5_000)
        return keys
      })),
    )
  }
  const shares = Object.groupBy(served, (id) => id)
  expect(Object.values(shares).map((served) => served?.length)).toEqual([3, 2, 1])
})

it('an object whose configuration is faulty refuses to decide, and one after it knows everything', async () => {
  const pool = newPool()
  for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
  await expect(deployed(pool, { keys: [] }, (object) => object.snapshot())).rejects.toThrow(
    'no valid configuration',
  )
  const keys = [keyOf('alpha'), keyOf('beta'), keyOf('gamma')]
  const snapshot = await deployed(pool, { keys }, (object) => object.snapshot())
  expect(snapshot.keys[0]?.reason).toBe('breaker_open')
})
