import { runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { keyId, leaseId } from '../../src/balancing/ids.ts'
import { ask, failing, give, grantOf, newPool, wantOf } from './driver.ts'

afterEach(() => void vi.useRealTimers())

it('leases a key and takes it back', async () => {
  const pool = newPool()
  const grant = await grantOf(pool, 'gamma')
  expect(grant).toMatchObject({ kind: 'grant', keyId: 'gamma', accountId: 'globex' })
  expect((await pool.snapshot()).keys.find(({ id }) => id === 'gamma')?.inFlight).toBe(1)
  await give(pool, grant)
  expect((await pool.snapshot()).keys.every(({ inFlight }) => inFlight === 0)).toBe(true)
})

it('says why no key may serve', async () => {
  const triedKeys = ['alpha', 'beta', 'gamma'].map(keyId)
  expect(await ask(newPool(), { triedKeys })).toMatchObject({
    kind: 'refusal',
    cause: 'no_key',
    reasons: { already_tried: 3 },
  })
})

it('counts a settlement that is sent twice once', async () => {
  const pool = newPool()
  const grant = await grantOf(pool, 'alpha')
  const usage = {
    promptTokens: 10,
    completionTokens: 5,
    cachedTokens: 0,
    reasoningTokens: 0,
    costUsd: 0.25,
    estimated: false,
  }
  for (let i = 0; i < 3; i++) await give(pool, grant, { usage })
  const alpha = (await pool.snapshot()).keys.find(({ id }) => id === 'alpha')
  expect(alpha).toMatchObject({ inFlight: 0, total: { attempts: 1, costUsd: 0.25 } })
})

it('grants one lease for a want that is asked twice, and none for one that is over', async () => {
  const pool = newPool()
  const want = wantOf()
  const request = { version: 1, wants: [want], settlements: [], lookups: [] } as const
  const [first] = (await pool.exchange(request)).decisions
  const [second] = (await pool.exchange(request)).decisions
  expect(second).toEqual(first)
  if (first?.kind !== 'grant') throw new Error('Refused')
  await give(pool, first)
  expect((await pool.exchange(request)).decisions[0]).toMatchObject({ cause: 'ended' })
})

it('takes a lease back by itself when its time is over', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const pool = newPool()
  await ask(pool, { leaseMs: 5_000 })
  const inFlight = async () =>
    (await pool.snapshot()).keys.reduce((sum, key) => sum + key.inFlight, 0)
  vi.setSystemTime(Date.now() + 4_999)
  expect(await inFlight()).toBe(1)
  vi.setSystemTime(Date.now() + 1)
  expect(await inFlight()).toBe(0)
})

it('never has more leases out than a key allows, however many ask at once', async () => {
  const pool = newPool()
  const decisions = await Promise.all(Array.from({ length: 200 }, () => ask(pool)))
  const grants = decisions.filter(({ kind }) => kind === 'grant')
  expect(grants).toHaveLength(150)
  const { keys } = await pool.snapshot()
  expect(keys.map(({ inFlight }) => inFlight)).toEqual([50, 50, 50])
  const refusal = decisions.find(({ kind }) => kind === 'refusal')
  expect(refusal).toMatchObject({ reasons: { at_max_concurrent: 3 } })
})

it('hands the lookup of a suspected key to one asker', async () => {
  const pool = newPool()
  const grants = [await grantOf(pool, 'alpha'), await grantOf(pool, 'alpha')]
  const settlements = grants.map(({ leaseId, keyId }) => ({
    ...{ leaseId, keyId, outcome: 'failure' as const, fault: 'key' as const, suspect: true },
    benches: [
      { scope: 'key', reason: 'key_rejected', term: { kind: 'for', forMs: 60_000 } } as const,
    ],
  }))
  const exchange = (settlement?: (typeof settlements)[number]) =>
    pool.exchange({
      version: 1,
      wants: [],
      settlements: settlement === undefined ? [] : [settlement],
      lookups: [],
    })
  const duties = [
    await exchange(settlements[0]),
    await exchange(settlements[1]),
    await exchange(),
  ].flatMap(({ lookups }) => lookups)
  expect(duties).toEqual(['alpha'])
  const found = { keyId: keyId('alpha'), kind: 'rejected' } as const
  await pool.exchange({ version: 1, wants: [], settlements: [], lookups: [found] })
  const alpha = (await pool.snapshot()).keys.find(({ id }) => id === 'alpha')
  expect(alpha).toMatchObject({ reason: 'key_rejected', clearsAtMs: null })
})

it('understands a request with fields that it does not know', async () => {
  const future = { ...wantOf(), estimateTokens: 5 }
  const request = { version: 1, wants: [future], settlements: [], lookups: [], hints: [1] } as const
  expect((await newPool().exchange(request)).decisions[0]?.kind).toBe('grant')
})

it('a settlement of a lease that nobody knows is harmless', async () => {
  const pool = newPool()
  const stranger = { leaseId: leaseId('stranger'), keyId: keyId('nobody') }
  await give(pool, {
    kind: 'grant',
    ...stranger,
    accountId: (await grantOf(pool, 'beta')).accountId,
  })
  expect((await pool.snapshot()).usable).toBe(3)
})

describe('what it writes', () => {
  it('is nothing per request: only transitions, and a checkpoint every five seconds', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] })
    const pool = newPool()
    const rows = () =>
      runInDurableObject(pool, (_, { storage }) =>
        storage.sql.exec('SELECT kind, id FROM records ORDER BY kind, id').toArray(),
      )
    for (let i = 0; i < 50; i++) await give(pool, await grantOf(pool, 'alpha'))
    expect(await rows()).toEqual([])
    await give(pool, await grantOf(pool, 'alpha'), failing())
    expect(await rows()).toEqual([{ kind: 'key', id: 'alpha' }])
    await runInDurableObject(pool, () => void vi.advanceTimersByTime(5_000))
    const checkpoint = ['byModel', 'counters', 'leases'].map((id) => ({ kind: 'checkpoint', id }))
    expect(await rows()).toEqual([...checkpoint, { kind: 'key', id: 'alpha' }])
  })

  it('is dropped when a key is well again, so that what is kept does not grow', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const pool = newPool()
    const rows = () =>
      runInDurableObject(pool, (_, { storage }) =>
        storage.sql.exec('SELECT id FROM records').toArray(),
      )
    for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
    expect(await rows()).toEqual([{ id: 'alpha' }])
    vi.setSystemTime(Date.now() + 60_000)
    await give(pool, await grantOf(pool, 'alpha'))
    expect(await rows()).toEqual([])
  })

  it('and what it shows hold no key and no token', async () => {
    const pool = newPool()
    await give(pool, await grantOf(pool, 'alpha'), failing())
    await give(pool, await grantOf(pool, 'beta'), {
      ...failing({
        scope: 'account',
        reason: 'account_out_of_credit',
        term: { kind: 'lookup', lapseMs: null },
      }),
    })
    const stored = await runInDurableObject(pool, (_, { storage }) =>
      storage.sql.exec('SELECT * FROM records').toArray(),
    )
    const shown = JSON.stringify([stored, await pool.snapshot()])
    expect(shown).toContain('alpha')
    expect(shown).not.toMatch(/sk-or-|sy-test-token/)
  })
})
