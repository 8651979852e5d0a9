import { expect, it } from 'vitest'
import { ALERT_EVENTS } from '../../../src/balancing/alerts/alert-policy.ts'
import { poolConfig } from '../../../src/config/config.ts'
import { configOf } from '../environment.ts'

const secret = `whsec_${Buffer.alloc(32).toString('base64')}`
const address = { url: 'https://hooks.example.com/x', secret }
const ALERTS = JSON.stringify({ slack: address, pager: address })

async function alertsOf(alerts?: object) {
  return poolConfig(await configOf({ ALERTS, POLICY: { alerts } })).policy.alerts
}

it('sends every event to every address, unless told otherwise', async () => {
  const { to } = await alertsOf({})
  expect([...to]).toEqual(ALERT_EVENTS.map((event) => [event, ['slack', 'pager']]))
})

it('sends to each address its own events, and to one that is not named nothing', async () => {
  const { to } = await alertsOf({ to: { pager: ['key_rejected', 'pool_degraded'] } })
  expect(to.get('key_rejected')).toEqual(['pager'])
  expect(to.get('pool_degraded')).toEqual(['pager'])
  expect(to.get('breaker_open')).toEqual([])
})

it('reads seconds, hours and days', async () => {
  const read = await alertsOf({ interval_s: 60, credit_low_hours: 2, key_expires_days: 1 })
  expect(read).toMatchObject({
    intervalMs: 60_000,
    creditLowMs: 7_200_000,
    keyExpiresMs: 86_400_000,
  })
})

it('gives the pool the names of the addresses, and nothing else of them', async () => {
  const config = poolConfig(await configOf({ ALERTS }))
  const text = JSON.stringify({ ...config, to: [...config.policy.alerts.to] })
  expect(text).toContain('slack')
  expect(text).not.toMatch(/hooks|https/)
  expect(text).not.toContain(secret)
})
