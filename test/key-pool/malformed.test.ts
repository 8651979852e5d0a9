import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { keyId, leaseId } from '../../src/balancing/ids.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import type { ExchangeRequest } from '../../src/key-pool/protocol.ts'
import { grantOf, keyReportOf, leaseRequestOf, NOTHING, newPool } from './object-driver.ts'

// What another release, or a bug, may send. Each item of an exchange costs itself at most.

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** A request that no type allows. */
const requestOf = (changes: Record<keyof typeof NOTHING, unknown> | object) =>
  ({ ...NOTHING, ...changes }) as ExchangeRequest

const NOT_DECIDED = { kind: 'refusal', cause: 'ended', reasons: {}, retryAtMs: null }

const failure = (lease: string, key: string): Settlement => ({
  leaseId: leaseId(lease),
  keyId: keyId(key),
  outcome: 'failure',
  fault: 'upstream',
  benches: [],
  suspect: false,
})

describe('a malformed lease request', () => {
  const { models: _, ...withoutModels } = leaseRequestOf()
  it.each([
    ['that is nothing', null],
    ['that is a text', 'please'],
    ['without models', withoutModels],
    ['with no model', { ...leaseRequestOf(), models: [] }],
    ['with a model that is no text', { ...leaseRequestOf(), models: [7] }],
    ['with tokens that are no number', { ...leaseRequestOf(), tokens: Number.NaN }],
    ['with a term that never ends', { ...leaseRequestOf(), leaseMs: Number.POSITIVE_INFINITY }],
    ['with an affinity of no kind', { ...leaseRequestOf(), affinity: { id: 'x' } }],
    ['with tried keys that are no list', { ...leaseRequestOf(), triedKeys: 'alpha' }],
    ['with an attempt of an unknown kind', { ...leaseRequestOf(), attempt: 'guess' }],
  ])('%s is not granted, and takes nothing from its neighbours', async (_, malformed) => {
    const pool = newPool()
    const wants = [leaseRequestOf(), malformed, leaseRequestOf()]
    const { decisions } = await pool.exchange(requestOf({ wants }))
    expect(decisions).toEqual([
      expect.objectContaining({ kind: 'grant' }),
      NOT_DECIDED,
      expect.objectContaining({ kind: 'grant' }),
    ])
    const { keys } = await pool.snapshot()
    expect(keys.reduce((sum, { inFlight }) => sum + inFlight, 0)).toBe(2)
  })

  it('loses no transition that was applied in the same exchange', async () => {
    const pool = newPool()
    const grants = [await grantOf(pool, 'alpha'), await grantOf(pool, 'alpha')]
    grants.push(await grantOf(pool, 'alpha'))
    const settlements = grants.map((grant) => failure(grant.leaseId, 'alpha'))
    await pool.exchange(requestOf({ wants: [null], settlements }))
    expect((await pool.snapshot()).keys[0]).toMatchObject({ reason: 'breaker_open' })
  })
})

it.each([
  ['nothing', null],
  ['without a lease', { ...failure('x', 'alpha'), leaseId: undefined }],
  ['of an unknown outcome', { ...failure('x', 'alpha'), outcome: 'maybe' }],
  ['without benches', { ...failure('x', 'alpha'), benches: undefined }],
  ['with a cost that is no number', { ...failure('x', 'alpha'), usage: { costUsd: '1' } }],
  ['with terms that are no terms', { ...failure('x', 'alpha'), lease: 5 }],
])(
  'a settlement that is malformed (%s) counts for nothing, and the others count',
  async (_, bad) => {
    const pool = newPool()
    const grant = await grantOf(pool, 'alpha')
    await pool.exchange(requestOf({ settlements: [bad, failure(grant.leaseId, 'alpha')] }))
    const [alpha] = (await pool.snapshot()).keys
    expect(alpha).toMatchObject({ inFlight: 0, total: { attempts: 1, costUsd: 0 } })
  },
)

it('a settlement with a bench order of an unknown kind gives its lease back all the same', async () => {
  const pool = newPool()
  const { leaseId: id } = await grantOf(pool, 'alpha')
  const term = { kind: 'until', untilMs: Date.now() + 60_000 }
  const known = { scope: 'key', reason: 'account_rate_limited', term }
  const benches = [
    { scope: 'continent', reason: 'account_rate_limited', term },
    { ...known, reason: 'full_moon' },
    { ...known, term: { kind: 'tide' } },
    known,
  ]
  await pool.exchange(requestOf({ settlements: [{ ...failure(id, 'alpha'), benches }] }))
  const [alpha, beta] = (await pool.snapshot()).keys
  expect(alpha).toMatchObject({ inFlight: 0, reason: 'account_rate_limited' })
  expect(beta).toMatchObject({ reason: null })
})

it('a finer reason of a newer release costs that word: the bench holds under its reason', async () => {
  const pool = newPool()
  const { leaseId: id } = await grantOf(pool, 'alpha')
  const term = { kind: 'until', untilMs: Date.now() + 60_000 }
  const order = { scope: 'key', reason: 'account_rate_limited', term }
  const benches = [{ ...order, detail: 'full_moon' }]
  await pool.exchange(requestOf({ settlements: [{ ...failure(id, 'alpha'), benches }] }))
  expect((await pool.snapshot()).keys[0]).toMatchObject({
    inFlight: 0,
    reason: 'account_rate_limited',
    clearsAtMs: term.untilMs,
  })
})

it('a settlement that says whom a request is too large for, in a newer word, counts', async () => {
  const pool = newPool()
  const { leaseId: id } = await grantOf(pool, 'alpha')
  const settlement = { ...failure(id, 'alpha'), tooLargeFor: 'continent' }
  await pool.exchange(requestOf({ settlements: [settlement] }))
  expect((await pool.snapshot()).keys[0]).toMatchObject({ inFlight: 0, total: { attempts: 1 } })
})

it.each([
  ['nothing', null],
  ['of no key', { ...keyReportOf('beta'), keyId: undefined }],
  ['of an unknown kind', { ...keyReportOf('beta'), kind: 'perhaps' }],
  ['with credit that is no number', { ...keyReportOf('beta'), remainingUsd: 'much' }],
])('a key report that is malformed (%s) teaches nothing, and the others teach', async (_, bad) => {
  const pool = newPool()
  const good = keyReportOf('alpha', { limitUsd: 5, remainingUsd: 4 })
  await pool.exchange(requestOf({ lookups: [bad, good] }))
  const { keys } = await pool.snapshot()
  expect(keys.map(({ credit }) => credit?.remainingUsd ?? null)).toEqual([4, null, null])
})

it('an exchange of a newer release, with more fields, works; so does one with lists missing', async () => {
  const pool = newPool()
  const want = { ...leaseRequestOf(), region: 'weur' }
  const newer = { version: 7, wants: [want], settlements: [], lookups: [], begun: [1] }
  expect((await pool.exchange(requestOf(newer))).decisions).toMatchObject([{ kind: 'grant' }])
  const bare = { version: 1, wants: [leaseRequestOf()] } as unknown as ExchangeRequest
  expect((await pool.exchange(bare)).decisions).toMatchObject([{ kind: 'grant' }])
})
