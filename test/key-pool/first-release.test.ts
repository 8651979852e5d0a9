import { runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { clientId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { FIRST_RELEASE_ROWS, WRITTEN_AT_MS } from './first-release-rows.ts'
import { deployed, keyOf, leaseRequestOf, NOTHING, newPool } from './object-driver.ts'

// What the first release wrote down, read by today's code.

beforeEach(
  () =>
    void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: WRITTEN_AT_MS }),
)
afterEach(() => void vi.useRealTimers())

const KEYS = [
  { ...keyOf('alpha'), account: 'acme', rpm: 4, tpm: 1_000 },
  { ...keyOf('beta'), account: 'acme', weight: 3 },
  { ...keyOf('gamma'), account: 'globex' },
  keyOf('delta'),
  { ...keyOf('epsilon'), account: 'initech', max_concurrent: 1 },
]
const IDS = KEYS.map(({ id }) => id)

/** The object over the rows of the first release. */
async function restored<T>(use: (object: KeyPool) => T): Promise<T> {
  const pool = newPool()
  await runInDurableObject(pool, (_, { storage }) => {
    for (const row of FIRST_RELEASE_ROWS) {
      storage.sql.exec('INSERT OR REPLACE INTO records (kind, id, record) VALUES (?, ?, ?)', ...row)
    }
  })
  return await deployed(pool, { keys: KEYS, policy: { strategy: 'weighted' } }, use)
}

/** What becomes of a request that only one key may serve. */
function ask(object: KeyPool, id: string, request: Parameters<typeof leaseRequestOf>[0] = {}) {
  const triedKeys = IDS.filter((other) => other !== id).map(keyId)
  const wants = [leaseRequestOf({ triedKeys, ...request })]
  const [decision] = object.exchange({ ...NOTHING, wants }).decisions
  return decision
}

const FREE = { models: [modelId('vendor/other:free')] } as const
const OTHER = { models: [modelId('vendor/other')] } as const

it('breakers and benches stand, and so do credit, owners and expiry', async () => {
  const { keys, benchedModels } = await restored((object) => object.snapshot())
  const shown = keys.map(({ id, account, reason, breaker, credit, expiresAtMs }) => ({
    id,
    account,
    reason,
    breaker,
    remainingUsd: credit?.remainingUsd,
    expiresAtMs,
  }))
  const expiresAtMs = Date.UTC(2026, 10, 23, 12)
  const unlimited = { remainingUsd: null, expiresAtMs: null }
  const unknown = { remainingUsd: undefined, expiresAtMs: null }
  const closed = { breaker: 'closed', reason: null }
  expect(shown).toEqual([
    { id: 'alpha', account: 'acme', ...closed, remainingUsd: 12.25, expiresAtMs: null },
    { id: 'beta', account: 'acme', reason: 'breaker_open', breaker: 'open', ...unlimited },
    { id: 'gamma', account: 'globex', ...closed, ...unknown },
    {
      ...unlimited,
      id: 'delta',
      account: 'user_delta',
      ...closed,
      reason: 'key_spent',
      expiresAtMs,
    },
    { id: 'epsilon', account: 'initech', ...closed, reason: 'account_out_of_credit', ...unknown },
  ])
  expect(benchedModels).toMatchObject([{ model: 'vendor/model' }])
})

const FAILURE = { outcome: 'failure', fault: 'upstream', benches: [], suspect: false } as const

it('a window of failures goes on filling', async () => {
  await restored((object) => {
    const breaker = () => object.snapshot().keys.find(({ id }) => id === 'alpha')?.breaker
    for (const expected of ['closed', 'open']) {
      const grant = ask(object, 'alpha', OTHER)
      if (grant?.kind !== 'grant') throw new Error('Refused')
      const { leaseId, keyId: id } = grant
      object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId: id, ...FAILURE }] })
      // One failure was written down; the second leaves the breaker closed, the third opens it.
      expect(breaker()).toBe(expected)
    }
  })
})

it.each([
  ['the free models of an account', 'gamma', FREE, 'account_rate_limited'],
  ['one model of an account', 'gamma', {}, 'account_rate_limited'],
  ['an account out of credit, whose lease still runs', 'epsilon', OTHER, 'account_out_of_credit'],
] as const)('%s: still excluded', async (_, id, request, reason) => {
  const decision = await restored((object) => ask(object, id, request))
  expect(decision).toMatchObject({ kind: 'refusal', reasons: { [reason]: 1 } })
})

it('what was taken of a minute counts', async () => {
  await restored((object) => {
    // Two of four requests, and 120 of 1,000 tokens, were taken five seconds ago.
    expect(ask(object, 'alpha', { ...OTHER, tokens: 900 })).toMatchObject({
      reasons: { at_tpm: 1 },
    })
    expect(ask(object, 'alpha', { ...OTHER, tokens: 800 })).toMatchObject({ kind: 'grant' })
    expect(ask(object, 'alpha', OTHER)).toMatchObject({ kind: 'grant' })
    expect(ask(object, 'alpha', OTHER)).toMatchObject({ reasons: { at_rpm: 1 } })
  })
})

it('a lease that runs holds its place, and ends once', async () => {
  await restored((object) => {
    const inFlight = () => object.snapshot().keys.find(({ id }) => id === 'epsilon')?.inFlight
    expect(inFlight()).toBe(1)
    const settlements = [
      {
        leaseId: leaseId('running-1'),
        keyId: keyId('epsilon'),
        outcome: 'success',
        benches: [],
        suspect: false,
      } as const,
    ]
    object.exchange({ ...NOTHING, settlements })
    object.exchange({ ...NOTHING, settlements })
    expect(inFlight()).toBe(0)
  })
})

it('spending and generations are known', async () => {
  await restored((object) => {
    expect(object.spending(clientId('tester'))).toEqual({
      totalUsd: 0.25,
      todayUsd: 0.25,
      weekUsd: 0.25,
      monthUsd: 0.25,
    })
    expect(object.keyForGeneration('gen-1700000000-second', clientId('app-two'))).toBe('gamma')
    const total = object.snapshot().keys.map(({ id, total: { attempts } }) => [id, attempts])
    expect(total).toEqual([
      ['alpha', 2],
      ['beta', 3],
      ['gamma', 2],
      ['delta', 2],
      ['epsilon', 1],
    ])
  })
})
