import { describe, expect, it } from 'vitest'
import { ASSUMED_MAX_CONCURRENT } from '../../../src/balancing/batches/batch-share.ts'
import { explain } from '../../../src/balancing/explanation.ts'
import { clientId, isolateId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import { STRATEGY_NAMES } from '../../../src/balancing/strategies/strategy-registry.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { type Ask, drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const BATCH = { class: 'batch' } as const

/** How many leases a batch gets at once. */
function granted(pool: PoolDriver, most: number, request: Ask = {}): number {
  let count = 0
  while (count < most && pool.ask({ ...request, ...BATCH }).kind === 'grant') count += 1
  return count
}

const kept = (count: number) => ({ cause: 'no_key', reasons: { kept_for_interactive: count } })

describe('a batch takes its share of', () => {
  it.each([
    [1, 0.5, 1],
    [2, 0.5, 1],
    [5, 0.5, 2],
    [8, 0.25, 2],
    [8, 1, 8],
    [null, 0.5, ASSUMED_MAX_CONCURRENT / 2],
  ])('max_concurrent %s, of which %s is its: %i leases', (maxConcurrent, share, most) => {
    const pool = drivePool([{ id: 'a', maxConcurrent }], { batch: { share } })
    expect(granted(pool, 100)).toBe(most)
    expect(pool.refusal(BATCH).cause).toBe('no_key')
    // And the rest is there for the others.
    const rest = Math.min(10, (maxConcurrent ?? 100) - most)
    for (let i = 0; i < rest; i++) expect(pool.ask().kind).toBe('grant')
  })

  it('rpm, in any minute', () => {
    const pool = drivePool([{ id: 'a', rpm: 8 }])
    for (let i = 0; i < 4; i++) pool.give(pool.grant(BATCH))
    const refusal = pool.refusal(BATCH)
    expect(refusal).toMatchObject(kept(1))
    for (let i = 0; i < 4; i++) pool.give(pool.grant())
    pool.at(refusal.retryAtMs ?? 0)
    expect(pool.grant(BATCH).keyId).toBe('a')
  })

  it('tpm, by what its lines used; one line may be larger than the share', () => {
    const pool = drivePool([{ id: 'a', tpm: 1_000 }])
    const first = pool.grant({ ...BATCH, tokens: 400 })
    expect(pool.refusal({ ...BATCH, tokens: 200 })).toMatchObject(kept(1))
    pool.give(first, { usage: usageOf(100, 100, 0) })
    expect(pool.ask({ ...BATCH, tokens: 200 }).kind).toBe('grant')
    const large = drivePool([{ id: 'a', tpm: 1_000 }])
    expect(large.ask({ ...BATCH, tokens: 900 }).kind).toBe('grant')
    expect(large.refusal({ ...BATCH, tokens: 1 })).toMatchObject(kept(1))
    large.wait(61_000)
    expect(large.ask({ ...BATCH, tokens: 900 }).kind).toBe('grant')
  })

  it('of each key for itself, and gives it back', () => {
    const pool = drivePool([
      { id: 'a', maxConcurrent: 2, rpm: 100 },
      { id: 'b', maxConcurrent: 4, rpm: 100 },
    ])
    const lease = pool.grant(BATCH)
    expect(granted(pool, 10)).toBe(2)
    pool.give(lease, { unused: true })
    expect(granted(pool, 10)).toBe(1)
    expect(pool.key('a').batch.rpm.total + pool.key('b').batch.rpm.total).toBe(3)
  })

  it('and no more after a lease expired without a word', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 2 }])
    pool.grant({ ...BATCH, leaseMs: 5_000 })
    pool.wait(5_001)
    expect(granted(pool, 10)).toBe(1)
    expect(pool.key('a').batch.inFlight).toBe(1)
  })
})

describe('a batch yields', () => {
  it('and never waits in the queue', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    pool.grant()
    const refusal = pool.refusal({ ...BATCH, waitMs: 10_000 })
    expect(refusal.reasons).toEqual({ at_max_concurrent: 1 })
    expect(pool.state.queue.size).toBe(0)
  })

  it('to whoever waits: that one has the key after one lease of the batch', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 2 }])
    const ofBatch = pool.grant(BATCH)
    pool.grant()
    pool.waiting({ lease: 'w' })
    pool.give(ofBatch)
    expect(pool.refusal(BATCH).reasons).toEqual({ at_max_concurrent: 1 })
    expect(pool.inquire('w')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('for two seconds after somebody waited for the key, and then takes the free share', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 2 }, 'b'])
    const ofBatch = pool.grantOf('a', BATCH)
    const other = pool.grantOf('a')
    pool.waiting({ lease: 'w', tried: ['b'] })
    pool.wait(500)
    pool.give(ofBatch)
    const served = pool.inquire('w')
    if (served?.kind !== 'grant') throw new Error('not served')
    pool.give(served)
    pool.give(other)
    const refusal = pool.refusal({ ...BATCH, tried: ['b'] })
    expect(refusal.reasons).toEqual({ already_tried: 1, kept_for_interactive: 1 })
    expect(refusal.retryAtMs).toBe(pool.now() + 2_000)
    // A key that nobody lacked goes on serving it.
    expect(pool.grant({ ...BATCH, tried: ['a'] }).keyId).toBe('b')
    pool.at(refusal.retryAtMs ?? 0)
    expect(pool.grant({ ...BATCH, tried: ['b'] }).keyId).toBe('a')
  })

  it('to one who would not wait, too, and not to one that the key is no use to', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1, tpm: 100 }])
    pool.give(pool.grant(BATCH))
    // Too large at any time: the batch is not in its way.
    expect(pool.refusal({ tokens: 200 }).reasons).toEqual({ at_tpm: 1 })
    pool.give(pool.grant({ ...BATCH, tokens: 0 }))
    const lease = pool.grant({ ...BATCH, tokens: 0 })
    expect(pool.refusal({ waitMs: 0 }).reasons).toEqual({ at_max_concurrent: 1 })
    pool.give(lease)
    expect(pool.refusal({ ...BATCH, tokens: 0 })).toMatchObject(kept(1))
  })

  it('the tokens that somebody waits for', () => {
    const pool = drivePool([{ id: 'a', tpm: 100 }], { batch: { share: 1 } })
    const first = pool.grant({ tokens: 60 })
    pool.wait(55_000)
    pool.waiting({ lease: 'w', tokens: 80 })
    expect(pool.refusal({ ...BATCH, tokens: 10 }).reasons).toEqual({ at_tpm: 1 })
    pool.give(first, { usage: usageOf(1, 1, 0) })
    expect(pool.inquire('w')?.kind).toBe('grant')
  })

  it('the probe of a key that comes back, while there is anybody else', () => {
    const pool = drivePool(['a', 'b'])
    pool.trip('a')
    pool.wait(60_001)
    expect(pool.grantOf('a').keyId).toBe('a')
    const other = drivePool(['a'])
    other.trip('a')
    other.wait(59_000)
    other.refusal()
    other.wait(1_001)
    const refusal = other.refusal(BATCH)
    expect(refusal).toMatchObject(kept(1))
    // Alone it has to find out for itself.
    other.at(refusal.retryAtMs ?? 0)
    expect(other.grant(BATCH).keyId).toBe('a')
  })

  it('what is broken: panic is for interactive requests', () => {
    const pool = drivePool(['a', 'b'], { panicRatio: 0.5 })
    pool.trip('a')
    pool.trip('b')
    expect(pool.ask().kind).toBe('grant')
    expect(pool.refusal(BATCH).reasons).toEqual({ breaker_open: 2 })
  })
})

describe('what a batch does moves nothing of the others', () => {
  it('round-robin is strict for the others, and for the batch', () => {
    const pool = drivePool(['a', 'b', 'c'], { strategy: 'round-robin' })
    const turns = { own: '', batch: '' }
    for (let i = 0; i < 60; i++) {
      // The batch takes turns at another pace.
      const names = i % 2 === 0 ? (['own', 'batch', 'batch'] as const) : (['own'] as const)
      for (const name of names) {
        const lease = pool.grant(name === 'own' ? {} : BATCH)
        turns[name] += lease.keyId
        pool.give(lease)
      }
    }
    const { own, batch } = turns
    expect(own).toBe(own.slice(0, 3).repeat(20))
    expect(batch).toBe(batch.slice(0, 3).repeat(20))
    expect(new Set(own).size + new Set(batch).size).toBe(6)
  })

  it('weighted is exact for the others, and for the batch', () => {
    const keys = [3, 2, 1].map((weight, i) => ({ id: `k${i}`, weight }))
    const pool = drivePool(keys, { strategy: 'weighted' })
    const counts = { own: [0, 0, 0], ofBatch: [0, 0, 0] }
    for (let i = 0; i < 36; i++) {
      for (const [name, request] of [
        ['own', {}],
        ['ofBatch', BATCH],
        ['ofBatch', BATCH],
      ] as const) {
        const lease = pool.grant(request)
        const at = Number(lease.keyId.slice(1))
        counts[name][at] = (counts[name][at] ?? 0) + 1
        pool.give(lease)
      }
    }
    expect(counts).toEqual({ own: [18, 12, 6], ofBatch: [36, 24, 12] })
  })

  it.each(STRATEGY_NAMES)('under %s a batch gets leases and ends', (strategy) => {
    const pool = drivePool(['a', 'b'], { strategy, batch: { share: 0.5 } }, seededRandom(4))
    for (let i = 0; i < 20; i++) pool.give(pool.grant(BATCH))
    expect(pool.key('a').inFlight + pool.key('b').inFlight).toBe(0)
  })

  it('homes of conversations, and the load by which they are moved', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'globex' },
    ])
    for (let i = 0; i < 20; i++) pool.grant({ ...BATCH, affinity: `line-${i}` })
    const { young, loads } = pool.state.affinities
    expect(young.size).toBe(0)
    expect([...loads.values()].map(({ inFlight, recent }) => [inFlight, recent])).toEqual([
      [0, 0],
      [0, 0],
    ])
  })

  it('their retry budget', () => {
    const pool = drivePool(['a', 'b'], { retryBudget: { ratio: 0.2, minPerSecond: 0.1 } })
    let retries = 0
    while (pool.ask({ ...BATCH, attempt: 'retry' }).kind === 'grant') retries += 1
    expect(retries).toBeGreaterThan(0)
    expect(pool.refusal({ ...BATCH, attempt: 'retry' }).cause).toBe('retry_budget')
    expect(pool.ask({ attempt: 'retry' }).kind).toBe('grant')
  })

  it('their leases ahead: half of what the batch leaves', () => {
    const order = {
      isolate: isolateId('i'),
      idPrefix: 'p',
      asked: modelId('vendor/model'),
      models: [modelId('vendor/model')] as const,
      account: null,
      count: 32,
      tokens: 10,
    }
    const ahead = (pool: PoolDriver) =>
      hold({ state: pool.state, nowMs: pool.now(), random: seededRandom(1) }, order).length
    const key = { id: 'a', maxConcurrent: 20, rpm: 20, tpm: 1_000 }
    const pool = drivePool([key])
    expect(granted(pool, 100, { tokens: 10 })).toBe(10)
    expect(ahead(pool)).toBe(5)
    expect(ahead(drivePool([key]))).toBe(10)
  })
})

it('a class that this release does not know is interactive', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 2 }])
  const unknown = { class: 'premium' } as unknown as Ask
  expect([pool.ask(unknown).kind, pool.ask(unknown).kind]).toEqual(['grant', 'grant'])
  expect(pool.key('a').batch.inFlight).toBe(0)
})

it('explain says what a batch would get, and for how long it is kept from a key', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 2 }])
  const question = (more: Pick<Ask, 'class'>) =>
    explain(
      pool.state,
      {
        asked: modelId('vendor/model'),
        models: [modelId('vendor/model')],
        affinity: null,
        tokens: 0,
        ...(more.class === undefined ? {} : { class: more.class }),
      },
      pool.now(),
      seededRandom(1),
    )
  pool.grant(BATCH)
  expect(question({}).chosen?.key).toBe('a')
  const answer = question(BATCH)
  expect(answer).toMatchObject({ chosen: null, refusal: kept(1) })
  expect(answer.waits).toBeUndefined()
  expect(answer.keys[0]).toMatchObject({ eligible: false, reasons: ['kept_for_interactive'] })
})

it('a lease that the pool has forgotten is the batch’s again when its isolate tells of it', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 2 }])
  begin(
    { state: pool.state, nowMs: pool.now(), random: seededRandom(1) },
    {
      leaseId: leaseId('forgotten:1'),
      keyId: pool.key('a').id,
      isolate: isolateId('forgotten'),
      clientId: clientId('client'),
      model: modelId('vendor/model'),
      grantedAtMs: pool.now() - 1_000,
      tokens: 0,
      leaseMs: 60_000,
      conversation: 'talk',
      ...BATCH,
    },
  )
  expect(pool.key('a').batch.inFlight).toBe(1)
  expect(pool.state.affinities.young.size).toBe(0)
  expect(pool.refusal(BATCH)).toMatchObject(kept(1))
  expect(pool.ask().kind).toBe('grant')
})

it('a client’s limits hold for its batch as for any request', () => {
  const pool = drivePool(['a'], { clients: [{ id: 'app', maxConcurrent: 1 }] })
  pool.grant({ ...BATCH, client: 'app' })
  expect(pool.refusal({ ...BATCH, client: 'app' })).toMatchObject({ cause: 'client' })
  const ofBudget = drivePool(['a'], {
    clients: [{ id: 'app', budgets: [budgetOf()] }],
  })
  ofBudget.grant({ ...BATCH, client: 'app', boundUsd: 0.75 })
  expect(ofBudget.refusal({ ...BATCH, client: 'app', boundUsd: 0.75 })).toMatchObject({
    quota: { kind: 'budget' },
  })
})
