import { runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { deployed, keyOf, leaseRequestOf, NOTHING, newPool } from './object-driver.ts'

// The spend of a key with max_spend, and the rows of keys that are gone.

const NOON = Date.UTC(2026, 0, 15, 12)
const DAY_MS = 24 * 3_600_000

beforeEach(
  () => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: NOON }),
)
afterEach(() => void vi.useRealTimers())

interface Row extends Record<string, string> {
  kind: string
  id: string
  record: string
}

type Pool = ReturnType<typeof newPool>

const rowsOf = (pool: Pool, kind: string): Promise<Row[]> =>
  runInDurableObject(pool, (_, { storage }) =>
    storage.sql
      .exec<Row>('SELECT kind, id, record FROM records WHERE kind = ? ORDER BY id', kind)
      .toArray(),
  )

/** One request that costs this much, on the first key that may serve. */
function spend(object: KeyPool, costUsd: number): string | null {
  const [decision] = object.exchange({ ...NOTHING, wants: [leaseRequestOf()] }).decisions
  if (decision?.kind !== 'grant') return null
  const counts = { promptTokens: 1, completionTokens: 1, cachedTokens: 0, reasoningTokens: 0 }
  const usage = { ...counts, costUsd, estimated: false }
  const settled = { outcome: 'success', benches: [], suspect: false, usage } as const
  const { leaseId, keyId } = decision
  object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId, ...settled }] })
  return keyId
}

const policy = { strategy: 'priority' }
const capped = (usd: number, period: string) => [
  { ...keyOf('alpha'), max_spend: { usd, period } },
  keyOf('beta'),
]

it('a crash right after an answer forgets none of what was spent', async () => {
  const pool = newPool()
  const keys = capped(1, 'day')
  const served = await deployed(pool, { keys, policy }, (object) => [
    spend(object, 0.7),
    spend(object, 0.4),
  ])
  expect(served).toEqual(['alpha', 'alpha'])
  // No checkpoint was written: the object is gone within five seconds.
  const [row] = await rowsOf(pool, 'spend')
  expect(JSON.parse(row?.record ?? '')).toMatchObject({
    period: 'day',
    endsAtMs: NOON + DAY_MS / 2,
  })
  const after = await deployed(pool, { keys, policy }, (object) => spend(object, 0.1))
  expect(after).toBe('beta')
  vi.setSystemTime(NOON + DAY_MS / 2)
  expect(await deployed(pool, { keys, policy }, (object) => spend(object, 0.1))).toBe('alpha')
})

it('a pool at rest holds the exact amount, and writes nothing more', async () => {
  const pool = newPool()
  const keys = capped(100, 'total')
  await deployed(pool, { keys, policy }, (object) => {
    for (let i = 0; i < 10; i++) spend(object, 0.125)
    vi.advanceTimersByTime(15_000)
    expect(vi.getTimerCount()).toBe(0)
  })
  const [row] = await rowsOf(pool, 'spend')
  const exact = { spentNanos: 1.25e9, lostNanos: 0, committedNanos: 1.25e9, nanos: 1.25e9 }
  expect(JSON.parse(row?.record ?? '')).toMatchObject({ period: 'total', endsAtMs: null, ...exact })
})

it('what a key spent before its max_spend was set counts', async () => {
  const pool = newPool()
  const plain = [keyOf('alpha'), keyOf('beta')]
  await deployed(pool, { keys: plain, policy }, (object) => {
    spend(object, 3)
    vi.advanceTimersByTime(5_000)
  })
  const serve = (usd: number) =>
    deployed(pool, { keys: capped(usd, 'month'), policy }, (object) => spend(object, 0))
  expect(await serve(3)).toBe('beta')
  expect(await serve(4)).toBe('alpha')
})

it('the rows of a key that is gone are kept for 35 days after its last request', async () => {
  const pool = newPool()
  await deployed(pool, { keys: capped(9, 'total'), policy }, (object) => {
    const [decision] = object.exchange({ ...NOTHING, wants: [leaseRequestOf()] }).decisions
    if (decision?.kind !== 'grant') throw new Error('Refused')
    const { leaseId, keyId } = decision
    const failed = { outcome: 'failure', fault: 'upstream', benches: [], suspect: false } as const
    object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId, ...failed }] })
    spend(object, 1)
    vi.advanceTimersByTime(10_000)
  })
  const kept = async () => {
    await deployed(pool, { keys: [keyOf('beta')], policy }, (object) => {
      spend(object, 0)
      vi.advanceTimersByTime(5_000)
    })
    const rows = [...(await rowsOf(pool, 'key')), ...(await rowsOf(pool, 'spend'))]
    const [counters] = (await rowsOf(pool, 'checkpoint')).filter(({ id }) => id === 'counters')
    const { byKey } = JSON.parse(counters?.record ?? '')
    return [
      rows.filter(({ id }) => id === 'alpha').length,
      byKey.some(([id]: [string]) => id === 'alpha'),
    ]
  }
  vi.setSystemTime(NOON + 34 * DAY_MS)
  expect(await kept()).toEqual([2, true])
  vi.setSystemTime(NOON + 35 * DAY_MS)
  expect(await kept()).toEqual([0, false])
})
