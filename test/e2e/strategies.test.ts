import { describe, expect, test } from 'vitest'
import {
  type Gateway,
  type GatewayOptions,
  journeyOf,
  sendMany,
  servedBy,
  startGateway,
  until,
  useSimulator,
  warmUp,
} from './harness.ts'

const upstream = useSimulator()

/** Sends `count` requests at once and reads all answers to their end. */
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
  // The request that gets the slow key takes long. The test does not wait for it.
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

/** The number of answers of each key, out of 300 requests, 20 at a time. */
async function sharesOf(options: GatewayOptions): Promise<Record<string, number>> {
  const gateway = await startGateway(upstream, options)
  // The first request causes the lookups that find each key's credit.
  await warmUp(gateway)
  await upstream.control.patchSettings({ ttftMs: 5, tokensPerSecond: null })
  return servedBy(await sendMany(300, 20, () => gateway.chat({})))
}

describe('of 300 requests, 20 at a time,', () => {
  test('round-robin gives every key the same', async () => {
    const shares = await sharesOf({ policy: { strategy: 'round-robin' } })
    expect(shares).toEqual({ alpha: 100, gamma: 100, delta: 100 })
  })

  test('weighted gives every key exactly its weight', async () => {
    const shares = await sharesOf({
      keys: [
        { name: 'alpha', weight: 3 },
        { name: 'gamma', weight: 2 },
        { name: 'delta', weight: 1 },
      ],
      policy: { strategy: 'weighted' },
    })
    // The request before them has taken the first turn of the first six.
    expect(shares).toEqual({ alpha: 150, gamma: 100, delta: 50 })
  })

  test('least-busy gives equal keys much the same', async () => {
    const shares = await sharesOf({ policy: { strategy: 'least-busy' } })
    for (const count of Object.values(shares)) expect(Math.abs(count - 100)).toBeLessThan(15)
  })

  test('priority gives the first key all of them', async () => {
    expect(await sharesOf({ policy: { strategy: 'priority' } })).toEqual({ alpha: 300 })
  })

  test('most-credit gives an uncapped key all, and then the one with most left', async () => {
    await upstream.control.patchKey('alpha', { limitUsd: 1 })
    await upstream.control.patchKey('gamma', { limitUsd: 3 })
    const shares = await sharesOf({ policy: { strategy: 'most-credit' } })
    expect(shares).toEqual({ gamma: 300 })
    await upstream.control.patchKey('alpha', { limitUsd: null })
    expect(await sharesOf({ policy: { strategy: 'most-credit' } })).toEqual({ alpha: 300 })
  })

  test('lowest-latency gives a key that is far slower the rest', async () => {
    await upstream.control.patchKey('gamma', { ttftMs: 1_500 })
    const shares = await sharesOf({ policy: { strategy: 'lowest-latency' } })
    const { alpha = 0, gamma = 0, delta = 0 } = shares
    // Less than a fifth of all. The slow key gets some, since it is idle while others are busy.
    expect(gamma).toBeLessThan(60)
    expect(alpha + delta).toBeGreaterThan(240)
    expect(Math.min(alpha, delta)).toBeGreaterThan(70)
  })

  test('lowest-usage gives keys the shares of their limits', async () => {
    const shares = await sharesOf({
      keys: [
        { name: 'alpha', rpm: 600 },
        { name: 'gamma', rpm: 300 },
        { name: 'delta', rpm: 100 },
      ],
      policy: { strategy: 'lowest-usage' },
    })
    const { alpha = 0, gamma = 0, delta = 0 } = shares
    expect(Math.abs(alpha - 180)).toBeLessThan(10)
    expect(Math.abs(gamma - 90)).toBeLessThan(10)
    expect(Math.abs(delta - 30)).toBeLessThan(10)
  })

  test('credit-threshold gives one key all while its credit is above the threshold', async () => {
    await upstream.control.patchKey('alpha', { limitUsd: 3 })
    const shares = await sharesOf({ policy: { strategy: 'credit-threshold' } })
    expect(shares).toEqual({ alpha: 300 })
  })
})
