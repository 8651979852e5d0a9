import { describe, expect, it } from 'vitest'
import { clientId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { isStoredModel } from '../../../src/balancing/serving/bench-feedback.ts'
import type { BenchOrder, BenchScope } from '../../../src/balancing/settlement.ts'
import { order } from '../operators/operator-order.ts'
import { drivePool, type PoolDriver, START_MS, usageOf } from '../pool-driver.ts'

const MODEL = 'vendor/model'

const benching = (scope: BenchScope, forMs = 60_000): BenchOrder => ({
  scope,
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs: START_MS + forMs },
})

/** Two keys of one account, whose creator and workspace are known. */
function grouped(): PoolDriver {
  const keys = ['a', 'b'].map((id) => ({ id, account: 'acme' }))
  const routes = [{ models: ['vendor/*'], fallback: ['vendor/last'] }] as const
  const pool = drivePool(keys, { routes })
  for (const id of ['a', 'b']) pool.lookUp(id, null, { creator: 'carol', workspace: 'lab' })
  takeChanges(pool.state)
  return pool
}

function changesOf({ state }: PoolDriver) {
  const { keys, accounts, models } = takeChanges(state)
  const ids = [...keys, ...accounts].map(({ id }) => id)
  return models === null ? ids : [...ids, ...models.keys()]
}

describe('what is benched is written in the same step, with the scope', () => {
  it.each<[BenchScope, string]>([
    ['key', 'a'],
    ['key_model', 'a'],
    ['account', 'acme'],
    ['account_free', 'acme'],
    ['account_model', 'acme'],
    ['creator', 'creator/carol'],
    ['workspace', 'workspace/lab'],
    ['model', MODEL],
  ])('%s', (scope, id) => {
    const pool = grouped()
    pool.shrug(pool.grantOf('a'), benching(scope))
    expect(changesOf(pool)).toEqual([id])
  })
})

describe('what began before an operator’s reset of a sister benches nothing that they share', () => {
  it.each<[BenchScope, number]>([
    ['account', 0],
    ['account_free', 0],
    ['account_model', 0],
    ['creator', 0],
    ['workspace', 0],
    ['key', 1],
    ['key_model', 1],
    ['model', 1],
  ])('with the scope %s', (scope, written) => {
    const pool = grouped()
    const lease = pool.grantOf('a')
    pool.wait(1)
    order(pool, 'reset', 'b')
    takeChanges(pool.state)
    pool.shrug(lease, benching(scope))
    expect(changesOf(pool)).toHaveLength(written)
  })
})

describe('a model of a key', () => {
  it('is benched for that key and that model', () => {
    const pool = grouped()
    pool.shrug(pool.grantOf('a'), benching('key_model'))
    expect(pool.refusal({ tried: ['b'] }).reasons).toMatchObject({ account_rate_limited: 1 })
    expect(pool.grantOf('b').keyId).toBe('b')
    expect(pool.grantOf('a', { model: 'vendor/other' }).keyId).toBe('a')
  })

  it('is not for what a key showed before it recovered', () => {
    const pool = drivePool(['a'])
    const lease = pool.grant({ model: MODEL })
    pool.trip('a')
    pool.wait(60_000)
    pool.give(pool.grant({ model: MODEL }))
    pool.shrug(lease, benching('key_model', 600_000), benching('key', 600_000))
    expect(pool.key('a')).toMatchObject({ bench: null, modelBenches: new Map() })
  })

  it('is not if the model fails with every key, or is not known', () => {
    const pool = grouped()
    for (const id of ['a', 'b']) pool.fail(pool.grantOf(id), benching('key_model'))
    expect([pool.key('a').modelBenches.size, pool.key('b').modelBenches.size]).toEqual([0, 0])
    const unknown = { ...pool.grantOf('a'), leaseId: leaseId('forgotten') }
    pool.shrug(unknown, benching('key_model'), benching('account_model'), benching('model'))
    expect(pool.key('a').modelBenches.size).toBe(0)
    expect(pool.key('a').account.modelBenches.size).toBe(0)
    expect([...pool.state.modelBenches.keys()]).toEqual([MODEL])
  })

  it('is one of fifty at most', () => {
    const pool = drivePool(['a'])
    for (let i = 0; i < 60; i++) {
      pool.shrug(pool.grantOf('a', { model: `m${i}` }), benching('key_model'))
    }
    expect(pool.key('a').modelBenches.size).toBe(50)
  })
})

describe('the free tier of an account', () => {
  const refused = (model: string, before?: (pool: PoolDriver) => void) => {
    const pool = drivePool(['a'])
    before?.(pool)
    pool.shrug(pool.grantOf('a', { model }), benching('account_free'))
    return [...pool.key('a').account.modelBenches.keys()]
  }

  it('is benched with the name that was refused, if that does not tell that it is free', () => {
    expect(refused(MODEL)).toEqual([MODEL])
    expect(refused('vendor/model:free')).toEqual([])
    expect(refused('openrouter/free')).toEqual([])
  })

  it('is benched without it if somebody has paid for that model', () => {
    const paid = (usd: number) => (pool: PoolDriver) =>
      pool.give(pool.grantOf('a'), { usage: usageOf(1, 1, usd) })
    expect(refused(MODEL, paid(0.01))).toEqual([])
    expect(refused(MODEL, paid(0))).toEqual([MODEL])
  })

  it('is benched without it if nobody knows the model', () => {
    const pool = drivePool(['a'])
    pool.shrug({ ...pool.grant(), leaseId: leaseId('forgotten') }, benching('account_free'))
    expect(pool.key('a').account).toMatchObject({ freeBench: { untilMs: START_MS + 60_000 } })
    expect(pool.key('a').account.modelBenches.size).toBe(0)
  })
})

describe('a bench of a budget that covers nobody knows which keys', () => {
  it.each(['creator', 'workspace'] as const)('%s: benches the key', (scope) => {
    const pool = drivePool(['a', 'b'])
    pool.shrug(pool.grantOf('a'), benching(scope))
    expect(pool.key('a').bench).toMatchObject({ untilMs: START_MS + 60_000 })
    expect(pool.key('b').bench).toBeNull()
  })
})

it('a new bench of an account forgets which keys had nothing left in the last one', () => {
  const pool = grouped()
  const { account } = pool.key('a')
  const begun = [1, 2, 3].map(() => pool.grantOf('a'))
  account.keysWithoutRoom.add(pool.key('b').id)
  const [first, second, third] = begun
  if (!(first && second && third)) throw new Error('not granted')
  pool.shrug(first, benching('account'))
  expect(account.keysWithoutRoom.size).toBe(0)
  account.keysWithoutRoom.add(pool.key('b').id)
  pool.shrug(second, benching('account', 90_000))
  expect(account.keysWithoutRoom.size).toBe(1)
  pool.wait(90_000)
  pool.shrug(third, benching('account', 200_000))
  expect(account.keysWithoutRoom.size).toBe(0)
})

describe('a model that a route names beside others', () => {
  const { state } = drivePool(['a'], {
    routes: [
      { models: ['vendor/*', 'alone/model'], fallback: ['other/last'] },
      { models: ['plain/*'] },
    ],
  })

  it.each([
    ['vendor/model', true],
    ['alone/model', true],
    ['other/last', true],
    ['other/first', false],
    ['plain/model', false],
  ])('%s: %s', (model, isSo) => {
    expect(isStoredModel(state, modelId(model))).toBe(isSo)
  })

  it('is written when its bench begins, and when a success ends it, and not between', () => {
    const pool = grouped()
    const begun = [1, 2, 3].map(() => pool.grantOf('a'))
    const [first, second, third] = begun
    if (!(first && second && third)) throw new Error('not granted')
    pool.shrug(first, benching('model'))
    expect(changesOf(pool)).toEqual([MODEL])
    pool.shrug(second, benching('model', 90_000))
    expect(changesOf(pool)).toEqual([])
    pool.give(third)
    expect(takeChanges(pool.state).models).toEqual(new Map())
    pool.give(pool.grantOf('a'))
    expect(takeChanges(pool.state).models).toBeNull()
  })

  it('is not written if its bench has ended by itself, or if no route names it so', () => {
    const pool = grouped()
    pool.shrug(pool.grantOf('a'), benching('model'))
    pool.wait(60_000)
    takeChanges(pool.state)
    pool.give(pool.grantOf('a'))
    expect(takeChanges(pool.state).models).toBeNull()
    pool.shrug(pool.grantOf('a', { model: 'other/model' }), benching('model', 200_000))
    expect(takeChanges(pool.state).models).toBeNull()
  })
})

it('a 401 is the key’s own unless it is one of many', () => {
  const rejected: BenchOrder = {
    scope: 'key',
    reason: 'key_rejected',
    term: { kind: 'lookup', lapseMs: null },
  }
  const told = { outcome: 'failure', fault: 'key', suspect: true, benches: [rejected] } as const
  const pool = drivePool(['a', 'b', 'c'])
  pool.give(pool.grantOf('a'), told)
  expect(pool.key('a').bench).toMatchObject({ untilMs: null })
  pool.shrug(pool.grantOf('b'), { ...rejected, reason: 'account_rate_limited' })
  const begun = pool.grantOf('c')
  pool.give(begun, told)
  // All keys of two accounts: now every other reason still lasts as long as it says.
  pool.wait(5_500)
  const lease = {
    clientId: clientId('c'),
    model: modelId(MODEL),
    grantedAtMs: pool.now(),
    tokens: 0,
  }
  const late = { ...begun, leaseId: leaseId('late') }
  pool.give(late, { ...told, lease, benches: [{ ...rejected, reason: 'key_spent' }] })
  expect(pool.key('c').bench).toMatchObject({ reason: 'key_spent', untilMs: null })
})

describe('a bench that keys share', () => {
  it.each(['account', 'creator', 'workspace'] as const)(
    'with the scope %s: is of those at once that were well a moment ago',
    (scope) => {
      const accounts = scope === 'account' ? ['acme', 'acme', 'c'] : ['a', 'b', 'c']
      const pool = drivePool(['a', 'b', 'c'].map((id, i) => ({ id, account: accounts[i] ?? id })))
      for (const [i, id] of ['a', 'b', 'c'].entries()) {
        const named = (kind: string) => (kind === scope && i < 2 ? 'shared' : `${kind}-of-${id}`)
        pool.lookUp(id, null, { creator: named('creator'), workspace: named('workspace') })
      }
      const lease = pool.grantOf('a')
      for (const id of ['b', 'c']) expect(pool.grantOf(id).keyId).toBe(id)
      pool.shrug(lease, benching(scope))
      expect(pool.refusal({ tried: ['c'] }).reasons).toEqual({
        ...{ account_rate_limited: 2, already_tried: 1 },
      })
      expect(pool.grantOf('c').keyId).toBe('c')
    },
  )
})
