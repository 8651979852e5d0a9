import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { keyId, type LeaseId } from '../../src/balancing/ids.ts'
import type { Decision, Grant, LeaseRequest } from '../../src/balancing/lease-request.ts'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import {
  ask,
  benching,
  deployed,
  give,
  grantOf,
  keyOf,
  keyReportOf,
  leaseRequestOf,
  NOTHING,
  newPool,
  pass,
} from './object-driver.ts'

// The clock is fake: the queue wakes by a timer, and an eviction waits for the checkpoint's timer.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

type Pool = DurableObjectStub<KeyPool>

/** Makes a lease request that only gamma can serve. */
const ONLY_GAMMA = { triedKeys: ['alpha', 'beta'].map(keyId) }
const MAX_CONCURRENT = 50

/** Takes all leases that gamma can give. */
async function fill(pool: Pool, leaseMs = 600_000): Promise<Grant[]> {
  const wants = Array.from({ length: MAX_CONCURRENT }, () =>
    leaseRequestOf({ ...ONLY_GAMMA, leaseMs }),
  )
  const { decisions } = await pool.exchange({ ...NOTHING, wants })
  return decisions.map(grantIn)
}

function grantIn(decision: Decision | null | undefined): Grant {
  if (decision?.kind !== 'grant') throw new Error(`Not granted: ${JSON.stringify(decision)}`)
  return decision
}

/** Takes a place in the queue. */
async function line(pool: Pool, want: Partial<LeaseRequest> = {}): Promise<LeaseId> {
  const decision = await ask(pool, { ...ONLY_GAMMA, waitMs: 10_000, ...want })
  if (decision.kind !== 'waiting') throw new Error(`Not waiting: ${JSON.stringify(decision)}`)
  return decision.leaseId
}

/** A call of `whenDecided` that has reached the object and that the object holds. */
async function held(pool: Pool, id: LeaseId) {
  let told: Decision | null | 'nothing' = 'nothing'
  const answer = pool.whenDecided(id).then(({ decision }) => {
    told = decision
    return decision
  })
  // Calls reach the object in order. When this one is answered, the call above has arrived.
  await pool.snapshot()
  return { answer, told: () => told }
}

const benchFor = (until: number): BenchOrder => ({
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs: Date.now() + until },
})

describe('who waits is told at once', () => {
  it('when a lease is given back', async () => {
    const pool = newPool()
    const [first] = await fill(pool)
    const id = await line(pool)
    const call = await held(pool, id)
    expect(call.told()).toBe('nothing')
    await give(pool, grantIn(first))
    expect(await call.answer).toMatchObject({ kind: 'grant', leaseId: id, keyId: 'gamma' })
    const gamma = (await pool.snapshot()).keys.find(({ id: name }) => name === 'gamma')
    expect(gamma?.inFlight).toBe(MAX_CONCURRENT)
  })

  it('when a lease expires, and not before', async () => {
    const pool = newPool()
    await fill(pool, 700)
    const call = await held(pool, await line(pool))
    await pass(pool, 699)
    expect(call.told()).toBe('nothing')
    await pass(pool, 1)
    expect(await call.answer).toMatchObject({ kind: 'grant', keyId: 'gamma' })
  })

  it('when a bench ends, and not before', async () => {
    const pool = newPool()
    await give(pool, await grantOf(pool, 'gamma'), benching(benchFor(600)))
    const call = await held(pool, await line(pool))
    await pass(pool, 599)
    expect(call.told()).toBe('nothing')
    await pass(pool, 1)
    expect(await call.answer).toMatchObject({ kind: 'grant', keyId: 'gamma' })
  })

  it('when a lookup shows that a key is not spent any more', async () => {
    const pool = newPool()
    const spent: BenchOrder = {
      scope: 'key',
      reason: 'key_spent',
      term: { kind: 'lookup', lapseMs: null },
    }
    await give(pool, await grantOf(pool, 'beta'), benching(spent))
    await fill(pool)
    const call = await held(pool, await line(pool, { triedKeys: [keyId('alpha')] }))
    const lookups = [keyReportOf('beta', { limitUsd: 5, remainingUsd: 4, askedAtMs: Date.now() })]
    await pool.exchange({ ...NOTHING, lookups })
    expect(await call.answer).toMatchObject({ kind: 'grant', keyId: 'beta' })
  })
})

describe('who waits', () => {
  it('is told every second that there is nothing new, and shows so that it is still there', async () => {
    const pool = newPool()
    await fill(pool)
    const id = await line(pool)
    for (let second = 0; second < 9; second++) {
      const call = await held(pool, id)
      await pass(pool, 999)
      expect(call.told()).toBe('nothing')
      await pass(pool, 1)
      expect(await call.answer).toEqual({ kind: 'waiting', leaseId: id })
    }
    expect((await pool.snapshot()).waiting).toBe(1)
  })

  it('is served in the order in which it came', async () => {
    const pool = newPool()
    const leases = await fill(pool)
    const ids = [await line(pool), await line(pool), await line(pool)]
    // The order of the held calls must not matter.
    const calls = new Map<LeaseId, Awaited<ReturnType<typeof held>>>()
    for (const id of ids.toReversed()) calls.set(id, await held(pool, id))
    for (const id of ids) {
      const waiting = [...calls].filter(([other]) => other !== id)
      await give(pool, grantIn(leases.shift()))
      expect(await calls.get(id)?.answer).toMatchObject({ kind: 'grant', leaseId: id })
      calls.delete(id)
      expect(waiting.every(([, call]) => call.told() === 'nothing')).toBe(true)
    }
  })

  it('is served before those who come later, even if a key is free in that moment', async () => {
    const pool = newPool()
    const [first] = await fill(pool)
    const id = await line(pool)
    const { leaseId: given, keyId: key } = grantIn(first)
    const settlement = { outcome: 'success', benches: [], suspect: false } as const
    const { decisions } = await pool.exchange({
      ...NOTHING,
      wants: [leaseRequestOf({ ...ONLY_GAMMA, waitMs: 10_000 })],
      settlements: [{ leaseId: given, keyId: key, ...settlement }],
    })
    expect(decisions).toMatchObject([{ kind: 'waiting' }])
    expect((await pool.whenDecided(id)).decision).toMatchObject({ kind: 'grant', leaseId: id })
  })

  it('is refused when its time is over, with what stood in its way', async () => {
    const pool = newPool()
    await fill(pool)
    const id = await line(pool, { waitMs: 800 })
    const call = await held(pool, id)
    await pass(pool, 799)
    expect(call.told()).toBe('nothing')
    await pass(pool, 1)
    const refusal = await call.answer
    expect(refusal).toMatchObject({
      kind: 'refusal',
      cause: 'no_key',
      reasons: { already_tried: 2, at_max_concurrent: 1 },
    })
    expect(refusal?.kind === 'refusal' && (refusal.retryAtMs ?? 0) >= Date.now()).toBe(true)
    expect((await pool.snapshot()).waiting).toBe(0)
  })

  it('and gives up its place leaves it to the next', async () => {
    const pool = newPool()
    const [first] = await fill(pool)
    const [gone, next] = [await line(pool), await line(pool)]
    const settlement = { outcome: 'ignorable', benches: [], suspect: false } as const
    const settlements = [{ leaseId: gone, keyId: keyId(''), ...settlement }]
    await pool.exchange({ ...NOTHING, settlements })
    expect((await pool.snapshot()).waiting).toBe(1)
    await give(pool, grantIn(first))
    expect((await pool.whenDecided(next)).decision).toMatchObject({ kind: 'grant' })
    expect((await pool.whenDecided(gone)).decision).toMatchObject({ cause: 'ended' })
  })

  it('and is not heard of for five seconds has lost its place', async () => {
    const pool = newPool()
    const [first] = await fill(pool)
    await line(pool)
    await pass(pool, 4_000)
    const next = await line(pool)
    await pass(pool, 1_001)
    await give(pool, grantIn(first))
    expect((await pool.whenDecided(next)).decision).toMatchObject({ kind: 'grant' })
    expect((await pool.snapshot()).waiting).toBe(0)
  })

  it('and does not come for its lease within five seconds has lost that', async () => {
    const pool = newPool()
    const [first] = await fill(pool)
    const [silent, next] = [await line(pool), await line(pool)]
    await give(pool, grantIn(first))
    for (let second = 0; second < 4; second++) {
      const call = await held(pool, next)
      await pass(pool, 1_000)
      expect(await call.answer).toMatchObject({ kind: 'waiting' })
    }
    const call = await held(pool, next)
    await pass(pool, 1_000)
    expect(await call.answer).toMatchObject({ kind: 'grant', leaseId: next })
    expect((await pool.whenDecided(silent)).decision).toMatchObject({ cause: 'ended' })
  })

  it('is one of a number that the policy bounds; who comes then is refused at once', async () => {
    const keys = [{ ...keyOf('only'), max_concurrent: 1 }]
    const policy = { queue: { max_waiting: 2 } }
    const kinds = await deployed(newPool(), { keys, policy }, (object) =>
      Array.from({ length: 5 }, () => {
        const wants = [leaseRequestOf({ waitMs: 10_000 })]
        return object.exchange({ ...NOTHING, wants }).decisions[0]
      }),
    )
    expect(kinds.map((decision) => decision?.kind)).toEqual([
      'grant',
      'waiting',
      'waiting',
      'refusal',
      'refusal',
    ])
    expect(kinds[4]).toMatchObject({ reasons: { at_max_concurrent: 1 } })
  })

  it('waits no longer than the policy allows, however long it would', async () => {
    const keys = [{ ...keyOf('only'), max_concurrent: 1 }]
    const policy = { queue: { max_wait_ms: 3_000 } }
    const kinds = await deployed(newPool(), { keys, policy }, async (object) => {
      const wants = [leaseRequestOf(), leaseRequestOf({ waitMs: 60_000 })]
      const [, waiting] = object.exchange({ ...NOTHING, wants }).decisions
      if (waiting?.kind !== 'waiting') throw new Error('Not waiting')
      vi.advanceTimersByTime(2_500)
      const told: unknown[] = []
      const call = object.whenDecided(waiting.leaseId).then(({ decision }) => {
        told.push(decision?.kind)
      })
      vi.advanceTimersByTime(499)
      await Promise.resolve()
      told.push('not yet')
      vi.advanceTimersByTime(1)
      await call
      return told
    })
    expect(kinds).toEqual(['not yet', 'refusal'])
  })
})

describe('two held calls for one request', () => {
  it('are both told when it is decided', async () => {
    const pool = newPool()
    const [first] = await fill(pool)
    const id = await line(pool)
    const call = await held(pool, id)
    await pass(pool, 500)
    const again = await held(pool, id)
    // The first call ends after its second. The other one stays held, and is still told at once.
    await pass(pool, 500)
    expect(await call.answer).toMatchObject({ kind: 'waiting' })
    await give(pool, grantIn(first))
    await pool.snapshot()
    expect(again.told()).toMatchObject({ kind: 'grant', leaseId: id })
  })

  it('end each in its own time', async () => {
    const pool = newPool()
    await fill(pool)
    const id = await line(pool)
    const call = await held(pool, id)
    await pass(pool, 400)
    const again = await held(pool, id)
    await pass(pool, 600)
    expect(await call.answer).toMatchObject({ kind: 'waiting' })
    await pass(pool, 399)
    expect(again.told()).toBe('nothing')
    await pass(pool, 1)
    expect(await again.answer).toMatchObject({ kind: 'waiting' })
  })
})

it('a waiter that is past its deadline, and that nobody asks for, wakes the object no more', async () => {
  const pool = newPool()
  await fill(pool)
  await line(pool, { waitMs: 500 })
  const wakes = await runInDurableObject(pool, () => {
    const untilMs = Date.now() + 4_500
    let count = 0
    while (vi.getTimerCount() > 0 && Date.now() < untilMs) {
      vi.advanceTimersToNextTimer()
      count += 1
    }
    return count
  })
  // One for the deadline, and one for the checkpoint.
  expect(wakes).toBeLessThanOrEqual(2)
})

describe('who asks the object that came after the one it waited with', () => {
  it('is not known there after a rest, and lines up again', async () => {
    let pool = newPool()
    const [first] = await fill(pool)
    const id = await line(pool)
    await pass(pool, 5_000)
    await evictDurableObject(pool)
    pool = env.KEY_POOL.get(pool.id)
    expect(await pool.whenDecided(id)).toEqual({ version: 1, decision: null })
    await ask(pool, { ...ONLY_GAMMA, waitMs: 10_000, leaseId: id })
    const call = await held(pool, id)
    await give(pool, grantIn(first))
    expect(await call.answer).toMatchObject({ kind: 'grant', leaseId: id })
  })

  it('hears that the connection broke when the object is torn down while it is held', async () => {
    let pool = newPool()
    await fill(pool)
    const id = await line(pool)
    const call = await held(pool, id)
    const broken = expect(call.answer).rejects.toThrow()
    await abortAllDurableObjects()
    await broken
    pool = env.KEY_POOL.get(pool.id)
    expect(await pool.whenDecided(id)).toEqual({ version: 1, decision: null })
    expect((await pool.snapshot()).waiting).toBe(0)
  })
})

it('a queue that is empty leaves no timer behind', async () => {
  const pool = newPool()
  const [first] = await fill(pool)
  const id = await line(pool)
  await give(pool, grantIn(first))
  expect((await pool.whenDecided(id)).decision).toMatchObject({ kind: 'grant' })
  // The checkpoint's timer is the only one. After it has fired there is none.
  await pass(pool, 5_000)
  expect(vi.getTimerCount()).toBe(0)
})
