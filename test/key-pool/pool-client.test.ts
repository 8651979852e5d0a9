import { env } from 'cloudflare:workers'
import { afterEach, expect, it, vi } from 'vitest'
import { leaseId } from '../../src/balancing/ids.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { createPoolClient } from '../../src/key-pool/pool-client.ts'

afterEach(() => void vi.useRealTimers())

const NOTHING = { version: 1, wants: [], settlements: [], lookups: [] } as const

/** A namespace whose objects answer with this function. */
function namespaceOf(answer: () => Promise<unknown>) {
  const getByName = vi.fn(() => ({ exchange: answer, snapshot: answer }))
  return { getByName, namespace: { getByName } as unknown as DurableObjectNamespace<KeyPool> }
}

it('passes on what the object answers', async () => {
  // Its module is loaded with the first call, which on a busy machine takes longer than the client waits.
  await env.KEY_POOL.getByName('pool/test/warm').snapshot()
  const client = createPoolClient(env.KEY_POOL)
  expect(await client.exchange(NOTHING)).toMatchObject({
    kind: 'answer',
    value: { version: 1, decisions: [], lookups: [{ keyId: 'alpha' }, {}, {}] },
  })
  expect(await client.whenDecided(leaseId('unknown'))).toEqual({
    kind: 'answer',
    value: { version: 1, decision: null },
  })
  expect(await client.snapshot()).toMatchObject({ kind: 'answer', value: { usable: 3 } })
})

it('gives up after two seconds, and not before', async () => {
  vi.useFakeTimers()
  const { namespace } = namespaceOf(() => new Promise(() => undefined))
  const settled = vi.fn()
  const answer = createPoolClient(namespace).exchange(NOTHING)
  void answer.then(settled)
  await vi.advanceTimersByTimeAsync(1_999)
  expect(settled).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(1)
  expect(await answer).toEqual({ kind: 'unavailable' })
})

it('keeps no timer running once it has its answer', async () => {
  vi.useFakeTimers()
  const { namespace } = namespaceOf(async () => null)
  await createPoolClient(namespace).snapshot()
  expect(vi.getTimerCount()).toBe(0)
})

it('an answer or an error that comes after it has given up changes nothing', async () => {
  vi.useFakeTimers()
  const { promise, reject } = Promise.withResolvers<unknown>()
  const { namespace } = namespaceOf(() => promise)
  const answer = createPoolClient(namespace).exchange(NOTHING)
  await vi.advanceTimersByTimeAsync(2_000)
  reject(new Error('reset'))
  expect(await answer).toEqual({ kind: 'unavailable' })
})

it.each([
  ['rejects', () => Promise.reject(new Error('overloaded'))],
  [
    'throws at once',
    () => {
      throw new Error('broken stub')
    },
  ],
])('takes an object that %s for one that cannot be reached', async (_, answer) => {
  const { namespace } = namespaceOf(answer)
  expect(await createPoolClient(namespace).snapshot()).toEqual({ kind: 'unavailable' })
})

it('asks through a fresh stub each time, and lets the runtime retry nothing', async () => {
  const { namespace, getByName } = namespaceOf(async () => null)
  const client = createPoolClient(namespace)
  await client.exchange(NOTHING)
  await client.snapshot()
  expect(getByName).toHaveBeenCalledTimes(2)
  expect(getByName).toHaveBeenCalledWith(expect.any(String), { retry: { maxRetries: 0 } })
})
