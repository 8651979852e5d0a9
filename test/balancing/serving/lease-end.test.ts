import { describe, expect, it } from 'vitest'
import {
  clientId,
  groupId,
  isolateId,
  keyId,
  leaseId,
  modelId,
} from '../../../src/balancing/ids.ts'
import { hold } from '../../../src/balancing/serving/leases-ahead.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { drivePool, type KeySpec, type PoolDriver, type Setup, usageOf } from '../pool-driver.ts'
import { storedPool } from '../records/stored-pool.ts'

const COST: Partial<Settlement> = { usage: usageOf(5, 5, 0.25), generationId: 'gen-1' }
const TEAM: Setup = {
  clients: [{ id: 'client', group: 'team', rpm: 10 }],
  groups: [{ id: 'team' }, { id: 'other' }],
}
const IN_OTHER: Setup = { ...TEAM, clients: [{ id: 'client', group: 'other', rpm: 10 }] }

function heldAhead(pool: PoolDriver) {
  const [lease] = hold(
    { state: pool.state, nowMs: pool.now(), random: () => 0.5 },
    {
      ...{ isolate: isolateId('other'), firstNumber: 1, idPrefix: '', account: null },
      ...{ asked: modelId('vendor/model'), models: [modelId('vendor/model')] },
      ...{ count: 1, tokens: 0 },
    },
  )
  if (lease === undefined) throw new Error('nothing was held')
  return { ...lease, kind: 'grant' } as const
}

const totals = ({ state }: PoolDriver, of: keyof Setup & ('clients' | 'groups')) => {
  const tallies = of === 'clients' ? state.ledger.byClient : state.ledger.byGroup
  return [...tallies].map(([id, { total }]) => [id, total.costUsd])
}

describe('an attempt is booked', () => {
  it('for the group that its client was in when it began', () => {
    const pool = storedPool(['a'], TEAM)
    const lease = pool.grant()
    pool.writeCheckpoint()
    const next = pool.restart(['a'], IN_OTHER)
    next.give(lease, COST)
    expect(totals(next, 'groups')).toEqual([['team', 0.25]])
  })

  it('of a lease that is forgotten, for that which its Worker tells, or else for that of today', () => {
    const terms = {
      clientId: clientId('client'),
      model: modelId('m'),
      grantedAtMs: 1e15,
      tokens: 0,
    }
    const holds = [{ owner: 'client:client', period: 'day', nanos: 0 }] as const
    for (const [held, group] of [
      [{ held: { groupId: groupId('team'), holds } }, 'team'],
      [{ held: { groupId: null, holds } }, null],
      [{}, 'other'],
    ] as const) {
      const pool = drivePool(['a'], IN_OTHER)
      const lease = { ...pool.grant(), leaseId: leaseId('forgotten') }
      pool.give(lease, { ...COST, lease: { ...terms, ...held } })
      expect(totals(pool, 'groups')).toEqual(group === null ? [] : [[group, 0.25]])
    }
  })

  it('for nobody, if nobody says whose it was, but for its key', () => {
    const pool = drivePool(['a'])
    pool.give({ ...pool.grant(), leaseId: leaseId('forgotten') }, COST)
    expect(totals(pool, 'clients')).toEqual([])
    expect(pool.state.generations.young.size).toBe(0)
    expect(pool.key('a').tally.total.costUsd).toBe(0.25)
    expect(pool.state.ledger.all.total.attempts).toBe(1)
  })

  it('not at all, if its key is gone too', () => {
    const pool = drivePool(['a'])
    pool.give({ ...pool.grant(), keyId: keyId('gone'), leaseId: leaseId('forgotten') }, COST)
    expect(pool.state.ledger.all.total.attempts).toBe(0)
  })

  it.each([
    ['not again, if it was granted before the checkpoint that does not hold it', -1, 0],
    ['once, if it was granted at that moment', 0, 1],
  ])('%s', (_, ms, attempts) => {
    const pool = storedPool(['a'])
    pool.writeCheckpoint()
    const next = pool.restart()
    const lease = { ...pool.grant(), leaseId: leaseId('forgotten') }
    const grantedAtMs = next.state.restoredAtMs + ms
    const terms = { clientId: clientId('client'), model: modelId('m'), grantedAtMs, tokens: 0 }
    next.give(lease, { ...COST, lease: terms })
    expect(next.state.ledger.all.total.attempts).toBe(attempts)
  })

  it('with its generation, its minute, its day and its times', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { ...COST, firstOutputMs: 100, tookMs: 500 })
    pool.wait(24 * 3_600_000)
    pool.give(pool.grant(), { ...COST, generationId: 'gen-2', firstOutputMs: 100 })
    const { state } = pool
    expect([...state.generations.young.keys(), ...state.generations.old.keys()]).toContain('gen-2')
    expect(state.minutes.running?.keys.get(keyId('a'))).toMatchObject({
      attempts: 1,
      costUsd: 0.25,
    })
    expect(state.days.ended[0]?.key.get('a')).toMatchObject({ attempts: 1, costUsd: 0.25 })
    expect(pool.key('a').times).toMatchObject({
      firstOutput: { sumMs: 200 },
      answer: { sumMs: 500 },
    })
  })
})

describe('capacity comes back', () => {
  const SMALL: readonly KeySpec[] = [{ id: 'a', maxConcurrent: 2 }]

  it('when a lease ahead is given back that somebody waits for', () => {
    const pool = drivePool(SMALL)
    const ahead = heldAhead(pool)
    pool.grant()
    const waiter = pool.waiting()
    pool.give(ahead, { outcome: 'ignorable', unused: true })
    expect(pool.inquire(waiter.leaseId)).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('when it is given up', () => {
    const pool = drivePool(SMALL)
    heldAhead(pool)
    pool.grant()
    const waiter = pool.waiting()
    pool.wait(3_000)
    expect(pool.inquire(waiter.leaseId)).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('once, when a lease that was given up comes back', () => {
    const pool = drivePool(SMALL)
    const ahead = heldAhead(pool)
    pool.wait(3_000)
    pool.wake()
    pool.give(ahead, { outcome: 'ignorable', unused: true })
    expect(pool.key('a').inFlight).toBe(0)
  })

  it('once, when a lease is settled whose time was over, and nobody has looked', () => {
    const pool = drivePool(SMALL)
    const lease = pool.grant({ leaseMs: 1_000 })
    pool.wait(5_000)
    pool.give(lease)
    expect(pool.key('a')).toMatchObject({ inFlight: 0, meanHoldMs: null })
  })

  it('of a key that is gone to nobody', () => {
    const pool = storedPool(['a', 'b'], TEAM)
    pool.grantOf('a', { leaseMs: 1_000 })
    pool.writeCheckpoint()
    const next = pool.restart(['b'])
    next.wait(1_000)
    next.wake()
    expect(next.state.clients.byId.get(clientId('client'))?.quota.inFlight).toBe(0)
    expect(next.key('b').inFlight).toBe(0)
  })
})

it('a waiter that gives up has no place any more, and gets no lease', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], TEAM)
  const running = pool.grant()
  const waiter = pool.waiting()
  pool.give({ ...running, leaseId: waiter.leaseId }, { outcome: 'ignorable', unused: true })
  expect(pool.state.queue.size).toBe(0)
  // What it had taken of its client's limits is free with that.
  expect(pool.state.clients.byId.get(clientId('client'))?.quota.inFlight).toBe(1)
  pool.give(running)
  expect(pool.inquire(waiter.leaseId)).toMatchObject({ kind: 'refusal', cause: 'ended' })
  expect(pool.key('a').inFlight).toBe(0)
})

it('what an attempt says of an account is looked at with each of its keys', () => {
  const pool = drivePool(['a', 'b'].map((id) => ({ id, account: 'acme' })))
  const lease = pool.grantOf('a', { size: 400 })
  expect(pool.grantOf('b').keyId).toBe('b')
  const terms = { clientId: clientId('client'), model: modelId('vendor/model'), tokens: 0 }
  const told = { lease: { ...terms, grantedAtMs: pool.now(), size: 400 } }
  pool.give(lease, { outcome: 'ignorable', fault: 'account', tooLargeFor: 'account', ...told })
  expect(pool.refusal({ size: 400 }).reasons).toEqual({ too_large_for_account: 2 })
})

it('what a late word adds to a minute is found by the next request', () => {
  const pool = drivePool([{ id: 'a', tpm: 100 }, 'b'])
  const lease = pool.grantOf('a', { tokens: 10, leaseMs: 1_000 })
  pool.wait(1_000)
  pool.wake()
  pool.grantOf('b')
  pool.give(lease, { usage: usageOf(40, 40, 0) })
  expect(pool.refusal({ tried: ['b'], tokens: 40 }).reasons).toMatchObject({ at_tpm: 1 })
})
