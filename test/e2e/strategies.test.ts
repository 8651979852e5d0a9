import { expect, test } from 'vitest'
import { type Gateway, journeyOf, startGateway, until, useSimulator } from './harness.ts'

const upstream = useSimulator()

/** Sends so many at once and reads all answers to their end. */
async function sendAll(gateway: Gateway, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      const response = await gateway.chat({})
      expect(response.status).toBe(200)
      await response.arrayBuffer()
    }),
  )
}

/** How many requests each key has made, as the simulator counts them. */
async function shares(): Promise<number[]> {
  const { perKey } = await upstream.control.stats()
  return ['alpha', 'gamma', 'delta'].map((name) => perKey[name]?.requests ?? 0)
}

test('round-robin gives three keys ten each of thirty requests that come at once', async () => {
  const gateway = await startGateway(upstream, { policy: { strategy: 'round-robin' } })
  await sendAll(gateway, 30)
  expect(await shares()).toEqual([10, 10, 10])
})

test('weighted gives weights of 3, 2 and 1 exactly 30, 20 and 10 of sixty requests', async () => {
  const gateway = await startGateway(upstream, {
    keys: [
      { name: 'alpha', weight: 3 },
      { name: 'gamma', weight: 2 },
      { name: 'delta', weight: 1 },
    ],
    policy: { strategy: 'weighted' },
  })
  for (let sent = 0; sent < 60; sent += 20) await sendAll(gateway, 20)
  expect(await shares()).toEqual([30, 20, 10])
})

test('least-busy sends nothing more to a key while it is busy with a slow answer', async () => {
  await upstream.control.patchKey('alpha', { ttftMs: 10_000 })
  const gateway = await startGateway(upstream, { policy: { strategy: 'least-busy' } })
  // Whoever gets the slow key waits; nobody here does.
  const first = Array.from({ length: 3 }, () => gateway.chat({}).catch(() => null))
  await until(gateway.pool, ({ keys }) => keys.map((key) => key.inFlight).join() === '1,0,0')
  for (let i = 0; i < 10; i += 1) {
    const response = await gateway.chat({})
    expect(journeyOf(response).key).not.toBe('alpha')
    await response.arrayBuffer()
  }
  const [alpha, gamma = 0, delta = 0] = await shares()
  expect(alpha).toBe(1)
  expect(Math.abs(gamma - delta)).toBeLessThanOrEqual(2)
  await upstream.control.reset()
  await Promise.all(first)
})

test('priority leaves the standby alone while the primary serves, and takes it when it does not', async () => {
  const gateway = await startGateway(upstream, { policy: { strategy: 'priority' } })
  await sendAll(gateway, 12)
  expect(await shares()).toEqual([12, 0, 0])
  await upstream.control.patchKey('alpha', { disabled: true })
  for (let i = 0; i < 5; i += 1) await sendAll(gateway, 1)
  const [, gamma, delta] = await shares()
  expect([gamma, delta]).toEqual([5, 0])
})

test('a key that is switched off is never asked', async () => {
  const gateway = await startGateway(upstream, {
    keys: [{ name: 'alpha', disabled: true }, 'gamma', 'delta'],
    policy: { strategy: 'round-robin' },
  })
  await sendAll(gateway, 10)
  expect(await shares()).toEqual([0, 5, 5])
})
