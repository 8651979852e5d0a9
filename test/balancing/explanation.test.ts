import { expect, it } from 'vitest'
import { explain, type Question } from '../../src/balancing/explanation.ts'
import { clientId, modelId } from '../../src/balancing/ids.ts'
import { drivePool, type PoolDriver } from './pool-driver.ts'

const MODEL = modelId('vendor/model')

const explained = (pool: PoolDriver, more: Partial<Question> = {}) =>
  explain(
    pool.state,
    { asked: MODEL, models: [MODEL], affinity: null, tokens: 0, ...more },
    pool.now(),
    () => 0.5,
  )

it('names what is against each key, all of it, in the order of the reasons', () => {
  const pool = drivePool(
    [
      ...['free', { id: 'elsewhere' }, { id: 'off', disabled: true }],
      { id: 'busy', maxConcurrent: 1, rpm: 1 },
    ],
    { routes: [{ models: ['vendor/*'], keys: ['free', 'off', 'busy'] }] },
  )
  pool.grantOf('busy', { models: [MODEL] })
  const off = {
    scope: 'key',
    reason: 'key_spent',
    term: { kind: 'lookup', lapseMs: null },
  } as const
  pool.shrug(pool.grantOf('free', { models: [MODEL] }), off)
  const { keys } = explained(pool)
  expect(keys).toMatchObject([
    { key: 'free', eligible: false, reasons: ['key_spent'], clearsAtMs: null },
    { key: 'elsewhere', eligible: false, reasons: ['not_in_route'], clearsAtMs: null },
    { key: 'off', eligible: false, reasons: ['disabled'], clearsAtMs: null },
    { key: 'busy', eligible: false, reasons: ['at_max_concurrent', 'at_rpm'] },
  ])
})

it('says why nobody serves and when somebody may', () => {
  const pool = drivePool([{ id: 'a', rpm: 1 }])
  pool.give(pool.grant())
  const { chosen, refusal, keys } = explained(pool)
  expect(chosen).toBeNull()
  expect(refusal).toMatchObject({ kind: 'refusal', reasons: { at_rpm: 1 } })
  const [key] = keys
  expect(key).toMatchObject({ eligible: false, reasons: ['at_rpm'] })
  const clearsAtMs = key?.eligible === false ? (key.clearsAtMs ?? 0) : 0
  expect(clearsAtMs).toBeGreaterThan(pool.now())
  pool.at(clearsAtMs)
  expect(explained(pool).chosen).toMatchObject({ key: 'a', model: MODEL })
})

it('asks the limits of the client that is named, and of nobody else', () => {
  const pool = drivePool(['a'], { clients: [{ id: 'app', rpm: 1 }, { id: 'other' }] })
  pool.grant({ client: 'app' })
  expect(explained(pool, { clientId: clientId('app') }).limit).toMatchObject({
    kind: 'rate',
  })
  expect(explained(pool, { clientId: clientId('other') }).limit).toBeNull()
  expect(explained(pool).limit).toBeNull()
})

it('spends no turn: the next request gets what was explained, however often', () => {
  const pool = drivePool(['a', 'b', 'c'], { strategy: 'weighted' }, () => 0.5)
  const turns = [1, 2, 3, 4, 5, 6].map(() => {
    const said = [explained(pool), explained(pool)].map(({ chosen }) => chosen?.key)
    const { keyId } = pool.grant({ models: [MODEL] })
    expect(said).toEqual([keyId, keyId])
    return keyId
  })
  expect(new Set(turns).size).toBe(3)
})

it('takes no turn: turns by weight go on as if nobody had asked', () => {
  const setup = { strategy: 'weighted' } as const
  const keys = [{ id: 'a', weight: 3 }, { id: 'b', weight: 2 }, { id: 'c' }]
  const [asked, unasked] = [drivePool(keys, setup), drivePool(keys, setup)]
  for (let i = 0; i < 6; i++) {
    const chosen = [1, 2].map(() => explained(asked).chosen?.key)
    const { keyId } = unasked.grant()
    expect([...chosen, asked.grant().keyId]).toEqual([keyId, keyId, keyId])
  }
})

it('goes by the size and the class of the request', () => {
  const pool = drivePool(['a'])
  const terms = { clientId: clientId('c'), model: MODEL, grantedAtMs: 0, tokens: 0, size: 400 }
  const told = { outcome: 'ignorable', fault: 'account', tooLargeFor: 'key', lease: terms } as const
  pool.give(pool.grant(), told)
  expect(explained(pool, { size: 399 }).chosen?.key).toBe('a')
  expect(explained(pool, { size: 400 }).refusal?.reasons).toEqual({ too_large_for_key: 1 })
  const small = drivePool([{ id: 'a', maxConcurrent: 2 }])
  small.grant({ class: 'batch' })
  expect(explained(small).chosen?.key).toBe('a')
  expect(explained(small, { class: 'batch' }).refusal?.reasons).toEqual({ kept_for_interactive: 1 })
})

it('knows no limit of a request that is nobody’s, and that of a client', () => {
  const pool = drivePool(['a'], { clients: [{ id: 'client', rpm: 1 }] })
  pool.grant()
  expect(explained(pool).limit).toBeNull()
  expect(explained(pool, { clientId: clientId('client') }).limit).toMatchObject({ kind: 'rate' })
})

it('says of a key that is only full that it is', () => {
  const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
  pool.grant()
  expect(explained(pool).keys).toMatchObject([{ key: 'a', reasons: ['at_max_concurrent'] }])
})
