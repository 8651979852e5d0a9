import { describe, expect, it } from 'vitest'
import { clientId, leaseId, modelId } from '../../src/balancing/ids.ts'
import { takeChanges } from '../../src/balancing/records/changed-records.ts'
import { takeLookupDuties } from '../../src/balancing/serving/duty-hand-out.ts'
import type { BenchOrder, Settlement } from '../../src/balancing/settlement.ts'
import { orderOnly } from './operators/operator-order.ts'
import { drivePool, type PoolDriver, usageOf } from './pool-driver.ts'

const written = ({ state }: PoolDriver) => takeChanges(state).keys.map(({ id }) => id)

const forgotten = (pool: PoolDriver, id: string, told: Partial<Settlement> = {}) =>
  pool.give({ ...pool.grantOf(id), leaseId: leaseId(`forgotten-${id}`) }, told)

const FAILED = { outcome: 'failure', fault: 'upstream' } as const

describe('what answers cost, on average', () => {
  const costs = (...answers: (readonly [usd: number, tokens: number, estimated?: true])[]) => {
    const pool = drivePool(['a'])
    for (const [usd, tokens, estimated = false] of answers) {
      pool.give(pool.grant(), { usage: { ...usageOf(tokens, 0, usd), estimated } })
    }
    return [pool.state.meanCostUsd, pool.state.meanTokenUsd]
  }

  it('is that of the first one, and moves by a twentieth with each that follows', () => {
    expect(costs([1, 10])).toEqual([1, 0.1])
    expect(costs([1, 10], [3, 10])).toEqual([expect.closeTo(1.1), expect.closeTo(0.11)])
  })

  it('does not move by estimates, nor that of a token by answers without any', () => {
    expect(costs([1, 10], [9, 10, true])).toEqual([1, 0.1])
    expect(costs([1, 10], [3, 0])).toEqual([expect.closeTo(1.1), 0.1])
  })
})

describe('how fast a key spends', () => {
  it('is unknown until an answer has cost something', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { usage: usageOf(1, 1, 0) })
    expect(pool.key('a').spendRate).toBeNull()
    pool.give(pool.grant(), { usage: usageOf(1, 1, 1) })
    expect(pool.key('a').spendRate).not.toBeNull()
  })
})

describe('how long leases of a key last', () => {
  it('is the time of the first one, and moves by a fifth with each that follows', () => {
    const pool = drivePool(['a'])
    for (const [ms, mean] of [
      [1_000, 1_000],
      [2_000, 1_200],
    ] as const) {
      const lease = pool.grant()
      pool.wait(ms)
      pool.give(lease)
      expect(pool.key('a').meanHoldMs).toBe(mean)
    }
  })

  it('is not told by one that had expired, nor by one that is forgotten', () => {
    const pool = drivePool(['a'])
    const lease = pool.grant({ leaseMs: 1_000 })
    pool.wait(5_000)
    pool.wake()
    pool.give(lease)
    forgotten(pool, 'a')
    expect(pool.key('a').meanHoldMs).toBeNull()
  })
})

describe('the tokens of a minute', () => {
  it.each([
    ['what was used, if it is less than was reserved', usageOf(20, 10, 0), 30],
    ['as much as was reserved', usageOf(60, 40, 0), 100],
    ['if it is more', usageOf(100, 50, 0), 150],
  ])('are %s', (_, usage, total) => {
    for (const ask of [{}, { class: 'batch' as const }]) {
      const pool = drivePool([{ id: 'a', tpm: 1_000 }])
      pool.give(pool.grant({ tokens: 100, ...ask }), { usage })
      expect(pool.key('a').tpm?.window.total).toBe(total)
      expect(pool.key('a').batch.tpm.total).toBe('class' in ask ? total : 0)
    }
  })
})

describe('a lease that no call was made with', () => {
  const undone = (ask: object) => {
    const pool = drivePool([{ id: 'a', rpm: 10, tpm: 1_000 }], {
      retryBudget: { ratio: 0.5, minPerSecond: 0 },
    })
    for (let i = 0; i < 4; i++) {
      pool.give(pool.grant())
      pool.give(pool.grant({ class: 'batch' }))
    }
    const tokens = () => [
      pool.state.retryBudget.ceiling.tokens,
      pool.state.batches.retryBudget.ceiling.tokens,
    ]
    const sums = () => {
      const { rpm, tpm, batch } = pool.key('a')
      return [rpm, tpm, { window: batch.rpm }, { window: batch.tpm }].map(
        (one) => one?.window.total,
      )
    }
    const before = [...tokens(), ...sums()]
    pool.give(pool.grant({ tokens: 100, ...ask }), { outcome: 'ignorable', unused: true })
    return { before, after: [...tokens(), ...sums()] }
  }

  it.each([
    ['of a first attempt', {}],
    ['of a retry', { attempt: 'retry' }],
    ['of a move to another key', { attempt: 'move' }],
    ['of a batch', { class: 'batch' }],
    ['of a batch’s retry', { class: 'batch', attempt: 'retry' }],
  ])('gives back what it took: one %s', (_, ask) => {
    const { before, after } = undone(ask)
    expect(after).toEqual(before)
  })

  it('leaves the probe to the next request', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    pool.wait(60_000)
    const probe = pool.grant()
    expect(pool.refusal().reasons).toEqual({ half_open_busy: 1 })
    pool.give(probe, { outcome: 'ignorable', unused: true })
    expect(pool.grant().keyId).toBe('a')
  })
})

describe('a breaker', () => {
  it('is written when it changes, and not with each success', () => {
    const pool = drivePool(['a', 'b'])
    pool.give(pool.grantOf('a'))
    expect(written(pool)).toEqual([])
    pool.fail(pool.grantOf('a'))
    expect(written(pool)).toEqual(['a'])
  })

  it('that its probe closes begins an epoch, in which what began before says nothing', () => {
    const pool = drivePool(['a'])
    const before = [1, 2, 3].map(() => pool.grant({ models: ['only/a'] }))
    pool.trip('a')
    pool.wait(60_000)
    pool.give(pool.grant())
    expect(pool.key('a').epoch).toBe(1)
    for (const lease of before) pool.fail(lease)
    expect(pool.key('a').breaker.kind).toBe('closed')
    pool.give(pool.grant())
    expect(pool.key('a').epoch).toBe(1)
  })

  it('counts a failure whose lease is forgotten, in panic or not', () => {
    const pool = drivePool(['a'])
    forgotten(pool, 'a', FAILED)
    expect(pool.key('a').breaker).toMatchObject({ failuresAtMs: [pool.now()] })
  })

  it('counts no failure but upstream’s as the model’s, nor one of a model that nobody knows', () => {
    const pool = drivePool(['a', 'b'])
    for (const fault of ['key', 'account', 'unknown'] as const) {
      for (const id of ['a', 'b']) pool.give(pool.grantOf(id), { outcome: 'failure', fault })
    }
    expect([pool.key('a').breaker.kind, pool.key('b').breaker.kind]).toEqual(['open', 'open'])
    const other = drivePool(['a', 'b'])
    for (const id of ['a', 'b']) forgotten(other, id, FAILED)
    for (const id of ['a', 'b']) {
      expect(other.key(id).breaker).toMatchObject({ failuresAtMs: [other.now()] })
    }
  })
})

describe('a model that fails with two keys', () => {
  const failing = (...benches: BenchOrder[]) => {
    const pool = drivePool(['a', 'b'], {
      routes: [{ models: ['vendor/*'], fallback: ['vendor/last'] }],
    })
    pool.fail(pool.grantOf('a'), ...benches)
    written(pool)
    pool.fail(pool.grantOf('b'), ...benches)
    return pool
  }
  const ofModel = (forMs: number): BenchOrder => ({
    scope: 'key_model',
    reason: 'account_rate_limited',
    term: { kind: 'until', untilMs: drivePool(['a']).now() + forMs },
  })

  it('is at fault itself: what was counted of the first is taken back, and written', () => {
    const pool = failing()
    expect(pool.key('a').breaker).toMatchObject({ failuresAtMs: [] })
    expect(pool.key('b').breaker).toMatchObject({ failuresAtMs: [] })
    expect(written(pool)).toEqual(['a'])
    expect([...pool.state.modelBenches.keys()]).toEqual(['vendor/model'])
  })

  it('rests for a quarter of a minute, or for as long as upstream says', () => {
    const untilMs = (pool: PoolDriver) =>
      (pool.state.modelBenches.get(modelId('vendor/model'))?.untilMs ?? 0) - pool.now()
    expect(untilMs(failing())).toBeGreaterThanOrEqual(15_000)
    expect(untilMs(failing())).toBeLessThan(20_000)
    expect(untilMs(failing(ofModel(40_000)))).toBe(40_000)
    expect(untilMs(failing({ ...ofModel(40_000), scope: 'account_model' }))).toBeLessThan(20_000)
  })

  it('is not benched for the first key any more, and that is written', () => {
    const pool = failing(ofModel(40_000))
    expect(pool.key('a').modelBenches.size).toBe(0)
    expect(written(pool)).toEqual(['a'])
  })
})

describe('what an attempt says that began before its key was reset', () => {
  it('is not learned, but what it took and cost is', () => {
    const pool = drivePool([{ id: 'a', tpm: 1_000 }])
    const lease = pool.grant({ tokens: 100 })
    pool.wait(1)
    orderOnly(pool, 'reset', 'a')
    pool.give(lease, {
      ...FAILED,
      suspect: true,
      affordableTokens: 5,
      usage: usageOf(5, 5, 1),
      firstOutputMs: 9,
    })
    expect(pool.key('a')).toMatchObject({ breaker: { failuresAtMs: [] }, affordableTokens: null })
    expect(pool.key('a').tpm?.window.total).toBe(10)
    expect(pool.key('a').latency).not.toBeNull()
    expect(pool.state.meanCostUsd).toBe(1)
  })
})

describe('an attempt', () => {
  it('that met an error which no rule is for is noted', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant())
    pool.give(pool.grant(), { ...FAILED, unknownError: '500 odd' })
    expect([...pool.state.alerts.unknownErrors]).toMatchObject([['500 odd', { count: 1 }]])
  })

  it('that puts its key in doubt has it looked up', () => {
    const pool = drivePool(['a'])
    takeLookupDuties(pool.state, pool.now())
    pool.lookUp('a', 5)
    pool.give(pool.grant())
    expect(takeLookupDuties(pool.state, pool.now())).toEqual([])
    pool.give(pool.grant(), { outcome: 'failure', fault: 'key', suspect: true })
    expect(takeLookupDuties(pool.state, pool.now())).toHaveLength(1)
  })

  it('that tells no time to its first output leaves what is known of it', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { firstOutputMs: 100 })
    const { latency } = pool.key('a')
    pool.give(pool.grant())
    expect(pool.key('a').latency).toEqual(latency)
    expect(latency).not.toBeNull()
  })

  it('says what its key can pay for, until the next says it', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { ...FAILED, affordableTokens: 5 })
    pool.give(pool.grant())
    expect(pool.key('a').affordableTokens).toBe(5)
  })

  const lease = { clientId: clientId('c'), model: modelId('m'), grantedAtMs: 0, tokens: 0 }
  const large = { ...lease, size: 400 }

  it.each([
    ['a request that was too large for the key', 'key', large, [400, null]],
    ['for its account', 'account', large, [null, 400]],
    ['of a size that nobody knows', 'key', lease, [null, null]],
    ['that was not too large', undefined, large, [null, null]],
  ] as const)('notes the size of %s', (_, tooLargeFor, terms, sizes) => {
    const pool = drivePool(['a'])
    const told = tooLargeFor === undefined ? {} : { tooLargeFor }
    pool.give(pool.grant(), { outcome: 'ignorable', fault: 'account', lease: terms, ...told })
    const { tooLarge, account } = pool.key('a')
    const sizeOf = (note: typeof tooLarge) => (note === null ? null : note.size)
    expect([sizeOf(tooLarge), sizeOf(account.tooLarge)]).toEqual(sizes)
  })

  it('of before an account’s reset notes no size of it', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
    ])
    const granted = pool.grantOf('a')
    pool.wait(1)
    orderOnly(pool, 'reset', 'b')
    pool.give(granted, {
      outcome: 'ignorable',
      fault: 'account',
      lease: large,
      tooLargeFor: 'account',
    })
    expect(pool.key('a').account.tooLarge).toBeNull()
  })
})
