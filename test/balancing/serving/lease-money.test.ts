import { describe, expect, it } from 'vitest'
import { type Budget, nanosOf, usdOf } from '../../../src/balancing/clients/budget.ts'
import { clientId, groupId, isolateId, modelId } from '../../../src/balancing/ids.ts'
import type { Grant } from '../../../src/balancing/lease-request.ts'
import { renewBudgets } from '../../../src/balancing/serving/client-charges.ts'
import { renewSpends } from '../../../src/balancing/serving/key-charges.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { type PoolDriver, type Setup, usageOf } from '../pool-driver.ts'
import { type StoredPool, storedPool } from '../records/stored-pool.ts'

/** A client, its group and a key, each with ten dollars a day, and a request that holds one of each. */
const KEYS = [{ id: 'a', maxSpend: { usd: 10, period: 'day', mode: 'exact' } }] as const
const BUDGETS = [budgetOf({ usd: 10 })]
const SETUP: Setup = {
  clients: [{ id: 'client', group: 'team', budgets: BUDGETS, rpm: 100 }],
  groups: [{ id: 'team', budgets: BUDGETS }],
}
const BOUND = { boundUsd: 1, lease: 'isolate:1' } as const

const COST: Partial<Settlement> = { usage: usageOf(5, 5, 0.25) }
const UNUSED: Partial<Settlement> = { outcome: 'ignorable', unused: true }
const FAILED: Partial<Settlement> = { outcome: 'failure', fault: 'upstream' }
const LEFT: Partial<Settlement> = { outcome: 'ignorable', fault: 'nobody' }

const quotaIn = ({ state }: PoolDriver) => state.clients.byId.get(clientId('client'))?.quota

/** What is spent, reserved and lost: the same of the client, of its group and of the key. */
function money(pool: PoolDriver) {
  const team = pool.state.clients.groups.get(groupId('team'))?.quota.budgets[0]
  const all: (Budget | null | undefined)[] = [quotaIn(pool)?.budgets[0], team, pool.key('a').spend]
  const amounts = all.map((budget) => {
    const { spentNanos = -1e9, reservedNanos = -1e9, lostNanos = -1e9 } = budget ?? {}
    return [spentNanos, reservedNanos, lostNanos].map(usdOf)
  })
  expect(amounts[1]).toEqual(amounts[0])
  expect(amounts[2]).toEqual(amounts[0])
  return amounts[0]
}

/** Requests of the minute, and how many run: as many of the client as of the key. */
function minute(pool: PoolDriver) {
  const { rpm, inFlight } = quotaIn(pool) ?? {}
  expect(pool.key('a').inFlight).toBe(inFlight)
  return [rpm?.window.total, inFlight]
}

const ISOLATE = isolateId('isolate')

function ahead(pool: PoolDriver): Grant {
  const [lease] = hold(
    { state: pool.state, nowMs: pool.now(), random: () => 0.5 },
    {
      ...{ isolate: ISOLATE, firstNumber: 1, idPrefix: '', account: null, count: 1, tokens: 0 },
      ...{ asked: modelId('vendor/model'), models: [modelId('vendor/model')] },
      ...{ clientId: clientId('client'), costNanos: nanosOf(1) },
    },
  )
  if (lease === undefined) throw new Error('nothing was held')
  return { ...lease, kind: 'grant' }
}

const termsOf = ({ model, grantedAtMs = 0, held }: Grant) => ({
  ...{ clientId: clientId('client'), model, grantedAtMs, tokens: 0 },
  ...(held === undefined ? {} : { held }),
})

function told(pool: PoolDriver, lease: Grant, boundUsd = 1): void {
  const { leaseId, keyId } = lease
  const request = { leaseId, keyId, isolate: ISOLATE, leaseMs: 600_000, conversation: null }
  const step = { state: pool.state, nowMs: pool.now(), random: () => 0.5 }
  begin(step, { ...termsOf(lease), ...request, costNanos: nanosOf(boundUsd) })
}

function expired(pool: PoolDriver): void {
  pool.wait(10_000)
  pool.wake()
}

const settled =
  (settlement: Partial<Settlement>) =>
  (pool: PoolDriver, lease: Grant): void =>
    pool.give(lease, { ...settlement, lease: termsOf(lease) })

type Ends = (pool: PoolDriver, lease: Grant) => void

const inTurn =
  (...steps: Ends[]): Ends =>
  (pool, lease) => {
    for (const step of steps) step(pool, lease)
  }

type Case = readonly [string, Ends, number[], [requests: number, inFlight: number]]

describe('a running lease', () => {
  it.each<Case>([
    ['that runs', () => undefined, [0, 1, 0], [1, 1]],
    ['that has told its cost', settled(COST), [0.25, 0, 0], [1, 0]],
    ['that has not', settled({}), [1, 0, 0], [1, 0]],
    ['whose client left', settled(LEFT), [1, 0, 0], [1, 0]],
    ['that failed', settled(FAILED), [0, 0, 0], [1, 0]],
    ['that no call was made with', settled(UNUSED), [0, 0, 0], [0, 0]],
    ['that ended without a word', expired, [0, 0, 1], [1, 0]],
    ['and told its cost later', inTurn(expired, settled(COST)), [0.25, 0, 0], [1, 0]],
    ['and was not used, as it told later', inTurn(expired, settled(UNUSED)), [0, 0, 0], [1, 0]],
    ['and told it twice', inTurn(expired, settled(COST), settled(COST)), [0.25, 0, 0], [1, 0]],
    ['and goes on', inTurn(expired, (pool, lease) => told(pool, lease)), [0, 1, 0], [1, 1]],
  ])('%s', (_, ends, amounts, limits) => {
    const pool = storedPool(KEYS, SETUP)
    const lease = pool.grant({ ...BOUND, leaseMs: 5_000 })
    ends(pool, lease)
    expect(money(pool)).toEqual(amounts)
    expect(minute(pool)).toEqual(limits)
  })
})

describe('a lease ahead', () => {
  const begun: Ends = (pool, lease) => told(pool, lease, 0.5)

  it.each<Case>([
    ['that waits for its request', () => undefined, [0, 1, 0], [1, 1]],
    ['that has got it', begun, [0, 0.5, 0], [1, 1]],
    ['that comes back', settled(UNUSED), [0, 0, 0], [0, 0]],
    ['that tells its cost first', settled(COST), [0.25, 0, 0], [1, 0]],
    ['of which nobody speaks', expired, [0, 0, 1], [0, 0]],
    ['and then does', inTurn(expired, begun), [0, 0.5, 0], [1, 1]],
    ['and tells its cost first', inTurn(expired, settled(COST)), [0.25, 0, 0], [1, 0]],
    ['and comes back', inTurn(expired, settled(UNUSED)), [0, 0, 0], [0, 0]],
  ])('%s', (_, ends, amounts, limits) => {
    const pool = storedPool(KEYS, SETUP)
    ends(pool, ahead(pool))
    expect(money(pool)).toEqual(amounts)
    expect(minute(pool)).toEqual(limits)
  })
})

/** A pool that began anew, of whose lease only the rows of the budgets know. */
function crashed() {
  const pool = storedPool(KEYS, SETUP)
  pool.writeCheckpoint()
  pool.wait(1)
  const lease = pool.grant(BOUND)
  pool.write()
  const next = pool.restart()
  return { next, lease }
}

describe('a lease that a crash has forgotten', () => {
  // The rows are written ahead: they hold a dollar more than the lease.
  const bare: Ends = (pool, { leaseId, keyId }) => pool.give({ leaseId, keyId } as Grant, COST)
  const untold: Ends = (pool, lease) => {
    const { held: _, ...terms } = termsOf(lease)
    pool.give(lease, { ...COST, lease: terms })
  }

  it.each<Case>([
    ['of which nobody has spoken', () => undefined, [0, 0, 2], [0, 0]],
    ['that tells its cost', settled(COST), [0.25, 0, 1], [0, 0]],
    ['that tells that it was not used', settled(UNUSED), [0, 0, 1], [0, 0]],
    ['that goes on', (pool, lease) => told(pool, lease), [0, 1, 1], [1, 1]],
    [
      'that goes on and tells its cost',
      inTurn((pool, lease) => told(pool, lease), settled(COST)),
      [0.25, 0, 1],
      [1, 0],
    ],
    ['whose Worker does not tell what it held', untold, [0.25, 0, 2], [0, 0]],
  ])('%s', (_, ends, amounts, limits) => {
    const { next, lease } = crashed()
    ends(next, lease)
    expect(money(next)).toEqual(amounts)
    expect(minute(next)).toEqual(limits)
  })

  it('costs its key alone, if nobody tells whose it was', () => {
    const { next, lease } = crashed()
    bare(next, lease)
    expect(quotaIn(next)?.budgets[0]?.spentNanos).toBe(0)
    expect(next.key('a').spend?.spentNanos).toBe(nanosOf(0.25))
  })

  it.each([
    ['had its settlement before that', 1, 0],
    ['and of the same moment has it now', 0, 0.25],
  ])('and that was granted before the checkpoint %s', (_, agoMs, spentUsd) => {
    const { next, lease } = crashed()
    const grantedAtMs = next.state.restoredAtMs - agoMs
    next.give(lease, { ...COST, lease: { ...termsOf(lease), grantedAtMs } })
    expect(quotaIn(next)?.budgets[0]?.spentNanos).toBe(nanosOf(spentUsd))
  })
})

describe('a lease that began before its client had limits', () => {
  it('is charged to those that it has when it ends', () => {
    const pool = storedPool(KEYS, {
      ...SETUP,
      clients: [{ id: 'client', group: 'team' }],
      groups: [{ id: 'team' }],
    })
    const lease = pool.grant(BOUND)
    pool.writeCheckpoint()
    pool.write()
    const next = pool.restart(KEYS, SETUP)
    next.give(lease, COST)
    expect(quotaIn(next)?.budgets[0]).toMatchObject({ spentNanos: nanosOf(0.25), lostNanos: 0 })
  })
})

describe('rows of budgets', () => {
  const rows = ({ state }: StoredPool) => {
    const { budgets, spends } = state.changes
    const names = [...budgets, ...spends].toSorted()
    budgets.clear()
    spends.clear()
    return names
  }
  const ALL = ['a', 'client:client', 'group:team']
  const renewed = ({ state, now }: StoredPool) => [
    renewBudgets(state, now()),
    renewSpends(state, now()),
  ]

  it('are written when the first request reserves, and when what they say is used up', () => {
    const pool = storedPool(KEYS, SETUP)
    const lease = pool.grant(BOUND)
    expect(rows(pool)).toEqual(ALL)
    pool.grant({ boundUsd: 1 })
    expect(rows(pool)).toEqual([])
    pool.grant({ boundUsd: 1 })
    expect(rows(pool)).toEqual(ALL)
    pool.give(lease, { usage: usageOf(5, 5, 5) })
    expect(rows(pool)).toEqual(ALL)
  })

  it('are written when a lease of a day that has ended is lost, and when it goes on', () => {
    const pool = storedPool(KEYS, SETUP)
    const lease = pool.grant({ ...BOUND, leaseMs: 13 * 3_600_000 })
    rows(pool)
    pool.wait(13 * 3_600_000)
    pool.wake()
    expect(rows(pool)).toEqual(ALL)
    told(pool, lease)
    expect(money(pool)).toEqual([0, 1, 0])
  })

  it('are written when a lease goes on that was lost on the day before', () => {
    const pool = storedPool(KEYS, SETUP)
    const leaseMs = 12 * 3_600_000 - 1_000
    const lease = pool.grant({ ...BOUND, leaseMs })
    pool.wait(leaseMs)
    pool.wake()
    rows(pool)
    pool.wait(2_000)
    told(pool, lease)
    expect(money(pool)).toEqual([0, 1, 0])
    expect(rows(pool)).toEqual(ALL)
  })

  it('of a request that a crash has forgotten are written when it goes on', () => {
    const { next, lease } = crashed()
    const taken = next as StoredPool
    for (let i = 0; i < 2; i++) next.grant({ boundUsd: 1, lease: `other:${i}` })
    rows(taken)
    next.wait(24 * 3_600_000)
    told(next, lease)
    expect(rows(taken)).toEqual(ALL)
  })

  it('are renewed at a checkpoint until they say what is committed, and then left alone', () => {
    const pool = storedPool(KEYS, SETUP)
    expect(renewed(pool)).toEqual([false, false])
    pool.give(pool.grant(BOUND), COST)
    rows(pool)
    // What they say is a surplus for a client that goes on.
    expect(renewed(pool)).toEqual([true, true])
    expect(rows(pool)).toEqual([])
    expect(renewed(pool)).toEqual([false, false])
    expect(rows(pool)).toEqual(ALL)
    expect(renewed(pool)).toEqual([false, false])
    expect(rows(pool)).toEqual([])
  })

  it('of one that has a surplus are renewed although others have none', () => {
    const pool = storedPool([...KEYS, { id: 'b', maxSpend: { usd: 1, period: 'day' } }], {
      clients: [
        { id: 'client', budgets: BUDGETS },
        { id: 'other', budgets: BUDGETS },
      ],
    })
    pool.give(pool.grantOf('a', BOUND), COST)
    expect(renewed(pool)).toEqual([true, true])
  })
})
