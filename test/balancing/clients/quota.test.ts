import { describe, expect, it } from 'vitest'
import { nanosOf } from '../../../src/balancing/clients/budget.ts'
import { budgetRecords, quotaOf } from '../../../src/balancing/clients/client-records.ts'
import { type ClientsOrder, carryOut } from '../../../src/balancing/clients/registry.ts'
import { clientId, isolateId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import type { LeaseRequest, Refusal } from '../../../src/balancing/lease-request.ts'
import type { QuotaOwner } from '../../../src/balancing/limits/quota-charge.ts'
import { settle } from '../../../src/balancing/serving/lease-end.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import { MAX_BUDGETS_SHOWN, snapshot } from '../../../src/balancing/snapshot.ts'
import { drivePool, type PoolDriver, START_MS, usageOf } from '../pool-driver.ts'
import { budgetOf, clientOf } from './client-terms.ts'

// Limits of clients and groups, through the reducer.

const DAY_MS = 24 * 3_600_000

const quota = (pool: PoolDriver, owner: QuotaOwner) => {
  const found = quotaOf(pool.state.clients, owner)
  if (found === undefined) throw new Error(`no ${owner}`)
  return found
}
const budgetIn = (pool: PoolDriver, owner: QuotaOwner) => {
  const [budget] = quota(pool, owner).budgets
  if (budget === undefined) throw new Error(`${owner} has no budget`)
  return budget
}
const order = (pool: PoolDriver, of: ClientsOrder) =>
  carryOut(pool.state.clients, of, pool.state.changes, pool.now())

const quotaRefused = ({ quota }: Refusal) => quota

describe('a rate', () => {
  const ofA = (limits: object) => drivePool(['k'], { clients: [{ id: 'a', ...limits }] })

  it('of requests in a minute: the next goes when the oldest has left it', () => {
    const pool = ofA({ rpm: 2 })
    pool.give(pool.grant({ client: 'a' }))
    pool.wait(10_000)
    pool.grant({ client: 'a', attempt: 'first' })
    // A move is no further request.
    pool.grant({ client: 'a', attempt: 'move' })
    const refused = pool.refusal({ client: 'a' })
    const resetsAtMs = START_MS + 60_100
    expect(refused).toMatchObject({ cause: 'client', retryAtMs: resetsAtMs })
    expect(quotaRefused(refused)).toEqual({
      ...{ kind: 'rate', owner: 'client:a', limit: 'rpm', max: 2, remaining: 0, resetsAtMs },
    })
    pool.at(resetsAtMs - 1)
    pool.refusal({ client: 'a' })
    pool.at(resetsAtMs)
    pool.grant({ client: 'a' })
  })

  it('of tokens in a minute counts the estimate, and then what was used', () => {
    const pool = ofA({ tpm: 100 })
    const lease = pool.grant({ client: 'a', tokens: 80 })
    expect(quotaRefused(pool.refusal({ client: 'a', tokens: 21 }))).toMatchObject({
      ...{ limit: 'tpm', remaining: 20 },
    })
    pool.give(lease, { usage: usageOf(20, 10, 0) })
    pool.grant({ client: 'a', tokens: 70 })
    pool.refusal({ client: 'a', tokens: 1 })
  })

  it('of requests in a day begins anew at midnight in UTC', () => {
    const pool = ofA({ rpd: 2 })
    for (let i = 0; i < 2; i++) pool.give(pool.grant({ client: 'a' }))
    const midnightMs = START_MS + DAY_MS / 2
    expect(quotaRefused(pool.refusal({ client: 'a' }))).toMatchObject({
      ...{ limit: 'rpd', remaining: 0, resetsAtMs: midnightMs },
    })
    pool.at(midnightMs)
    pool.grant({ client: 'a' })
  })

  it('of a request that was never made is given back, but not to another day', () => {
    const pool = ofA({ rpd: 3, rpm: 3, tpm: 100 })
    const unused = { unused: true, outcome: 'ignorable' } as const
    pool.give(pool.grant({ client: 'a', tokens: 100 }), unused)
    expect(quota(pool, 'client:a')).toMatchObject({ requestsToday: 0, inFlight: 0 })
    pool.grant({ client: 'a', tokens: 100 })
    pool.at(START_MS + DAY_MS / 2 - 1)
    const late = pool.grant({ client: 'a' })
    pool.wait(2)
    pool.give(pool.grant({ client: 'a' }))
    pool.give(late, unused)
    expect(quota(pool, 'client:a').requestsToday).toBe(1)
  })

  it('of requests at the same time is free again with the settlement, and with silence', () => {
    const pool = ofA({ maxConcurrent: 1 })
    const lease = pool.grant({ client: 'a', leaseMs: 5_000 })
    expect(quotaRefused(pool.refusal({ client: 'a' }))).toMatchObject({
      ...{ limit: 'max_concurrent', remaining: 0, resetsAtMs: null },
    })
    pool.give(lease)
    pool.grant({ client: 'a', leaseMs: 5_000 })
    pool.wait(5_000)
    pool.grant({ client: 'a' })
  })

  it('holds nobody else up', () => {
    const pool = ofA({ rpm: 1 })
    pool.grant({ client: 'a' })
    pool.refusal({ client: 'a' })
    expect(pool.ask({ client: 'other' }).kind).toBe('grant')
  })
})

describe('a client and its group', () => {
  const ofTeam = (own: object, shared: object) =>
    drivePool(['k'], {
      clients: [
        { id: 'a', group: 'team', ...own },
        { id: 'b', group: 'team' },
      ],
      groups: [{ id: 'team', ...shared }],
    })

  const LIMITS = [
    ['rpm', { rpm: 1 }],
    ['tpm', { tpm: 10 }],
    ['rpd', { rpd: 1 }],
    ['max_concurrent', { maxConcurrent: 1 }],
    ['a budget', { budgets: [budgetOf({ usd: 0.3 })] }],
  ] as const
  const WIDE = { ...{ rpm: 9, tpm: 90, rpd: 9, maxConcurrent: 9 }, budgets: [budgetOf({ usd: 9 })] }
  const taken = (pool: PoolDriver) =>
    (['client:a', 'group:team'] as const).map((owner) => {
      const { inFlight, rpm, tpm, requestsToday, budgets } = quota(pool, owner)
      const reserved = budgets.map(({ reservedNanos }) => reservedNanos)
      return { inFlight, rpm: rpm?.window.total, tpm: tpm?.window.total, requestsToday, reserved }
    })
  const request = { client: 'a', tokens: 10, boundUsd: 0.2 }

  it.each(LIMITS)('refuse together: a request that %s refuses takes nothing', (_, narrow) => {
    for (const [own, shared] of [
      [narrow, WIDE],
      [WIDE, narrow],
    ] as const) {
      const pool = ofTeam(own, shared)
      pool.grant(request)
      const before = taken(pool)
      const owner = own === narrow ? 'client:a' : 'group:team'
      expect(pool.refusal(request).quota).toMatchObject({ owner })
      expect(taken(pool)).toEqual(before)
    }
  })

  it('take nothing of a request that no key serves, and a place of one that waits', () => {
    const pool = drivePool([{ id: 'k', maxConcurrent: 1 }], {
      clients: [{ id: 'a', group: 'team', ...WIDE }],
      groups: [{ id: 'team', ...WIDE }],
    })
    const first = pool.grant({ client: 'other' })
    const before = taken(pool)
    pool.refusal(request)
    expect(taken(pool)).toEqual(before)
    const { leaseId: waiter } = pool.waiting(request)
    expect(taken(pool)[0]).toMatchObject({ inFlight: 1, reserved: [nanosOf(0.2)] })
    pool.give(first)
    expect(pool.inquire(waiter)?.kind).toBe('grant')
    expect(taken(pool)[1]).toMatchObject({ inFlight: 1, reserved: [nanosOf(0.2)] })
    pool.waiting(request)
    pool.wait(10_000)
    pool.wake()
    expect(taken(pool)[0]).toMatchObject({ inFlight: 1, reserved: [nanosOf(0.2)] })
  })

  it('share what its other clients spend', () => {
    const pool = ofTeam({}, { budgets: [budgetOf({ usd: 0.5 })] })
    pool.give(pool.grant({ client: 'a', boundUsd: 0.3 }), { usage: usageOf(1, 1, 0.25) })
    pool.give(pool.grant({ client: 'b', boundUsd: 0.2 }), { usage: usageOf(1, 1, 0.2) })
    expect(pool.refusal({ client: 'a', boundUsd: 0.06 }).quota).toMatchObject({
      ...{ kind: 'budget', owner: 'group:team', period: 'day', onExceeded: 'reject' },
      ...{ limitNanos: nanosOf(0.5), spentNanos: nanosOf(0.45), reservedNanos: 0 },
      resetsAtMs: START_MS + DAY_MS / 2,
    })
  })
})

describe('money of a lease', () => {
  const ofA = (budget = budgetOf()) =>
    drivePool(['k'], { clients: [{ id: 'a', budgets: [budget] }] })
  const amounts = (pool: PoolDriver) => {
    const { spentNanos, reservedNanos, lostNanos } = budgetIn(pool, 'client:a')
    return [spentNanos, reservedNanos, lostNanos].map((nanos) => nanos / 1e9)
  }
  const paid = (usd: number) => ({ usage: usageOf(1, 1, usd) })

  it('is reserved, then spent, once', () => {
    const pool = ofA()
    const lease = pool.grant({ client: 'a', boundUsd: 0.4 })
    expect(amounts(pool)).toEqual([0, 0.4, 0])
    pool.give(lease, paid(0.1))
    pool.give(lease, paid(0.1))
    expect(amounts(pool)).toEqual([0.1, 0, 0])
  })

  it('that ended without a word is lost, until a late word', () => {
    const pool = ofA()
    const lease = pool.grant({ client: 'a', boundUsd: 0.4, leaseMs: 1_000 })
    pool.wait(1_000)
    pool.wake()
    expect(amounts(pool)).toEqual([0, 0, 0.4])
    pool.give(lease, paid(0.1))
    expect(amounts(pool)).toEqual([0.1, 0, 0])
  })

  it('is reserved also where a fallback model is asked, whose cost will come', () => {
    const pool = ofA(budgetOf({ usd: 0.5, onExceeded: 'fallback_model' }))
    pool.give(pool.grant({ client: 'a', boundUsd: 0.5 }), paid(0.5))
    expect(pool.refusal({ client: 'a', boundUsd: 0.1 }).quota).toMatchObject({
      onExceeded: 'fallback_model',
    })
    const lease = pool.grant({ client: 'a', boundUsd: 0.1, isFallback: true })
    expect(amounts(pool)).toEqual([0.5, 0.1, 0])
    // Without its cost, it costs what it reserved.
    pool.give(lease)
    expect(amounts(pool)).toEqual([0.6, 0, 0])
  })

  it('counts for a budget that was made while it ran, and takes nothing out of it', () => {
    const pool = drivePool(['k'])
    const terms = clientOf({ id: 'a', budgets: [budgetOf()] })
    order(pool, { kind: 'make_client', terms, sha256: 'x' })
    const lease = pool.grant({ client: 'a', boundUsd: 0.4 })
    pool.wait(1)
    const change = (budgets: readonly ReturnType<typeof budgetOf>[]) =>
      order(pool, { kind: 'change_client', id: clientId('a'), changes: { budgets } })
    change([budgetOf({ period: 'month' })])
    change([budgetOf()])
    pool.grant({ client: 'a', boundUsd: 0.2 })
    pool.give(lease, paid(0.1))
    expect(amounts(pool)).toEqual([0.1, 0.2, 0])
  })

  it('of a client that was made again does not free what the new one holds', () => {
    const pool = drivePool(['k'])
    const terms = clientOf({ id: 'a', maxConcurrent: 1, budgets: [budgetOf()] })
    order(pool, { kind: 'make_client', terms, sha256: 'x' })
    const lease = pool.grant({ client: 'a', boundUsd: 0.4 })
    pool.wait(1)
    order(pool, { kind: 'remove_client', id: clientId('a') })
    order(pool, { kind: 'make_client', terms, sha256: 'y' })
    pool.grant({ client: 'a', boundUsd: 0.3 })
    pool.give(lease, paid(0.1))
    expect(quota(pool, 'client:a').inFlight).toBe(1)
    expect(amounts(pool)).toEqual([0, 0.3, 0])
  })

  it('writes the row of a threshold that was passed in the step that told it', () => {
    const pool = ofA()
    pool.give(pool.grant({ client: 'a', boundUsd: 0.4 }), paid(0.3))
    const lease = pool.grant({ client: 'a', boundUsd: 0.3 })
    pool.state.changes.budgets.clear()
    pool.give(lease, paid(0.3))
    expect(pool.state.changes.thresholds).toMatchObject([{ owner: 'client:a', percent: 50 }])
    expect([...pool.state.changes.budgets]).toEqual(['client:a'])
    expect(budgetRecords(pool.state.clients, 'client:a')).toMatchObject([{ toldPercent: 50 }])
  })
})

describe('a lease ahead', () => {
  const limits = { rpm: 10, rpd: 10, maxConcurrent: 10, budgets: [budgetOf()] }
  const isolate = isolateId('isolate-1')
  const model = modelId('vendor/model')

  function ahead() {
    const pool = drivePool(['k'], { clients: [{ id: 'a', ...limits }] })
    const step = () => ({ state: pool.state, nowMs: pool.now(), random: () => 0.5 })
    const [lease] = hold(step(), {
      ...{ isolate, idPrefix: 'ahead', asked: model, models: [model], account: null, count: 1 },
      ...{ tokens: 0, clientId: clientId('a'), costNanos: nanosOf(0.2) },
    })
    if (lease === undefined) throw new Error('none is held')
    const told = { leaseId: lease.leaseId, keyId: lease.keyId, isolate, model, tokens: 0 }
    const terms = { clientId: clientId('a'), grantedAtMs: lease.grantedAtMs, conversation: null }
    const heard = () => begin(step(), { ...told, ...terms, leaseMs: 60_000 })
    const settled = (more: object) =>
      settle(
        pool.state,
        {
          ...{ leaseId: leaseId(lease.leaseId), keyId: lease.keyId, outcome: 'success' },
          ...{ benches: [], suspect: false, ...more },
        },
        pool.now(),
        () => 0.5,
      )
    const taken = () => {
      const { inFlight, requestsToday, rpm } = quota(pool, 'client:a')
      const { reservedNanos, lostNanos, spentNanos } = budgetIn(pool, 'client:a')
      const money = [spentNanos, reservedNanos, lostNanos].map((nanos) => nanos / 1e9)
      return [inFlight, requestsToday, rpm?.window.total, ...money]
    }
    const silence = () => {
      pool.wait(8_000)
      pool.wake()
    }
    return { heard, settled, silence, taken }
  }

  it('of a silent isolate gives its requests back, and its money is lost', () => {
    const { silence, taken } = ahead()
    expect(taken()).toEqual([1, 1, 1, 0, 0.2, 0])
    silence()
    expect(taken()).toEqual([0, 0, 0, 0, 0, 0.2])
  })

  it.each([
    ['never used', { unused: true, outcome: 'ignorable' }, [0, 0, 0, 0, 0, 0]],
    ['used', { usage: usageOf(1, 1, 0.1) }, [0, 1, 1, 0.1, 0, 0]],
  ])('that is settled after a silence as %s counts so', (_, told, expected) => {
    const { settled, silence, taken } = ahead()
    silence()
    settled(told)
    expect(taken()).toEqual(expected)
  })

  it('that is begun after a silence is held again', () => {
    const { heard, settled, silence, taken } = ahead()
    silence()
    heard()
    expect(taken()).toEqual([1, 1, 1, 0, 0.2, 0])
    settled({ usage: usageOf(1, 1, 0.1) })
    expect(taken()).toEqual([0, 1, 1, 0.1, 0, 0])
  })
})

it('a bound of nothing is not an unknown one', () => {
  const free: LeaseRequest['costNanos'] = 0
  const pool = drivePool(['k'], {
    clients: [{ id: 'a', budgets: [budgetOf({ usd: 0.1, strict: true })] }],
  })
  pool.grant({ client: 'a', boundUsd: free })
  expect(pool.refusal({ client: 'a', boundUsd: null }).quota).toEqual({
    ...{ kind: 'unpriceable', owner: 'client:a' },
  })
  expect(pool.refusal({ client: 'a' }).quota?.kind).toBe('unpriceable')
})

it('operators see what is lost, and no more budgets than they can read', () => {
  const clients = Array.from({ length: 150 }, (_, i) => ({ id: `c${i}`, budgets: [budgetOf()] }))
  const pool = drivePool(['k'], { clients })
  pool.grant({ client: 'c120', boundUsd: 0.3, leaseMs: 1_000 })
  pool.wait(1_000)
  pool.wake()
  const { budgets } = snapshot(pool.state, pool.now())
  expect(budgets).toHaveLength(MAX_BUDGETS_SHOWN)
  expect(budgets[0]).toEqual({
    ...{ owner: 'client:c120', period: 'day', limitUsd: 1, spentUsd: 0, reservedUsd: 0 },
    ...{ lostUsd: 0.3, resetsAtMs: START_MS + DAY_MS / 2 },
  })
})
