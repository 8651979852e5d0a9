import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { accountId, clientId, keyId, modelId } from '../../src/balancing/ids.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import {
  benching,
  deployed,
  keyOf,
  keyReportOf,
  leaseRequestOf,
  NOTHING,
  newPool,
} from './object-driver.ts'

// Limits, credit, routes and generations are in the checkpoint and must outlive the object. The
// clock is fake, so the checkpoint is written only when a test moves it.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

const CHECKPOINT_MS = 5_000

function grantFrom(object: KeyPool, ...given: Parameters<typeof leaseRequestOf>) {
  const [decision] = object.exchange({ ...NOTHING, wants: [leaseRequestOf(...given)] }).decisions
  return decision
}

function keyIn(object: KeyPool, id: string) {
  const key = object.snapshot().keys.find((shown) => shown.id === id)
  if (key === undefined) throw new Error(`No key ${id}`)
  return key
}

it('what a key has left, and when it expires', async () => {
  const pool = newPool()
  const keys = [keyOf('alpha')]
  const expiresAtMs = Date.now() + 3 * 24 * 60 * 60_000
  const credit = { limitUsd: 20, remainingUsd: 12.5, resetsAtMs: Date.now() + 3_600_000 }
  await deployed(pool, { keys }, (object) => {
    object.exchange({ ...NOTHING, lookups: [keyReportOf('alpha', { ...credit, expiresAtMs })] })
    vi.advanceTimersByTime(CHECKPOINT_MS)
  })
  const key = await deployed(pool, { keys }, (object) => keyIn(object, 'alpha'))
  expect(key).toMatchObject({ credit, expiresAtMs, expiresSoon: true })
})

it('so that no key is looked up again before its answer is old', async () => {
  const pool = newPool()
  const keys = [keyOf('alpha'), keyOf('beta')]
  await deployed(pool, { keys }, (object) => {
    object.exchange({ ...NOTHING, lookups: [keyReportOf('alpha'), keyReportOf('beta')] })
    vi.advanceTimersByTime(CHECKPOINT_MS)
  })
  const due = () =>
    deployed(pool, { keys }, (object) =>
      object.exchange(NOTHING).lookups.map(({ keyId: id }) => id),
    )
  vi.advanceTimersByTime(60_000 - CHECKPOINT_MS - 1)
  expect(await due()).toEqual([])
  vi.advanceTimersByTime(1)
  // The keys of a pool do not fall into step: the second has its turn some seconds later.
  expect(await due()).toEqual(['alpha'])
  vi.setSystemTime(Date.now() + 6_000)
  expect(await due()).toEqual(['alpha', 'beta'])
})

it('who pays for a key, as OpenRouter told, without waiting for a checkpoint', async () => {
  const pool = newPool()
  const keys = [keyOf('alpha'), keyOf('beta'), keyOf('gamma')]
  await deployed(pool, { keys }, (object) => {
    const owner = accountId('org_1')
    const lookups = [keyReportOf('alpha', { owner }), keyReportOf('beta', { owner })]
    object.exchange({ ...NOTHING, lookups })
    const grant = grantFrom(object, { triedKeys: [keyId('beta'), keyId('gamma')] })
    if (grant?.kind !== 'grant') throw new Error('Refused')
    const bench = { scope: 'account', reason: 'account_rate_limited' } as const
    const untilMs = Date.now() + 3_600_000
    const told = benching({ ...bench, term: { kind: 'until', untilMs } })
    const settlement = { outcome: 'ignorable', benches: [], suspect: false, ...told } as const
    const { leaseId } = grant
    object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId: grant.keyId, ...settlement }] })
  })
  const shown = await deployed(pool, { keys }, (object) => object.snapshot().keys)
  expect(shown.map(({ id, account, reason }) => [id, account, reason])).toEqual([
    ['alpha', 'org_1', 'account_rate_limited'],
    ['beta', 'org_1', 'account_rate_limited'],
    ['gamma', 'own/gamma', null],
  ])
})

it('what was taken of a key’s limits within the minute', async () => {
  const pool = newPool()
  const keys = [{ ...keyOf('alpha'), rpm: 2, tpm: 1_000 }]
  const granted = await deployed(pool, { keys }, (object) => {
    const decision = grantFrom(object, { tokens: 900 })
    vi.advanceTimersByTime(CHECKPOINT_MS)
    return decision
  })
  expect(granted?.kind).toBe('grant')
  await deployed(pool, { keys }, (object) => {
    expect(grantFrom(object, { tokens: 200 })).toMatchObject({ reasons: { at_tpm: 1 } })
    expect(grantFrom(object, { tokens: 100 })?.kind).toBe('grant')
    expect(grantFrom(object)).toMatchObject({ reasons: { at_rpm: 1 } })
    vi.advanceTimersByTime(61_000)
    expect(grantFrom(object, { tokens: 900 })?.kind).toBe('grant')
  })
})

it('which key credit-threshold is on, route by route', async () => {
  const pool = newPool()
  const keys = [keyOf('alpha'), keyOf('beta'), keyOf('gamma')]
  const policy = {
    strategy: 'credit-threshold',
    routes: [{ models: ['other/*'], strategy: 'credit-threshold' }],
  }
  const credit = (id: string, remainingUsd: number) =>
    keyReportOf(id, { limitUsd: 100, remainingUsd, askedAtMs: Date.now() })
  await deployed(pool, { keys, policy }, (object) => {
    const lookups = [credit('alpha', 0.5), credit('beta', 50), credit('gamma', 50)]
    object.exchange({ ...NOTHING, lookups })
    expect(grantFrom(object)).toMatchObject({ keyId: 'beta' })
    vi.advanceTimersByTime(CHECKPOINT_MS)
  })
  const served = await deployed(pool, { keys, policy }, (object) => {
    // Alpha has credit again, but the route stays with its current key.
    object.exchange({ ...NOTHING, lookups: [credit('alpha', 50)] })
    return [{}, { models: [modelId('other/model')] as const }].map((want) =>
      grantFrom(object, want),
    )
  })
  expect(served).toMatchObject([{ keyId: 'beta' }, { keyId: 'alpha' }])
})

it('which key made an answer, and what a client has spent', async () => {
  const pool = newPool()
  const keys = [keyOf('alpha'), keyOf('beta')]
  const usage = {
    promptTokens: 10,
    completionTokens: 5,
    cachedTokens: 0,
    reasoningTokens: 0,
    costUsd: 0.25,
    estimated: false,
  }
  const client = clientId('tester')
  await deployed(pool, { keys }, (object) => {
    const grant = grantFrom(object, { triedKeys: [keyId('alpha')], clientId: client })
    if (grant?.kind !== 'grant') throw new Error('Refused')
    const told = { outcome: 'success', benches: [], suspect: false, generationId: 'gen-1' } as const
    const settlements = [{ leaseId: grant.leaseId, keyId: grant.keyId, usage, ...told }]
    object.exchange({ ...NOTHING, settlements })
    vi.advanceTimersByTime(CHECKPOINT_MS)
  })
  await deployed(pool, { keys }, (object) => {
    expect(object.keyForGeneration('gen-1', client)).toBe('beta')
    expect(object.keyForGeneration('gen-1', clientId('somebody else'))).toBeNull()
    expect(object.spending(client)).toMatchObject({ totalUsd: 0.25, todayUsd: 0.25 })
  })
})

it('a lease that was put aside for who waited, and nobody came for, is free again after a crash', async () => {
  const pool = newPool()
  const keys = [{ ...keyOf('alpha'), max_concurrent: 1 }]
  await deployed(pool, { keys }, (object) => {
    const wants = [leaseRequestOf(), leaseRequestOf({ waitMs: 10_000 })]
    const [first] = object.exchange({ ...NOTHING, wants }).decisions
    if (first?.kind !== 'grant') throw new Error('Refused')
    vi.advanceTimersByTime(4_000)
    const settlement = { outcome: 'success', benches: [], suspect: false } as const
    const settlements = [{ leaseId: first.leaseId, keyId: first.keyId, ...settlement }]
    object.exchange({ ...NOTHING, settlements })
    expect(keyIn(object, 'alpha').inFlight).toBe(1)
    vi.advanceTimersByTime(1_000)
  })
  await deployed(pool, { keys }, (object) => {
    expect(keyIn(object, 'alpha').inFlight).toBe(1)
    vi.advanceTimersByTime(4_000)
    expect(keyIn(object, 'alpha').inFlight).toBe(0)
  })
})

it('what shared and kept answers came to, whoever tells it twice', async () => {
  const pool = newPool()
  const keys = [keyOf('alpha')]
  const counters = { hits: 3, joins: 2, misses: 1, bypasses: 0, keptBytes: 10, savedUsd: 0.5 }
  const cache = [{ mark: 'isolate:1', counters }]
  await deployed(pool, { keys }, (object) => {
    object.exchange({ ...NOTHING, cache })
    // What is malformed costs itself.
    const wrong = [
      { mark: 'isolate:2', counters: { ...counters, hits: 'many' } },
      null,
      { mark: 3 },
    ]
    object.exchange({ ...NOTHING, cache: [...cache, ...(wrong as unknown as typeof cache)] })
    vi.advanceTimersByTime(CHECKPOINT_MS)
  })
  const read = await deployed(pool, { keys }, (object) => object.overview().cache)
  expect(read).toEqual({ total: counters, today: counters })
})
