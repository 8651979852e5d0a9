import { expect, it } from 'vitest'
import { bookCache } from '../../../src/balancing/accounting/cache-counters.ts'
import { countRequest } from '../../../src/balancing/accounting/request-row.ts'
import { watchForAlerts } from '../../../src/balancing/alerts/alert-watch.ts'
import { readings } from '../../../src/balancing/readings/pool-readings.ts'
import { TO_OPS } from '../alerts/stored-alerts.ts'
import { drivePool, POLICY, usageOf } from '../pool-driver.ts'

const costing = (usd: number) => ({ usage: usageOf(10, 5, usd) })

it('readings count what has happened', () => {
  const pool = drivePool([{ id: 'a', maxSpend: { usd: 10, period: 'day' } }, { id: 'b' }], {
    alerts: { ...POLICY.alerts, to: TO_OPS },
  })
  const { state, now } = pool
  pool.give(pool.grantOf('a', { client: 'carol', model: 'vendor/model' }), costing(0.25))
  pool.give(pool.grantOf('b', { client: 'dave', model: 'vendor/other' }), costing(0.5))
  for (const id of ['a', 'a', 'b']) pool.grantOf(id, { class: 'batch' })
  const row = { id: 'r', mark: 'r', text: '' }
  countRequest(state.ledger.requests, { ...row, outcome: 'answered', attempts: 2 })
  const counters = { hits: 1, joins: 2, misses: 3, bypasses: 4, keptBytes: 5, savedUsd: 6 }
  bookCache(state.cache, { mark: 'a', counters }, now())
  for (const id of ['a', 'b']) pool.trip(id)
  watchForAlerts({ state, nowMs: now(), random: () => 0.5 })

  const told = readings(state, now())
  expect(told).toMatchObject({
    version: 1,
    requests: { answered: 1, failed: 0, retries: 1 },
    batchLines: 3,
    cache: { total: counters, today: counters },
    spends: [{ id: 'a', limitUsd: 10, period: 'day', spentUsd: 0.25 }],
  })
  const costs = (of: typeof told.models) => of.map(({ name, total }) => [name, total.costUsd])
  expect(costs(told.clients)).toEqual([
    ['carol', 0.25],
    ['dave', 0.5],
    ['client', 0],
  ])
  expect(costs(told.models).slice(0, 2)).toEqual([
    ['vendor/model', 0.25],
    ['vendor/other', 0.5],
  ])
  expect(told.alerts.active).toMatchObject({ breaker_open: 2 })
  const messages = state.alerts.outbox.queues.get('ops')?.length
  expect(told.alerts.undelivered).toEqual({ ops: messages })
  expect(told.snapshot.keys.map(({ id }) => id)).toEqual(['a', 'b'])
})

it('readings of a pool without requests name nobody', () => {
  const { state, now } = drivePool(['a'])
  expect(readings(state, now())).toMatchObject({
    ...{ models: [], clients: [], spends: [], batchLines: 0 },
    alerts: { active: {}, undelivered: {} },
  })
})

it('what 200 clients are followed by is told as one', () => {
  const pool = drivePool(['a'])
  const serve = (client: string) => pool.give(pool.grant({ client }), costing(1))
  for (let i = 0; i < 200; i++) serve(`client-${i}`)
  expect(readings(pool.state, pool.now()).clients).toHaveLength(200)
  for (const client of ['late', 'later', 'client-7']) serve(client)
  const { clients } = readings(pool.state, pool.now())
  expect(clients).toHaveLength(201)
  expect(clients[7]).toMatchObject({ name: 'client-7', total: { attempts: 2, costUsd: 2 } })
  expect(clients.at(-1)).toMatchObject({ name: '(other)', total: { attempts: 2, costUsd: 2 } })
})
