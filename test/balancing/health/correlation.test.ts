import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createCorrelation,
  judgeFailure,
  noteSuccess,
} from '../../../src/balancing/health/correlation.ts'
import { keyId, modelId } from '../../../src/balancing/ids.ts'
import { snapshot } from '../../../src/balancing/snapshot.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const EIGHT = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
const DOWN = ['vendor/down'] as const

/** Sends one request for a model that is down: it fails with a key, and then with others. */
function failing(pool: PoolDriver, attempts: number): void {
  const tried: string[] = []
  for (let i = 0; i < attempts; i++) {
    const answer = pool.ask({ models: DOWN, tried, attempt: i === 0 ? 'first' : 'retry' })
    if (answer.kind !== 'grant') return
    tried.push(answer.keyId)
    pool.fail(answer)
  }
}

/** Sends a request to keys of which only `well` answers. Returns whether it was served. */
function isServedInThree(pool: PoolDriver): boolean {
  const tried: string[] = []
  while (tried.length < 3) {
    const answer = pool.ask({ tried, attempt: tried.length === 0 ? 'first' : 'retry' })
    if (answer.kind !== 'grant') return false
    if (answer.keyId === 'well') {
      pool.give(answer)
      return true
    }
    tried.push(answer.keyId)
    pool.fail(answer)
  }
  return false
}

const openOf = (pool: PoolDriver) =>
  snapshot(pool.state, pool.now()).keys.flatMap(({ id, breaker }) =>
    breaker === 'closed' ? [] : [id],
  )

describe('a model that is down', () => {
  it('opens no breaker, however many requests for it fail', () => {
    const pool = drivePool(EIGHT)
    for (let i = 0; i < 50; i++) {
      failing(pool, 4)
      pool.wait(500)
    }
    expect(openOf(pool)).toEqual([])
  })

  it('costs other models nothing', () => {
    const pool = drivePool(EIGHT.map((id) => ({ id, maxConcurrent: 1 })))
    for (let i = 0; i < 20; i++) failing(pool, 4)
    const served = EIGHT.map(() => pool.ask({ models: ['vendor/well'] }).kind)
    expect(served).toEqual(EIGHT.map(() => 'grant'))
  })

  it('leaves a key its failures with other models, and takes back only its own', () => {
    const pool = drivePool(['a', 'b'])
    pool.fail(pool.grantOf('a', { models: ['only/a'] }))
    pool.fail(pool.grantOf('a', { models: ['only/a'] }))
    // The third failure opens the breaker of a. It was the model's, as the next key shows.
    pool.fail(pool.grantOf('a', { models: DOWN }))
    expect(openOf(pool)).toEqual(['a'])
    pool.fail(pool.grantOf('b', { models: DOWN }))
    expect(openOf(pool)).toEqual([])
    pool.fail(pool.grantOf('a', { models: ['only/a'] }))
    expect(openOf(pool)).toEqual(['a'])
  })

  it('does not lengthen the cooldown of a key whose probe it was', () => {
    const pool = drivePool(['a', 'b'])
    pool.trip('a')
    pool.wait(60_000)
    pool.fail(pool.grantOf('a', { models: DOWN }))
    pool.fail(pool.grantOf('b', { models: DOWN }))
    // The next request probes at once, and its failure doubles the first cooldown, not the second.
    pool.fail(pool.grantOf('a', { models: ['only/a'] }))
    pool.wait(119_999)
    expect(pool.refusal({ tried: ['b'] }).reasons).toMatchObject({ breaker_open: 1 })
    pool.wait(1)
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it('counts against keys again once it has answered', () => {
    const pool = drivePool(['a', 'b'])
    failing(pool, 2)
    pool.give(pool.grant({ models: DOWN }))
    for (let i = 0; i < 3; i++) pool.fail(pool.grantOf('a', { models: DOWN }))
    expect(openOf(pool)).toEqual(['a'])
  })
})

describe('a key that is sick', () => {
  it('keeps its failures while other keys serve the same model', () => {
    const pool = drivePool(['sick', 'well'])
    for (let i = 0; i < 3; i++) {
      pool.fail(pool.grantOf('sick'))
      pool.give(pool.grantOf('well'))
    }
    expect(openOf(pool)).toEqual(['sick'])
  })

  it.each([1, 2, 3])('is found out beside another sick one, by chance of seed %d', (seed) => {
    const pool = drivePool(['a', 'b', 'well'], {}, seededRandom(seed))
    const served = Array.from({ length: 300 }, () => {
      pool.wait(100)
      return isServedInThree(pool)
    })
    expect(served.filter((isServed) => !isServed).length).toBeLessThanOrEqual(3)
    expect(openOf(pool)).toEqual(['a', 'b'])
  })
})

describe('the judgement', () => {
  const model = modelId('vendor/model')

  it('takes back every failure that it counted, once, and counts none while the model is at fault', () => {
    const failures = fc.array(
      fc.record({ key: fc.integer({ min: 0, max: 2 }), ok: fc.boolean() }),
      {
        maxLength: 60,
      },
    )
    fc.assert(
      fc.property(failures, (history) => {
        const correlation = createCorrelation()
        let since = { counted: 0, takenBack: 0, keys: new Set<number>() }
        for (const [i, { key, ok }] of history.entries()) {
          if (ok) noteSuccess(correlation, model)
          if (ok) since = { counted: 0, takenBack: 0, keys: new Set() }
          else failOnce(i, key)
        }
        function failOnce(atMs: number, key: number): void {
          since.keys.add(key)
          const isModels = since.keys.size > 1
          const verdict = judgeFailure(correlation, model, keyId(`${key}`), atMs)
          expect(verdict.kind).toBe(isModels ? 'models_fault' : 'counts')
          since.counted += Number(verdict.kind === 'counts')
          since.takenBack += verdict.kind === 'counts' ? 0 : verdict.takenBack.length
          expect(since.takenBack).toBe(isModels ? since.counted : 0)
        }
      }),
    )
  })

  it('remembers a bounded number of models', () => {
    const correlation = createCorrelation()
    for (let i = 0; i < 5_000; i++) {
      judgeFailure(correlation, modelId(`invented/${i}`), keyId('a'), i)
    }
    expect(correlation.young.size + correlation.old.size).toBeLessThanOrEqual(1_000)
  })
})
