import { describe, expect, it } from 'vitest'
import { clientId, isolateId, keyId, modelId } from '../../../src/balancing/ids.ts'
import { steer } from '../../../src/balancing/operators/steering.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { checkpoint } from '../../../src/balancing/records/checkpoint.ts'
import { takeLookupDuties } from '../../../src/balancing/serving/duty-hand-out.ts'
import { hold } from '../../../src/balancing/serving/leases-ahead.ts'
import { outOfUse } from '../../../src/balancing/serving/out-of-use.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { snapshot, usableKeys } from '../../../src/balancing/snapshot.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'
import { restarted } from '../restarted-pool.ts'
import { seededRandom } from '../seeded-random.ts'
import { order } from './operator-order.ts'

const keyOf = (pool: PoolDriver, id: string) => {
  const key = snapshot(pool.state, pool.now()).keys.find((key) => key.id === id)
  if (key === undefined) throw new Error(`no key ${id}`)
  return key
}

const SPENT: BenchOrder = {
  scope: 'key',
  reason: 'key_spent',
  term: { kind: 'lookup', lapseMs: null },
}
const REJECTED: BenchOrder = { ...SPENT, reason: 'key_rejected' }
const EMPTY: BenchOrder = { ...SPENT, scope: 'account', reason: 'account_out_of_credit' }
const LIMITED: BenchOrder = {
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'backoff', baseMs: 1_000, maxMs: 60_000 },
}

describe('a key that is paused', () => {
  it('gets no new lease, lets running ones end, and serves again when it is resumed', () => {
    const pool = drivePool(['a', 'b'], { strategy: 'round-robin' })
    const running = pool.grantOf('a')
    order(pool, 'pause', 'a')
    const served = Array.from({ length: 6 }, () => pool.grant().keyId)
    expect(new Set(served)).toEqual(new Set(['b']))
    pool.give(running)
    expect(pool.key('a').inFlight).toBe(0)
    expect(keyOf(pool, 'a')).toMatchObject({
      reason: 'paused',
      clearsAtMs: null,
      breaker: 'closed',
    })
    order(pool, 'resume', 'a')
    expect(keyOf(pool, 'a')).toMatchObject({ reason: null, halt: null })
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it.each(['least-busy', 'priority', 'weighted', 'lowest-latency'] as const)(
    'is passed over by %s, also with a conversation at home there, a full key beside it and a free model',
    (strategy) => {
      const pool = drivePool([{ id: 'a', maxConcurrent: 9 }, 'b'], { strategy })
      pool.give(pool.grantOf('a', { affinity: 'talk' }))
      for (let i = 0; i < 9; i++) pool.grantOf('a')
      order(pool, 'pause', 'a')
      for (const model of ['vendor/model', 'vendor/model:free']) {
        expect(pool.grant({ affinity: 'talk', model }).keyId).toBe('b')
      }
    },
  )

  it('counts as what it is: not usable, no cause of panic, out of use by name', () => {
    const pool = drivePool(['a', 'b', 'c'], { panicRatio: 0.5 })
    order(pool, 'pause', 'a')
    order(pool, 'drain', 'b')
    expect(usableKeys(pool.state, pool.now())).toBe(1)
    expect(snapshot(pool.state, pool.now())).toMatchObject({ usable: 1, panic: false })
    expect([...outOfUse(pool.state, pool.now()).values()]).toMatchObject([
      { what: 'key', id: 'a', reason: 'paused', untilMs: null },
      { what: 'key', id: 'b', reason: 'paused' },
    ])
    // All that is left is broken: that is panic, and even then the paused ones are not used.
    pool.trip('c')
    expect(pool.grant().keyId).toBe('c')
    expect(snapshot(pool.state, pool.now()).panic).toBe(true)
  })

  it('is out for every reason that it has, the operator’s first', () => {
    const pool = drivePool(['a', 'b'])
    pool.shrug(pool.grantOf('a'), SPENT)
    order(pool, 'pause', 'a')
    expect(keyOf(pool, 'a').reasons).toEqual(['paused', 'key_spent'])
    expect(pool.refusal({ tried: ['b'] }).reasons).toEqual({ paused: 1, already_tried: 1 })
  })

  it('lets nobody wait for it alone, and a newcomer is refused without a time to come again', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    const running = pool.grant()
    const { leaseId } = pool.waiting()
    const later = pool.waiting({ client: 'another' })
    order(pool, 'pause', 'a')
    for (const id of [leaseId, later.leaseId]) {
      expect(pool.inquire(id)).toMatchObject({
        kind: 'refusal',
        reasons: { paused: 1 },
        retryAtMs: null,
      })
    }
    expect(pool.state.queue.size).toBe(0)
    expect(pool.refusal({ waitMs: 10_000 })).toMatchObject({ cause: 'no_key', retryAtMs: null })
    pool.give(running)
    expect(pool.refusal({ waitMs: 10_000 }).reasons).toEqual({ paused: 1 })
  })

  it('leaves those in the queue who wait for another key, and they get it', () => {
    const full = { maxConcurrent: 1 } as const
    const pool = drivePool([
      { id: 'a', ...full },
      { id: 'b', ...full },
    ])
    const [ofA, ofB] = [pool.grantOf('a'), pool.grantOf('b')]
    const { leaseId } = pool.waiting()
    order(pool, 'pause', 'a')
    pool.give(ofA)
    expect(pool.inquire(leaseId)).toMatchObject({ kind: 'waiting' })
    pool.give(ofB)
    expect(pool.inquire(leaseId)).toMatchObject({ kind: 'grant', keyId: 'b' })
  })

  it('serves who waits at once when it is resumed', () => {
    const pool = drivePool(['a', { id: 'b', maxConcurrent: 1 }])
    pool.grantOf('b')
    order(pool, 'pause', 'a')
    const { leaseId } = pool.waiting()
    order(pool, 'resume', 'a')
    expect(pool.inquire(leaseId)).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('gives no leases ahead, and every reply names it while it is halted', () => {
    const pool = drivePool(['a', 'b'])
    order(pool, 'drain', 'a')
    expect([...pool.state.halted]).toEqual(['a'])
    const ahead = {
      ...{ isolate: isolateId('i'), idPrefix: 'x', firstNumber: 1, count: 4, tokens: 0 },
      ...{ asked: modelId('m/x'), models: [modelId('m/x')] as const, account: null },
    }
    const step = { state: pool.state, nowMs: pool.now(), random: seededRandom(1) }
    expect(new Set(hold(step, ahead).map(({ keyId: id }) => id))).toEqual(new Set(['b']))
    order(pool, 'resume', 'a')
    expect(pool.state.halted.size).toBe(0)
  })
})

describe('a key that is drained', () => {
  it('is draining until its last lease has ended, then paused', () => {
    const pool = drivePool(['a', 'b'])
    const [first, last] = [pool.grantOf('a'), pool.grantOf('a')]
    order(pool, 'drain', 'a')
    expect(pool.refusal({ tried: ['b'] }).reasons).toMatchObject({ draining: 1 })
    pool.give(first)
    expect(keyOf(pool, 'a').reason).toBe('draining')
    pool.fail(last)
    expect(keyOf(pool, 'a').reason).toBe('paused')
    expect(pool.refusal({ tried: ['b'] }).reasons).toMatchObject({ paused: 1 })
  })

  it('has drained too when its last lease expires', () => {
    const pool = drivePool(['a'])
    pool.grant({ leaseMs: 5_000 })
    order(pool, 'drain', 'a')
    pool.wait(5_000)
    pool.wake()
    expect(keyOf(pool, 'a').reason).toBe('paused')
  })
})

describe('a pause', () => {
  it('is stored in the step, and survives a restart', () => {
    const pool = drivePool(['a', 'b'])
    takeChanges(pool.state)
    order(pool, 'pause', 'a')
    expect(takeChanges(pool.state).keys.map(({ id }) => id)).toEqual(['a'])
    const next = restarted(pool, [{ id: 'a' }, { id: 'b' }])
    expect(keyOf(next, 'a')).toMatchObject({ reason: 'paused', halt: pool.key('a').halt })
    expect([...next.state.halted]).toEqual(['a'])
  })

  it('survives another configuration and another secret, of which all else is forgotten', () => {
    const pool = drivePool(['a', 'b'])
    pool.trip('a')
    order(pool, 'pause', 'a')
    const next = restarted(pool, [{ id: 'a', fingerprint: 'new', weight: 3 }, { id: 'b' }])
    expect(keyOf(next, 'a').reasons).toEqual(['paused'])
    order(next, 'resume', 'a')
    expect(next.grantOf('a').keyId).toBe('a')
  })

  it('of a key that is taken out of the configuration waits for it to come back', () => {
    const pool = drivePool(['a', 'b'])
    order(pool, 'drain', 'a')
    const without = restarted(pool, [{ id: 'b' }])
    expect(without.state.halted.size).toBe(0)
    // The row stays: see forgotten-rows.test.ts.
    expect(keyOf(restarted(pool, [{ id: 'a' }, { id: 'b' }]), 'a').reason).toBe('paused')
  })
})

describe('a reset', () => {
  it('forgets what the key was judged for, and has it looked up', () => {
    const pool = drivePool(['a', 'b'])
    pool.trip('a')
    const benches = [LIMITED, SPENT, REJECTED]
    const leases = benches.map(() => pool.grantOf('b'))
    for (const [i, lease] of leases.entries()) pool.shrug(lease, benches[i] as BenchOrder)
    pool.wait(1_000)
    for (const id of ['a', 'b']) {
      order(pool, 'reset', id)
      expect(keyOf(pool, id)).toMatchObject({ reason: null, breaker: 'closed' })
      expect(pool.grantOf(id).keyId).toBe(id)
    }
    expect(pool.key('b').strikes).toBe(0)
    const duties = takeLookupDuties(pool.state, pool.now())
    expect(duties.map(({ keyId: id }) => id)).toEqual(expect.arrayContaining(['a', 'b']))
  })

  it('forgets what the account is out for too, whose bench no lookup may end', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
    ])
    pool.shrug(pool.grantOf('a'), EMPTY)
    expect(pool.ask()).toMatchObject({ kind: 'refusal' })
    pool.wait(1)
    order(pool, 'reset', 'b')
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it('leaves a pause as it is', () => {
    const pool = drivePool(['a', 'b'])
    order(pool, 'pause', 'a')
    order(pool, 'reset', 'a')
    expect(keyOf(pool, 'a').reason).toBe('paused')
  })

  it('serves who waits at once', () => {
    const pool = drivePool(['a'])
    const term = { kind: 'until', untilMs: pool.now() + 5_000 } as const
    pool.shrug(pool.grant(), { scope: 'key', reason: 'account_rate_limited', term })
    const { leaseId } = pool.waiting()
    order(pool, 'reset', 'a')
    expect(pool.inquire(leaseId)).toMatchObject({ kind: 'grant' })
  })

  const VERDICTS: readonly (readonly [string, (pool: PoolDriver, lease: never) => void])[] = [
    ['a failure', (pool, lease) => pool.fail(lease)],
    ['a bench of the key', (pool, lease) => pool.shrug(lease, LIMITED)],
    ['a rejection', (pool, lease) => pool.give(lease, rejected)],
    ['a spent key', (pool, lease) => pool.shrug(lease, SPENT)],
    ['an account without credit', (pool, lease) => pool.shrug(lease, EMPTY)],
    ['a size', (pool, lease) => pool.give(lease, tooLarge)],
  ]
  const rejected = {
    outcome: 'failure',
    fault: 'key',
    suspect: true,
    benches: [REJECTED],
  } as const
  const tooLarge = {
    outcome: 'ignorable',
    fault: 'key',
    tooLargeFor: 'key',
    affordableTokens: 1,
    lease: {
      ...{ clientId: clientId('client'), model: modelId('vendor/model') },
      ...{ grantedAtMs: 0, tokens: 0, size: 1 },
    },
  } as const

  it.each(VERDICTS)('is not undone by %s of a request that began before', (_, settle) => {
    const pool = drivePool(['a'], { breaker: { ...ONE_FAILURE } })
    const old = pool.grant({ size: 10 })
    pool.wait(1)
    order(pool, 'reset', 'a')
    const resetAtMs = pool.now()
    pool.wait(1)
    settle(pool, old as never)
    expect(keyOf(pool, 'a')).toMatchObject({ reason: null, inFlight: 0, affordableTokens: null })
    expect(pool.key('a').lookup.doubtedAtMs).toBe(resetAtMs)
    // It is booked, like any other.
    expect(keyOf(pool, 'a').total.attempts).toBe(1)
    const young = pool.grant({ size: 10 })
    settle(pool, young as never)
    expect(pool.ask({ size: 10 })).toMatchObject({ kind: 'refusal' })
  })

  it('is not undone by what a sister of the account had begun', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
    ])
    const old = pool.grantOf('b')
    pool.wait(1)
    order(pool, 'reset', 'a')
    pool.shrug(old, EMPTY)
    expect(pool.grantOf('a').keyId).toBe('a')
    // What that request says of its own key counts: nobody has reset that.
    const another = pool.grantOf('b')
    order(pool, 'reset', 'a')
    pool.shrug(another, SPENT)
    expect(keyOf(pool, 'b').reason).toBe('key_spent')
  })

  it('holds after a crash that lost the checkpoint with it, for leases that are known and forgotten', () => {
    const pool = drivePool(['a'], { breaker: ONE_FAILURE })
    const [known, forgotten] = [pool.grant(), pool.grant()]
    const stored = checkpoint(pool.state, pool.now())
    pool.wait(1)
    order(pool, 'reset', 'a')
    const leases = stored.leases.filter(({ id }) => id === known.leaseId)
    const next = restarted(pool, [{ id: 'a' }], { breaker: ONE_FAILURE }, { ...stored, leases })
    next.fail(known)
    const grantedAtMs = pool.now() - 1
    const lease = { clientId: clientId('client'), model: forgotten.model, grantedAtMs, tokens: 0 }
    next.give(forgotten, { outcome: 'failure', fault: 'upstream', lease })
    expect(keyOf(next, 'a').breaker).toBe('closed')
    next.fail(next.grant({ lease: 'young' }))
    expect(keyOf(next, 'a').breaker).toBe('open')
  })

  it('of a half-open key leaves its probe without a word', () => {
    const pool = drivePool(['a'], { breaker: ONE_FAILURE })
    pool.fail(pool.grant())
    pool.wait(60_000)
    const probe = pool.grant()
    order(pool, 'reset', 'a')
    pool.fail(probe)
    expect(keyOf(pool, 'a').breaker).toBe('closed')
  })
})

const ONE_FAILURE = { failures: 1, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 }

it('an order to a key that is not there is none', () => {
  const pool = drivePool(['a'])
  const step = { state: pool.state, nowMs: pool.now(), random: seededRandom(1) }
  expect(steer(step, { kind: 'pause', keyId: keyId('x') })).toBeNull()
})
