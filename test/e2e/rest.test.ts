import { expect, test } from 'vitest'
import {
  type Gateway,
  journeyOf,
  startGateway,
  startGatewayWithClock,
  until,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

/** Fires the cron trigger, as the platform does once a minute. */
async function minute(gateway: Gateway): Promise<void> {
  const { outcome } = await gateway.worker.scheduled({ cron: '* * * * *' })
  expect(outcome).toBe('ok')
}

const health = async (gateway: Gateway) => JSON.parse(await (await gateway.send('/healthz')).text())

const lookups = async () =>
  (await upstream.control.log()).filter(({ path }) => path.endsWith('/key')).length

test('before the first request neither the cron trigger nor a monitor calls the object', async () => {
  const gateway = await startGateway(upstream)
  await minute(gateway)
  expect(await health(gateway)).toEqual({ status: 'ok', keys_usable: 3, keys_total: 3 })
  expect(await gateway.worker.listDurableObjectIds('KEY_POOL')).toEqual([])
  expect(await upstream.control.log()).toEqual([])
})

test('a key that was revoked and is repaired comes back without traffic', async () => {
  const { gateway, pass } = await startGatewayWithClock(upstream, {
    policy: { strategy: 'priority', credit: { refresh_s: 30 } },
  })
  await upstream.control.patchKey('alpha', { disabled: true })
  expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
  await until(gateway.pool, ({ keys }) => keys[0]?.clearsAtMs === null && keys[0].reason !== null)
  expect(await health(gateway)).toMatchObject({ status: 'ok', keys_usable: 2 })
  await upstream.control.patchKey('alpha', { disabled: false })
  const before = await lookups()
  // No request from here on: only the cron trigger, and a monitor.
  await minute(gateway)
  expect(await health(gateway)).toMatchObject({ keys_usable: 2 })
  await until(
    async () => {
      await pass(5_000)
      await minute(gateway)
      return await health(gateway)
    },
    ({ keys_usable: usable }) => usable === 3,
  )
  // Only the key that was out was asked about: the others can wait for the next request.
  expect((await lookups()) - before).toBe(1)
  expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'alpha', attempts: 1 })
})
