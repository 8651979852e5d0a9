import { describe, expect, it } from 'vitest'
import {
  callBack,
  calledBack,
  chargeForRequest,
  mayHoldAhead,
  noteAhead,
} from '../../../src/balancing/clients/charges-ahead.ts'
import { createClients } from '../../../src/balancing/clients/clients.ts'
import { quotaView, takeRates } from '../../../src/balancing/clients/quota.ts'
import { clientId, isolateId, modelId } from '../../../src/balancing/ids.ts'
import type { LeaseAhead, LeaseOrder } from '../../../src/balancing/limits/lease-order.ts'
import type { Lease } from '../../../src/balancing/limits/leases.ts'
import { holdsOf } from '../../../src/balancing/limits/quota-charge.ts'
import type { QuotaRefusal } from '../../../src/balancing/limits/quota-refusal.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import type { LeaseTerms } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver, START_MS, usageOf } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'
import { budgetOf, type ClientSpec, clientOf, type GroupSpec } from './client-terms.ts'

const APP = clientId('app')
const ISOLATE = isolateId('isolate')
const random = seededRandom(7)

const CENT = 10_000_000

/** `app` and `other` of the group `team`, which alone has limits unless `app` is given some. */
function poolOf(app: Partial<ClientSpec>, team: Partial<GroupSpec> = {}) {
  const clients = [
    { ...app, id: 'app', group: 'team' },
    { id: 'other', group: 'team' },
  ]
  return drivePool([{ id: 'a' }], { clients, groups: [{ ...team, id: 'team' }] })
}

let orders = 0

function ordered(pool: PoolDriver, given: Partial<LeaseOrder> = {}): readonly LeaseAhead[] {
  orders += 1
  const step = { state: pool.state, nowMs: pool.now(), random }
  const of = { isolate: ISOLATE, idPrefix: `order-${orders}`, account: null, clientId: APP }
  const what = { asked: modelId('vendor/model'), models: [modelId('vendor/model')] as const }
  return hold(step, { ...of, ...what, count: 32, tokens: 0, costNanos: CENT, ...given })
}

function first(pool: PoolDriver, given: Partial<LeaseOrder> = {}): LeaseAhead {
  const [lease] = ordered(pool, { count: 1, ...given })
  if (lease === undefined) throw new Error('nothing was held')
  return lease
}

function begun(pool: PoolDriver, lease: LeaseAhead, costNanos: number, tokens = 0): void {
  const { leaseId, keyId, model, grantedAtMs } = lease
  const step = { state: pool.state, nowMs: pool.now(), random }
  const of = { leaseId, keyId, model, grantedAtMs, isolate: ISOLATE, clientId: APP }
  begin(step, { ...of, leaseMs: 600_000, conversation: null, tokens, costNanos })
}

/** What the Worker of a request with that bound settles its lease with. */
function termsOf({ model, grantedAtMs, held }: LeaseAhead, costNanos: number) {
  const holds = holdsOf(held?.holds ?? [], costNanos)
  const lease: LeaseTerms = { clientId: APP, model, grantedAtMs, tokens: 0 }
  return { lease: held === undefined ? lease : { ...lease, held: { ...held, holds } } }
}

const give = (pool: PoolDriver, lease: LeaseAhead, told = {}) =>
  pool.give({ ...lease, kind: 'grant' }, told)

const unused = { outcome: 'ignorable', unused: true } as const

function quotaOf({ state }: PoolDriver) {
  const quota = state.clients.byId.get(APP)?.quota
  if (quota === undefined) throw new Error('no quota')
  return quota
}

const moneyOf = (pool: PoolDriver) => {
  const [budget] = quotaOf(pool).budgets
  const { spentNanos, reservedNanos, lostNanos } = budget ?? {}
  return { spentNanos, reservedNanos, lostNanos }
}

describe('leases ahead of a client with limits', () => {
  it.each([
    { of: 'max_concurrent', app: { maxConcurrent: 10 }, held: 5 },
    { of: 'rpm', app: { rpm: 10 }, held: 5 },
    { of: 'rpd', app: { rpd: 10 }, held: 5 },
    { of: 'tpm', app: { tpm: 1_000 }, given: { tokens: 100 }, held: 5 },
    { of: 'a budget', app: { budgets: [budgetOf({ usd: 0.1 })] }, held: 5 },
    {
      of: 'the tighter of two budgets',
      app: { budgets: [budgetOf({ usd: 9 }), budgetOf({ usd: 0.1, period: 'total' })] },
      held: 5,
    },
    { of: 'a budget of its group', app: {}, team: { budgets: [budgetOf({ usd: 0.1 })] }, held: 5 },
    { of: 'a limit of its group', app: { rpm: 1_000 }, team: { maxConcurrent: 10 }, held: 5 },
    { of: 'nothing', app: { keys: null }, held: 32 },
  ])('fill half of $of at most', ({ app, team, given, held }) => {
    expect(ordered(poolOf(app, team), given)).toHaveLength(held)
  })

  it('of a budget that nothing bounds hold what it reserves for such a request, or are not held', () => {
    const of = (strict: boolean) =>
      poolOf({ budgets: [budgetOf({ usd: 10, reserveUsd: 1, strict })] })
    expect(ordered(of(false), { costNanos: null })).toHaveLength(5)
    expect(ordered(of(true), { costNanos: null })).toHaveLength(0)
  })

  it('come back with all that they have taken, also on the next day', () => {
    const limits = {
      rpm: 100,
      rpd: 100,
      tpm: 1_000,
      maxConcurrent: 100,
      budgets: [budgetOf({ usd: 10 })],
    }
    const pool = poolOf(limits)
    give(pool, first(pool, { tokens: 50 }), unused)
    expect(quotaOf(pool)).toMatchObject({ inFlight: 0, requestsToday: 0 })
    expect(quotaOf(pool).rpm?.window.total).toBe(0)
    expect(quotaOf(pool).tpm?.window.total).toBe(0)
    expect(moneyOf(pool)).toEqual({ spentNanos: 0, reservedNanos: 0, lostNanos: 0 })
    pool.wait(Date.UTC(2026, 0, 15, 23, 59, 59) - START_MS)
    const late = first(pool)
    pool.wait(1_500)
    pool.grant({ client: 'app', costNanos: 0 })
    give(pool, late, unused)
    expect(quotaOf(pool).requestsToday).toBe(1)
  })

  it('hold what their request may cost from its begin on, and count in its minute and its day', () => {
    const pool = poolOf({ rpm: 100, rpd: 100, tpm: 10_000, budgets: [budgetOf({ usd: 10 })] })
    pool.wait(Date.UTC(2026, 0, 15, 23, 59, 59) - START_MS)
    const lease = first(pool, { tokens: 500 })
    expect(moneyOf(pool).reservedNanos).toBe(CENT)
    pool.wait(1_500)
    begun(pool, lease, 2_000, 200)
    expect(moneyOf(pool).reservedNanos).toBe(2_000)
    expect(quotaOf(pool)).toMatchObject({ inFlight: 1, requestsToday: 1 })
    pool.wait(59_000)
    pool.grant({ client: 'app', tokens: 1, costNanos: 0 })
    expect(quotaOf(pool).rpm?.window.total).toBe(2)
    expect(quotaOf(pool).tpm?.window.total).toBe(201)
    give(pool, lease, { ...termsOf(lease, 2_000), usage: usageOf(60, 40, 0.000001) })
    expect(moneyOf(pool)).toEqual({ spentNanos: 1_000, reservedNanos: 0, lostNanos: 0 })
  })

  it('lose their money if nobody speaks of them, and give the rest back', () => {
    const pool = poolOf({ rpm: 100, rpd: 100, tpm: 1_000, budgets: [budgetOf({ usd: 10 })] })
    const lease = first(pool, { tokens: 50 })
    pool.wait(3_000)
    pool.wake()
    expect(quotaOf(pool)).toMatchObject({ inFlight: 0, requestsToday: 0 })
    expect(quotaOf(pool).rpm?.window.total).toBe(0)
    expect(quotaOf(pool).tpm?.window.total).toBe(0)
    expect(moneyOf(pool)).toEqual({ spentNanos: 0, reservedNanos: 0, lostNanos: CENT })
    // A late word that no request came for it.
    give(pool, lease, unused)
    expect(moneyOf(pool)).toEqual({ spentNanos: 0, reservedNanos: 0, lostNanos: 0 })
    expect(quotaOf(pool).rpm?.window.total).toBe(0)
  })

  it('are corrected by a late word of their request, and counted once', () => {
    const pool = poolOf({ rpm: 100, rpd: 100, tpm: 1_000, budgets: [budgetOf({ usd: 10 })] })
    const lease = first(pool, { tokens: 50 })
    pool.wait(3_000)
    pool.wake()
    begun(pool, lease, 2_000, 40)
    expect(quotaOf(pool)).toMatchObject({ inFlight: 1, requestsToday: 1 })
    expect(quotaOf(pool).rpm?.window.total).toBe(1)
    expect(quotaOf(pool).tpm?.window.total).toBe(40)
    expect(moneyOf(pool)).toEqual({ spentNanos: 0, reservedNanos: 2_000, lostNanos: 0 })
    give(pool, lease, { ...termsOf(lease, 2_000), usage: usageOf(6, 4, 0.000001) })
    expect(moneyOf(pool)).toEqual({ spentNanos: 1_000, reservedNanos: 0, lostNanos: 0 })
    expect(quotaOf(pool)).toMatchObject({ inFlight: 0, requestsToday: 1 })
    expect(quotaOf(pool).tpm?.window.total).toBe(10)
  })

  it('are corrected by a settlement that is the first word of their request', () => {
    const pool = poolOf({ rpm: 100, rpd: 100, tpm: 1_000, budgets: [budgetOf({ usd: 10 })] })
    const lease = first(pool, { tokens: 50 })
    pool.wait(3_000)
    pool.wake()
    give(pool, lease, { ...termsOf(lease, 2_000), usage: usageOf(6, 4, 0.000001) })
    expect(moneyOf(pool)).toEqual({ spentNanos: 1_000, reservedNanos: 0, lostNanos: 0 })
    expect(quotaOf(pool)).toMatchObject({ inFlight: 0, requestsToday: 1 })
    expect(quotaOf(pool).rpm?.window.total).toBe(1)
    expect(quotaOf(pool).tpm?.window.total).toBe(10)
  })
})

describe('a request that goes without for what leases ahead hold', () => {
  it('is told to ask again; they are called back, and none is held until they have had time to come', () => {
    const pool = poolOf({ maxConcurrent: 10 })
    const held = ordered(pool)
    for (let i = 0; i < 5; i++) pool.grant({ client: 'app' })
    expect(pool.refusal({ client: 'app' })).toMatchObject({ cause: 'client', heldAhead: true })
    expect([...pool.state.clients.calledBack.keys()]).toEqual([APP])
    for (const lease of held) give(pool, lease, unused)
    for (let i = 0; i < 5; i++) {
      give(pool, pool.grant({ client: 'app' }) as LeaseAhead & { kind: 'grant' })
      expect(ordered(pool)).toHaveLength(0)
    }
    for (let i = 0; i < 5; i++) pool.grant({ client: 'app' })
    // What holds the limit now are requests.
    expect(pool.refusal({ client: 'app' }).heldAhead).toBeUndefined()
  })

  it('for those of another client of its group, which are called back', () => {
    const pool = poolOf({}, { budgets: [budgetOf({ usd: 0.1 })] })
    expect(ordered(pool)).toHaveLength(5)
    for (let i = 0; i < 5; i++) pool.grant({ client: 'other', costNanos: CENT })
    expect(pool.refusal({ client: 'other', costNanos: CENT })).toMatchObject({ heldAhead: true })
    expect([...pool.state.clients.calledBack.keys()]).toEqual([APP])
  })

  it('is refused for good if it alone is over a limit, or another client holds them', () => {
    const pool = poolOf({ tpm: 1_000, rpm: 2 })
    expect(ordered(pool)).toHaveLength(1)
    expect(pool.refusal({ client: 'app', tokens: 1_001 }).heldAhead).toBeUndefined()
    expect(pool.state.clients.calledBack.size).toBe(0)
  })
})

describe('leases ahead are called back', () => {
  const NOW = 1_000_000
  const CALL_MS = 2_000
  const charge = { clientId: APP, groupId: null, requests: 1, tokens: 0, chargedAtMs: NOW } as const
  const held = { kind: 'reserved', charge: { ...charge, holds: [] } } as const
  const refusalOf = (more: object): QuotaRefusal =>
    ({
      ...{ kind: 'rate', owner: 'client:app', limit: 'rpm', max: 1, remaining: 0 },
      ...{ resetsAtMs: NOW + 9_000, ...more },
    }) as QuotaRefusal

  /** A client of which leases are held ahead until ten seconds from now. */
  function clientsOf() {
    const state = createClients({ clients: [clientOf({ id: 'app', rpm: 5 })], groups: [] }, NOW)
    noteAhead(state, held.charge, NOW + 10_000)
    const call = (refusal: QuotaRefusal, leases: readonly object[] = [held], nowMs = NOW) =>
      callBack(state, leases as readonly Lease[], refusal, nowMs)
    return { state, call, holds: (nowMs: number) => mayHoldAhead(state, APP, nowMs) }
  }

  it.each<[string, object, boolean]>([
    ['a rate', {}, true],
    ['requests at once', { limit: 'max_concurrent', resetsAtMs: null }, true],
    ['a budget', { kind: 'budget', period: 'day' }, true],
    ['a budget that never ends', { kind: 'budget', period: 'total', resetsAtMs: null }, true],
    ['a request that alone is above a limit', { limit: 'tpm', resetsAtMs: null }, false],
    ['a request without a bound', { kind: 'unpriceable' }, false],
    ['a client that is none any more', { kind: 'revoked' }, false],
    ['a client that nobody knows', { owner: 'client:x' }, false],
  ])('for %s: %s', (_, refusal, isCalled) => {
    const { state, call } = clientsOf()
    expect(call(refusalOf(refusal))).toBe(isCalled)
    expect(calledBack(state, NOW)).toEqual(isCalled ? [APP] : [])
  })

  it('for two seconds, in which none is held anew', () => {
    const { state, call, holds } = clientsOf()
    expect(holds(NOW)).toBe(true)
    call(refusalOf({}))
    expect([holds(NOW + CALL_MS - 1), holds(NOW + CALL_MS)]).toEqual([false, true])
    expect(calledBack(state, NOW + CALL_MS - 1)).toEqual([APP])
    expect(calledBack(state, NOW + CALL_MS)).toEqual([])
    expect(state.calledBack.size).toBe(0)
  })

  it('if there are any: not after the last has ended, nor those of others, nor what runs', () => {
    const { call, state } = clientsOf()
    expect(call(refusalOf({}), [held], NOW + 10_000)).toBe(false)
    const others = { ...held, charge: { ...held.charge, clientId: clientId('other') } }
    expect(
      call(refusalOf({}), [
        { ...held, kind: 'running' },
        { ...held, charge: null },
      ]),
    ).toBe(false)
    expect(state.byId.get(APP)?.quota.aheadUntilMs).toBe(0)
    // Nobody looks again until one is held anew.
    expect(call(refusalOf({}))).toBe(false)
    noteAhead(state, held.charge, NOW + 10_000)
    expect(call(refusalOf({}), [others])).toBe(false)
    noteAhead(state, held.charge, NOW + 10_000)
    expect(call(refusalOf({}), [others, held])).toBe(true)
  })

  it.each([
    ['held', [1, 1]],
    ['given_up', [2, 2]],
  ] as const)('or begun: one that is %s counts as of then, once', (standing, counted) => {
    const { state } = clientsOf()
    const quota = state.byId.get(APP)?.quota
    if (quota === undefined) throw new Error('no quota')
    takeRates(quota, held.charge, NOW)
    const at = NOW + 1_000
    const now = chargeForRequest(state, { charge: held.charge, standing }, { tokens: 7 }, at)
    expect(now).toMatchObject({ tokens: 7, chargedAtMs: at })
    const { requestsInMinute, requestsToday } = quotaView(quota, at)
    expect([requestsInMinute, requestsToday]).toEqual(counted)
  })
})
