import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createLedger } from '../../src/balancing/accounting/ledger.ts'
import { clientId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { SteeringOrder } from '../../src/balancing/operators/steering.ts'
import type { BenchOrder, BenchScope } from '../../src/balancing/settlement.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { createStore } from '../../src/key-pool/rows/record-store.ts'
import { createSqlRows } from '../../src/key-pool/rows/sql-rows.ts'
import { ask, benching, failing, give, grantOf, lasting, newPool } from './object-driver.ts'

/** The two ways in which an object's memory ends. */
const ENDS = {
  eviction: evictDurableObject,
  crash: abortAllDurableObjects,
} satisfies Record<string, (pool: DurableObjectStub<KeyPool>) => Promise<void>>

// The clock is fake, since an eviction would wait for the checkpoint's timer.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** Ends the object and returns a new stub. The old stub stays broken after a crash. */
async function afterEnd(
  pool: DurableObjectStub<KeyPool>,
  end: keyof typeof ENDS,
): Promise<DurableObjectStub<KeyPool>> {
  await ENDS[end](pool)
  return env.KEY_POOL.get(pool.id)
}

/** Fires the checkpoint, which is due five seconds after the last change. */
async function checkpoint(pool: DurableObjectStub<KeyPool>): Promise<void> {
  await runInDurableObject(pool, () => void vi.advanceTimersByTime(5_000))
}

const order = (scope: BenchScope, term: BenchOrder['term']): BenchOrder => ({
  scope,
  reason: scope === 'key' ? 'key_spent' : 'account_rate_limited',
  term,
})

describe.each(['eviction', 'crash'] as const)('after %s', (end) => {
  it('a pause holds, and a reset is not undone by what began before it', async () => {
    let pool = newPool()
    const control = async (kind: SteeringOrder['kind'], id: string) =>
      await pool.control({ order: { kind, keyId: keyId(id) }, by: 'ADMIN_TOKEN' })
    const old = await grantOf(pool, 'alpha')
    await checkpoint(pool)
    for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
    vi.advanceTimersByTime(1)
    expect(await control('reset', 'alpha')).toMatchObject({ key: { breaker: 'closed' } })
    await control('drain', 'alpha')
    await control('pause', 'beta')
    pool = await afterEnd(pool, end)
    const reasons = async () => (await pool.snapshot()).keys.map(({ reason }) => reason)
    // The lease is in the checkpoint, so the key is still draining.
    expect(await reasons()).toEqual(['draining', 'paused', null])
    for (let i = 0; i < 4; i++) expect(await ask(pool)).toMatchObject({ keyId: 'gamma' })
    const terms = { clientId: clientId('tester'), model: modelId('vendor/model'), tokens: 0 }
    const lease = { ...terms, grantedAtMs: old.grantedAtMs ?? 0 }
    const bench = benching(order('key', { kind: 'lookup', lapseMs: null }))
    await give(pool, old, { ...bench, lease })
    expect(await reasons()).toEqual(['paused', 'paused', null])
    for (const id of ['alpha', 'beta']) await control('resume', id)
    expect(await reasons()).toEqual([null, null, null])
    expect((await pool.audit()).map(({ what }) => what)).toEqual([
      ...['resume', 'resume', 'pause', 'drain', 'reset'],
    ])
  })

  it('breakers and benches are as they were, at whatever step it came', async () => {
    const inAnHour = { kind: 'until', untilMs: Date.now() + 3_600_000 } as const
    const steps: ((pool: DurableObjectStub<KeyPool>) => Promise<void>)[] = [
      async (pool) => give(pool, await grantOf(pool, 'alpha'), failing()),
      async (pool) => give(pool, await grantOf(pool, 'alpha'), failing()),
      async (pool) => give(pool, await grantOf(pool, 'beta'), failing()),
      async (pool) => give(pool, await grantOf(pool, 'alpha'), failing()),
      async (pool) =>
        give(pool, await grantOf(pool, 'gamma'), benching(order('account', inAnHour))),
      async (pool) =>
        give(
          pool,
          await grantOf(pool, 'beta'),
          benching(order('key', { kind: 'lookup', lapseMs: null })),
        ),
    ]
    let pool = newPool()
    for (const step of steps) {
      await step(pool)
      const before = lasting(await pool.snapshot())
      pool = await afterEnd(pool, end)
      expect(lasting(await pool.snapshot())).toEqual(before)
    }
    expect(lasting(await pool.snapshot())).toMatchObject({
      keys: [
        { id: 'alpha', breaker: 'open' },
        { id: 'beta', reason: 'key_spent', clearsAtMs: null },
        { id: 'gamma', reason: 'account_rate_limited', clearsAtMs: inAnHour.untilMs },
      ],
    })
  })

  it('a window of failures that was half full goes on filling', async () => {
    let pool = newPool()
    await give(pool, await grantOf(pool, 'alpha'), failing())
    await give(pool, await grantOf(pool, 'alpha'), failing())
    pool = await afterEnd(pool, end)
    await give(pool, await grantOf(pool, 'alpha'), failing())
    expect((await pool.snapshot()).keys[0]).toMatchObject({ id: 'alpha', breaker: 'open' })
  })

  it.each([
    ['the free models of an account', 'account_free', 'vendor/model:free', 'vendor/model'],
    ['one model of an account', 'account_model', 'vendor/model', 'vendor/other'],
  ] as const)('%s stay benched, and only they', async (_, scope, benched, other) => {
    let pool = newPool()
    const triedKeys = [(await grantOf(pool, 'alpha')).keyId, (await grantOf(pool, 'beta')).keyId]
    const about = (model: string) => ask(pool, { triedKeys, models: [modelId(model)] })
    const grant = await about(benched)
    if (grant.kind !== 'grant') throw new Error('Refused')
    const inAnHour = { kind: 'until', untilMs: Date.now() + 3_600_000 } as const
    await give(pool, grant, benching(order(scope, inAnHour)))
    pool = await afterEnd(pool, end)
    expect(await about(benched)).toMatchObject({ reasons: { account_rate_limited: 1 } })
    expect(await about(other)).toMatchObject({ kind: 'grant', keyId: 'gamma' })
  })

  it('models benched everywhere are still known, beside those benched since', async () => {
    let pool = newPool()
    const inFourMinutes = { kind: 'until', untilMs: Date.now() + 240_000 } as const
    for (const model of ['routed/first', 'routed/second']) {
      const grant = await ask(pool, { models: [modelId(model)] })
      if (grant.kind !== 'grant') throw new Error('Refused')
      await give(pool, grant, benching(order('model', inFourMinutes)))
      pool = await afterEnd(pool, end)
    }
    const [row] = await runInDurableObject(pool, (_, { storage }) =>
      storage.sql
        .exec<{ record: string }>("SELECT record FROM records WHERE kind = 'models'")
        .toArray(),
    )
    expect(JSON.parse(row?.record ?? 'null')).toMatchObject([
      ['routed/first', { untilMs: inFourMinutes.untilMs }],
      ['routed/second', { untilMs: inFourMinutes.untilMs }],
    ])
  })

  it('a probe that was under way is made again', async () => {
    let pool = newPool()
    for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
    vi.setSystemTime(Date.now() + 60_000)
    const probe = await grantOf(pool, 'alpha')
    expect(await ask(pool, { triedKeys: await others(pool) })).toMatchObject({
      reasons: { half_open_busy: 1 },
    })
    pool = await afterEnd(pool, end)
    const again = await grantOf(pool, 'alpha')
    await give(pool, probe)
    expect((await pool.snapshot()).keys[0]?.breaker).toBe('half_open')
    await give(pool, again)
    expect((await pool.snapshot()).keys[0]?.breaker).toBe('closed')
  })

  it('what was counted, whose turn it is and what is still running are as at the last checkpoint', async () => {
    let pool = newPool()
    const running = await grantOf(pool, 'beta')
    await give(pool, await grantOf(pool, 'alpha'))
    await checkpoint(pool)
    const before = await pool.snapshot()
    await give(pool, await grantOf(pool, 'gamma'))
    pool = await afterEnd(pool, end)
    expect((await pool.snapshot()).keys).toEqual(before.keys)
    expect(before.keys.map(({ inFlight }) => inFlight)).toEqual([0, 1, 0])
    // The checkpoint does not know of gamma's turn, so gamma's last turn is the oldest.
    expect(await ask(pool)).toMatchObject({ keyId: 'gamma' })
    await give(pool, running)
    expect((await pool.snapshot()).keys[1]).toMatchObject({ inFlight: 0, total: { successes: 1 } })
  })

  it('leases that were given back after the last checkpoint do not hold their keys for long', async () => {
    let pool = newPool()
    const grants = await Promise.all(Array.from({ length: 150 }, () => ask(pool)))
    await checkpoint(pool)
    for (const grant of grants) if (grant.kind === 'grant') await give(pool, grant)
    pool = await afterEnd(pool, end)
    expect(await ask(pool)).toMatchObject({ reasons: { at_max_concurrent: 3 } })
    vi.setSystemTime(Date.now() + 10_000)
    expect((await ask(pool)).kind).toBe('grant')
    expect((await pool.snapshot()).keys.reduce((sum, { inFlight }) => sum + inFlight, 0)).toBe(1)
  })

  it('a stream that ran on while nothing else happened holds its key until its deadline', async () => {
    let pool = newPool()
    await grantOf(pool, 'beta')
    await checkpoint(pool)
    pool = await afterEnd(pool, end)
    vi.setSystemTime(Date.now() + 599_000 - 5_000)
    expect((await pool.snapshot()).keys[1]).toMatchObject({ id: 'beta', inFlight: 1 })
    vi.setSystemTime(Date.now() + 1_000)
    expect((await pool.snapshot()).keys[1]).toMatchObject({ id: 'beta', inFlight: 0 })
  })

  it('a settlement that comes late counts, and takes no capacity below nothing', async () => {
    let pool = newPool()
    const grant = await grantOf(pool, 'alpha')
    pool = await afterEnd(pool, end)
    await give(pool, grant, failing())
    await give(pool, grant, failing())
    expect((await pool.snapshot()).keys[0]).toMatchObject({ inFlight: 0, total: { failures: 1 } })
  })
})

async function others(pool: DurableObjectStub<KeyPool>) {
  return [(await grantOf(pool, 'beta')).keyId, (await grantOf(pool, 'gamma')).keyId]
}

it('a checkpoint that is too large for a row comes back whole, and leaves no row when it shrinks', async () => {
  const pool = newPool()
  await runInDurableObject(pool, (_, { storage }) => {
    const store = createStore(createSqlRows(storage))
    const times = { grantedAtMs: 0, chargedAtMs: 0, expiresAtMs: 1 }
    const lease = {
      keyId: keyId('alpha'),
      clientId: clientId('c'),
      isolate: null,
      charge: null,
      keyHold: null,
      ...times,
    }
    const leases = Array.from({ length: 20_000 }, (_, i) => ({
      ...lease,
      kind: 'running' as const,
      id: leaseId(`a-lease-with-a-name-of-usual-length-${i}`),
      // Each character takes three bytes.
      model: modelId('世界'.repeat(20)),
      tokens: 0,
      unclaimedMs: null,
      isBatch: false,
      panic: false,
      epoch: 0,
      attempt: 'first' as const,
    }))
    const { all, requests } = createLedger()
    const empty = {
      gaps: [],
      keys: [],
      routes: [],
      byKey: [],
      byClient: [],
      byGroup: [],
      times: [],
      minute: null,
      cache: null,
    }
    const means = { meanCostUsd: 0, meanTokenUsd: 0 }
    const counters = { turns: 77, retryTokens: 1, ...means, savedAtMs: 5, all, requests, ...empty }
    const large = {
      counters,
      byModel: [],
      leases,
      meters: [],
      quotas: [],
      generations: [],
      reconciliations: [],
    }
    const loaded = () => createStore(createSqlRows(storage)).load().checkpoint
    const rows = () =>
      storage.sql.exec("SELECT id FROM records WHERE kind = 'checkpoint'").toArray()
    store.saveCheckpoint(large)
    expect({ quotas: [], ...loaded() }).toEqual(large)
    expect(rows().length).toBeGreaterThan(3)
    const small = { ...large, leases: leases.slice(0, 2) }
    store.saveCheckpoint(small)
    expect({ quotas: [], ...loaded() }).toEqual(small)
    expect(rows()).toHaveLength(3)
    // A new store knows the pieces that an earlier store has written.
    store.saveCheckpoint(large)
    const next = createStore(createSqlRows(storage))
    next.load()
    next.saveCheckpoint(small)
    expect({ quotas: [], ...loaded() }).toEqual(small)
  })
})

it('a checkpoint has parts in one row, and a part that an earlier release wrote since is newer', async () => {
  await runInDurableObject(newPool(), (_, { storage }) => {
    const store = createStore(createSqlRows(storage))
    const { all } = createLedger()
    const lists = { keys: [], routes: [], byKey: [], byClient: [] }
    const means = { meanCostUsd: 0, meanTokenUsd: 0 }
    const counters = { turns: 7, retryTokens: 1, ...means, savedAtMs: 5, all, ...lists }
    const parts = { leases: [], quotas: [], reconciliations: [] }
    const generation = { keyId: keyId('alpha'), clientId: clientId('tester'), atMs: 1_000 }
    const generations = [['gen-new', generation]] as const
    const meter = { id: keyId('alpha'), rpm: [{ slot: 1, amount: 2 }], tpm: [] }
    store.saveCheckpoint({ counters, byModel: [], meters: [meter], generations, ...parts })
    const old = JSON.stringify([['gen-old', generation]])
    storage.sql.exec('INSERT INTO records VALUES (?, ?, ?)', 'checkpoint', 'generations', old)
    const next = createStore(createSqlRows(storage))
    const { checkpoint } = next.load()
    expect(checkpoint.generations?.map(([id]) => id)).toEqual(['gen-old'])
    expect(checkpoint.meters).toEqual([meter])
    next.saveCheckpoint({ counters, byModel: [], meters: [], generations, ...parts })
    const last = createStore(createSqlRows(storage)).load().checkpoint
    expect(last.generations?.map(([id]) => id)).toEqual(['gen-new'])
  })
})

describe('what is read back', () => {
  const store = (pool: DurableObjectStub<KeyPool>, kind: string, id: string, record: string) =>
    runInDurableObject(pool, (_, { storage }) => {
      storage.sql.exec('INSERT OR REPLACE INTO records VALUES (?, ?, ?)', kind, id, record)
    })

  it('may be broken or of another release in one record, and costs that record only', async () => {
    let pool = newPool()
    for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
    await store(pool, 'key', 'beta', '{"breaker": 7}')
    await store(pool, 'account', 'globex', 'no json')
    await store(pool, 'checkpoint', 'counters', '{"turns": "many"}')
    await store(pool, 'someday', 'x', '{}')
    pool = await afterEnd(pool, 'eviction')
    expect((await pool.snapshot()).keys.map(({ reason }) => reason)).toEqual([
      'breaker_open',
      null,
      null,
    ])
  })

  it('may hold fields that a later release added, before it was rolled back', async () => {
    let pool = newPool()
    const breaker = { kind: 'open', untilMs: Date.now() + 60_000, cooldownMs: 60_000, probes: 2 }
    const record = { breaker, bench: null, strikes: 0, struckAtMs: 0, latencyMs: 12 }
    await store(pool, 'key', 'beta', JSON.stringify(record))
    pool = await afterEnd(pool, 'eviction')
    expect((await pool.snapshot()).keys[1]).toMatchObject({ id: 'beta', reason: 'breaker_open' })
  })

  it('of a key that is no longer configured is passed over', async () => {
    let pool = newPool()
    await store(
      pool,
      'key',
      'gone',
      '{"breaker":{"kind":"open","untilMs":9e15,"cooldownMs":1},"bench":null,"strikes":0,"struckAtMs":0}',
    )
    pool = await afterEnd(pool, 'eviction')
    expect((await pool.snapshot()).keys.map(({ id }) => id)).toEqual(['alpha', 'beta', 'gamma'])
  })
})
