import { abortAllDurableObjects, evictDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { accountId, keyId, modelId } from '../../src/balancing/ids.ts'
import type { BenchOrder, BenchScope, Settlement } from '../../src/balancing/settlement.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { give, grantOf, lasting, leaseRequestOf, newPool } from './object-driver.ts'

// The checkpoint never fires here: the compared state must be on disk without it.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

type Pool = DurableObjectStub<KeyPool>

const KEYS = ['alpha', 'beta', 'gamma'] as const
const MODELS = ['vendor/model', 'vendor/model:free', 'vendor/other'] as const

/** For each key and model: whether the key is granted, or why not. Leaves nothing leased. */
async function outcomes(pool: Pool) {
  const wants = KEYS.flatMap((key) =>
    MODELS.map((model) =>
      leaseRequestOf({
        models: [modelId(model)],
        triedKeys: KEYS.filter((other) => other !== key).map(keyId),
      }),
    ),
  )
  const { decisions } = await pool.exchange({ version: 1, wants, settlements: [], lookups: [] })
  const settlements = decisions.flatMap((decision) =>
    decision.kind === 'grant'
      ? [{ ...decision, outcome: 'ignorable' as const, benches: [], suspect: false }]
      : [],
  )
  await pool.exchange({ version: 1, wants: [], settlements, lookups: [] })
  return decisions.map((decision) => {
    if (decision.kind === 'grant') return { key: decision.keyId }
    if (decision.kind === 'waiting') throw new Error('Nobody here wants to wait')
    const { reasons, retryAtMs } = decision
    // The time at which a busy half-open key is free is an estimate, which is not stored.
    return 'half_open_busy' in reasons ? { reasons } : { reasons, retryAtMs }
  })
}

const everything = async (pool: Pool) => ({
  shown: lasting(await pool.snapshot()),
  outcomes: await outcomes(pool),
})

// Built with `map`: fast-check's records have no prototype, which RPC does not carry.
const term: fc.Arbitrary<BenchOrder['term']> = fc.oneof(
  fc.integer({ min: 1, max: 90_000 }).map((forMs) => ({ kind: 'for', forMs }) as const),
  fc.constant({ kind: 'backoff', baseMs: 1_000, maxMs: 60_000 } as const),
  fc
    .option(fc.integer({ min: 1, max: 300_000 }))
    .map((lapseMs) => ({ kind: 'lookup', lapseMs }) as const),
)

const order: fc.Arbitrary<BenchOrder> = fc
  .tuple(
    fc.constantFrom<BenchScope>('key', 'account', 'account_free', 'account_model', 'model'),
    term,
  )
  .map(([scope, term]) => ({
    scope,
    reason: scope === 'key' ? 'key_spent' : 'account_rate_limited',
    term,
  }))

/** One thing that happens to a pool, and how its object ends after it. */
const step = fc.record({
  key: fc.constantFrom(...KEYS),
  model: fc.constantFrom(...MODELS),
  outcome: fc.constantFrom<Settlement['outcome']>('failure', 'failure', 'success', 'ignorable'),
  benches: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.array(order, { maxLength: 2 })),
  passesMs: fc.constantFrom(0, 1, 1_000, 20_000, 61_000),
  end: fc.constantFrom('eviction', 'crash'),
})

it('whatever has happened, the object that comes after decides as the one before would have', async () => {
  let benched = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 8 }), async (steps) => {
      let pool = newPool()
      for (const { key, model, outcome, benches, passesMs, end } of steps) {
        const triedKeys = KEYS.filter((other) => other !== key).map(keyId)
        const want = leaseRequestOf({ models: [modelId(model)], triedKeys })
        const request = { version: 1, wants: [want], settlements: [], lookups: [] } as const
        const [decision] = (await pool.exchange(request)).decisions
        // A benched key may get settlements too: a long answer may end after the bench began.
        const grant =
          decision?.kind === 'grant'
            ? decision
            : {
                kind: 'grant' as const,
                leaseId: want.leaseId,
                keyId: keyId(key),
                accountId: accountId(''),
                model: modelId(model),
              }
        await give(pool, grant, {
          outcome,
          benches,
          ...(outcome === 'failure' ? { fault: 'upstream' } : {}),
        })
        const before = await everything(pool)
        await (end === 'crash' ? abortAllDurableObjects() : evictDurableObject(pool))
        pool = env.KEY_POOL.get(pool.id)
        expect(await everything(pool)).toEqual(before)
        benched += before.outcomes.filter((outcome) => 'reasons' in outcome).length
        vi.setSystemTime(Date.now() + passesMs)
      }
    }),
    { numRuns: 40 },
  )
  expect(benched).toBeGreaterThan(0)
}, 30_000)

it('a guess at a rate limit goes on doubling where the object before left off', async () => {
  let pool = newPool()
  const backoff = { kind: 'backoff', baseMs: 1_000, maxMs: 60_000 } as const
  const strike = { scope: 'key', reason: 'account_rate_limited', term: backoff } as const
  const benchedForMs: number[] = []
  for (let i = 0; i < 4; i++) {
    await give(pool, await grantOf(pool, 'alpha'), { outcome: 'ignorable', benches: [strike] })
    const { clearsAtMs } = (await pool.snapshot()).keys[0] ?? {}
    benchedForMs.push((clearsAtMs ?? 0) - Date.now())
    vi.setSystemTime(Math.ceil(clearsAtMs ?? 0))
    await abortAllDurableObjects()
    pool = env.KEY_POOL.get(pool.id)
  }
  // Each bench is lengthened by up to a fifth, never shortened.
  for (const [i, ms] of benchedForMs.entries()) {
    expect(ms).toBeGreaterThanOrEqual(1_000 * 2 ** i)
    expect(ms).toBeLessThanOrEqual(1_200 * 2 ** i)
  }
})

it('a cooldown goes on doubling where the object before left off, a probe in vain or not', async () => {
  let pool = newPool()
  const failure = { outcome: 'failure', fault: 'upstream' } as const
  const rest = async () => {
    await evictDurableObject(pool)
    pool = env.KEY_POOL.get(pool.id)
  }
  for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failure)
  for (const cooldownMs of [60_000, 120_000, 240_000]) {
    const opensAgainMs = (await pool.snapshot()).keys[0]?.clearsAtMs
    expect(opensAgainMs).toBe(Date.now() + cooldownMs)
    vi.setSystemTime(opensAgainMs ?? 0)
    await rest()
    // This probe proves nothing, since its client left.
    await give(pool, await grantOf(pool, 'alpha'), { outcome: 'ignorable', fault: 'nobody' })
    await rest()
    await give(pool, await grantOf(pool, 'alpha'), failure)
  }
})
