import { runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { clientId } from '../../src/balancing/ids.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { FIRST_RELEASE_ROWS, WRITTEN_AT_MS } from './first-release-rows.ts'
import { deployed, keyOf, newPool } from './object-driver.ts'

// A release that is rolled back finds rows of the one that came after it, with words in them that it
// does not know. Each word may cost the entry that it stands in, and nothing beside it.

beforeEach(
  () =>
    void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: WRITTEN_AT_MS }),
)
afterEach(() => void vi.useRealTimers())

/** The object over the first release's rows, with one word of one kind of row replaced. */
async function overRowsWith<T>(
  [kind, id]: readonly [string, string],
  [known, unknown]: readonly [string | RegExp, string],
  use: (object: KeyPool) => T,
): Promise<T> {
  const pool = newPool()
  let replaced = 0
  await runInDurableObject(pool, (_, { storage }) => {
    for (const [rowKind, rowId, record] of FIRST_RELEASE_ROWS) {
      const isMeant = rowKind === kind && rowId === id
      const changed = isMeant ? record.replace(known, unknown) : record
      replaced += Number(changed !== record)
      storage.sql.exec(
        'INSERT OR REPLACE INTO records (kind, id, record) VALUES (?, ?, ?)',
        ...[rowKind, rowId, changed],
      )
    }
  })
  expect(replaced).toBe(1)
  const keys = [
    ...[
      { ...keyOf('alpha'), account: 'acme' },
      { ...keyOf('beta'), account: 'acme', weight: 3 },
    ],
    ...[{ ...keyOf('gamma'), account: 'globex' }, keyOf('delta')],
    { ...keyOf('epsilon'), account: 'initech' },
  ]
  return await deployed(pool, { keys }, use)
}

const attemptsOf = (object: KeyPool) =>
  object.snapshot().keys.map(({ id, total: { attempts } }) => [id, attempts])

const ALL_ATTEMPTS = [
  ['alpha', 2],
  ['beta', 3],
  ['gamma', 2],
  ['delta', 2],
  ['epsilon', 1],
]

it('a fault that is not known costs no counter', async () => {
  await overRowsWith(['checkpoint', 'counters'], [/"upstream":/, '"moonlight":'], (object) => {
    expect(attemptsOf(object)).toEqual(ALL_ATTEMPTS)
    expect(object.spending(clientId('tester')).totalUsd).toBe(0.25)
  })
})

it('a kind of credit that is not known costs that key’s credit alone', async () => {
  await overRowsWith(
    ['checkpoint', 'counters'],
    ['"kind":"known"', '"kind":"guessed"'],
    (object) => {
      expect(attemptsOf(object)).toEqual(ALL_ATTEMPTS)
      expect(object.snapshot().keys.filter(({ credit }) => credit !== null)).toHaveLength(2)
    },
  )
})

it('a breaker that is not known is closed, and the key keeps the rest', async () => {
  await overRowsWith(['key', 'beta'], ['"kind":"open"', '"kind":"ajar"'], (object) => {
    const beta = object.snapshot().keys.find(({ id }) => id === 'beta')
    expect(beta).toMatchObject({ breaker: 'closed', total: { attempts: 3 } })
    expect(attemptsOf(object)).toEqual(ALL_ATTEMPTS)
  })
})

it('a bench that is not known is none, and the key’s owner is still known', async () => {
  await overRowsWith(['key', 'delta'], ['"key_spent"', '"key_dreaming"'], (object) => {
    const delta = object.snapshot().keys.find(({ id }) => id === 'delta')
    expect(delta).toMatchObject({ reason: null, account: 'user_delta' })
  })
})

it('an account’s bench that is not known leaves its others', async () => {
  const words = ['"freeBench":{"reason":"account_rate_limited"', '"freeBench":{"reason":"odd"']
  await overRowsWith(['account', 'globex'], [words[0] ?? '', words[1] ?? ''], (object) => {
    const question = { affinity: null, tokens: 0 }
    const about = (model: string) =>
      object.explain({ ...question, asked: model as never, models: [model as never] })
    const gamma = (model: string) => about(model).keys.find(({ key }) => key === 'gamma')
    expect(gamma('vendor/other:free')).toMatchObject({ eligible: true })
    expect(gamma('vendor/model')).toMatchObject({ eligible: false })
  })
})

it('a generation or a lease that is not understood costs itself', async () => {
  await overRowsWith(
    ['checkpoint', 'generations'],
    ['"keyId":"alpha"', '"keyIs":"alpha"'],
    (object) => {
      expect(object.keyForGeneration('gen-1700000000-first', clientId('tester'))).toBeNull()
      expect(object.keyForGeneration('gen-1700000000-second', clientId('app-two'))).toBe('gamma')
    },
  )
})
