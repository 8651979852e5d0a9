import { runInDurableObject } from 'cloudflare:test'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { accountId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { Grant } from '../../src/balancing/lease-request.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import type { ExchangeRequest } from '../../src/key-pool/protocol.ts'
import {
  ask,
  failing,
  give,
  grantOf,
  keyReportOf,
  leaseRequestOf,
  NOTHING,
  newPool,
} from './object-driver.ts'

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
  const want = leaseRequestOf()
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

it('hands the lookup of every key to the first who asks, and a key’s again when it is suspected', async () => {
  const pool = newPool()
  const handedTo = async (changes: Partial<ExchangeRequest> = {}) =>
    (await pool.exchange({ ...NOTHING, ...changes })).lookups.map(({ keyId }) => keyId)
  const [first, second] = [await grantOf(pool, 'alpha'), await grantOf(pool, 'alpha')]
  const known = ['alpha', 'beta', 'gamma'].map((id) => keyReportOf(id))
  expect(await handedTo({ lookups: known })).toEqual([])
  const suspected = ({ leaseId, keyId }: Grant): Settlement => ({
    ...{ leaseId, keyId, outcome: 'failure', fault: 'key', suspect: true },
    benches: [{ scope: 'key', reason: 'key_rejected', term: { kind: 'for', forMs: 60_000 } }],
  })
  expect(await handedTo({ settlements: [suspected(first)] })).toEqual(['alpha'])
  expect(await handedTo({ settlements: [suspected(second)] })).toEqual([])
  expect(await handedTo()).toEqual([])
  const found = { keyId: keyId('alpha'), kind: 'rejected', askedAtMs: Date.now() } as const
  await handedTo({ lookups: [found] })
  const alpha = (await pool.snapshot()).keys.find(({ id }) => id === 'alpha')
  expect(alpha).toMatchObject({ reason: 'key_rejected', clearsAtMs: null })
})

it('hands nobody the lookup that somebody has, until it is overdue', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const pool = newPool()
  const handed = async () => (await pool.exchange(NOTHING)).lookups.length
  const { lookups } = await pool.exchange(NOTHING)
  expect(lookups.map(({ keyId }) => keyId)).toEqual(['alpha', 'beta', 'gamma'])
  expect(lookups.map(({ freshSinceMs }) => freshSinceMs)).toEqual(
    Array(3).fill(Date.now() - 60_000 + 1),
  )
  vi.setSystemTime(Date.now() + 59_999)
  expect(await handed()).toBe(0)
  vi.setSystemTime(Date.now() + 1)
  expect(await handed()).toBe(3)
})

it('understands a request with fields that it does not know', async () => {
  const future = { ...leaseRequestOf(), estimateTokens: 5 }
  const request = { version: 1, wants: [future], settlements: [], lookups: [], hints: [1] } as const
  expect((await newPool().exchange(request)).decisions[0]?.kind).toBe('grant')
})

it('a settlement of a lease that nobody knows is harmless', async () => {
  const pool = newPool()
  const stranger = { leaseId: leaseId('stranger'), keyId: keyId('nobody') }
  await give(pool, {
    kind: 'grant',
    ...stranger,
    accountId: accountId('acme'),
    model: modelId('vendor/model'),
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
    const parts = ['byModel', 'counters', 'recent']
    const checkpoint = parts.map((id) => ({ kind: 'checkpoint', id }))
    expect(await rows()).toEqual([...checkpoint, { kind: 'key', id: 'alpha' }])
  })

  it('is dropped when a key is well again, so that what is kept does not grow', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const pool = newPool()
    const rows = () =>
      runInDurableObject(pool, (_, { storage }) =>
        storage.sql.exec("SELECT id FROM records WHERE kind <> 'alert'").toArray(),
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
    expect(shown).not.toMatch(/sk-or-|sy-test-token-0001/)
  })
})
