import { runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { keyId, modelId } from '../../src/balancing/ids.ts'
import { KeyPool } from '../../src/key-pool/durable-object.ts'
import * as names from '../wire-names.ts'
import { FIRST_RELEASE_ROWS, WRITTEN_AT_MS } from './first-release-rows.ts'
import { deployed, keyOf, leaseRequestOf, NOTHING, newPool } from './object-driver.ts'

// What today's code writes down has the names that it had in the first release.

beforeEach(
  () =>
    void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: WRITTEN_AT_MS }),
)
afterEach(() => void vi.useRealTimers())

const USAGE = {
  ...{ promptTokens: 10, completionTokens: 5, cachedTokens: 0, reasoningTokens: 0 },
  ...{ costUsd: 0.25, estimated: false },
}

/** Kinds of rows that the first release did not write. */
const LATER_KINDS: readonly string[] = ['spend', 'alert']

interface Row extends Record<string, string> {
  kind: string
  id: string
  record: string
}

/** The rows after a pool with all of that was read and written again. */
async function rewritten(): Promise<readonly Row[]> {
  const pool = newPool()
  await runInDurableObject(pool, (_, { storage }) => {
    const insert = 'INSERT OR REPLACE INTO records (kind, id, record) VALUES (?, ?, ?)'
    for (const row of FIRST_RELEASE_ROWS) storage.sql.exec(insert, ...row)
  })
  const keys = [
    { ...keyOf('alpha'), account: 'acme', rpm: 100, tpm: 100_000 },
    { ...keyOf('beta'), account: 'acme', weight: 3 },
    { ...keyOf('gamma'), account: 'globex' },
    keyOf('delta'),
    { ...keyOf('epsilon'), account: 'initech' },
    { ...keyOf('zeta'), account: 'hooli', max_spend: { usd: 5, period: 'day' } },
  ]
  await deployed(pool, { keys, policy: { strategy: 'weighted' } }, (object) => {
    for (let i = 0; i < 3; i++) {
      const triedKeys = keys.map(({ id }) => keyId(id)).filter((id) => id !== 'gamma')
      const wants = [leaseRequestOf({ triedKeys, models: [modelId('vendor/other')] })]
      const [decision] = object.exchange({ ...NOTHING, wants }).decisions
      if (decision?.kind !== 'grant') throw new Error('Refused')
      const failure = { outcome: 'failure', fault: 'unknown', benches: [], suspect: false } as const
      const { leaseId } = decision
      object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId: decision.keyId, ...failure }] })
    }
    const others = keys.map(({ id }) => keyId(id)).filter((id) => id !== 'zeta')
    const spend = object.exchange({
      ...NOTHING,
      wants: [leaseRequestOf({ triedKeys: others, models: [modelId('vendor/third')] })],
    })
    const [granted] = spend.decisions
    if (granted?.kind !== 'grant') throw new Error('Refused')
    const took = { firstOutputMs: 300, tookMs: 900 }
    const ended = {
      outcome: 'success',
      benches: [],
      suspect: false,
      usage: USAGE,
      ...took,
    } as const
    const { leaseId, keyId: zeta } = granted
    object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId: zeta, ...ended }] })
    // A settlement that changes each key's record, so that every one is written anew.
    for (let i = 0; i < 9; i++) {
      const [decision] = object.exchange({ ...NOTHING, wants: [leaseRequestOf()] }).decisions
      if (decision?.kind !== 'grant') continue
      const { leaseId, keyId: served } = decision
      const scopes = ['key', 'account', 'account_free', 'account_model', 'model'] as const
      const benches = scopes.map((scope) => ({
        scope,
        reason: 'account_rate_limited' as const,
        detail: 'key_rate_limited' as const,
        term: { kind: 'until' as const, untilMs: Date.now() + 1_000 },
      }))
      const ended = { outcome: 'failure', fault: 'upstream', benches, suspect: false } as const
      object.exchange({ ...NOTHING, settlements: [{ leaseId, keyId: served, ...ended }] })
    }
    const counters = { hits: 1, joins: 1, misses: 1, bypasses: 1, keptBytes: 1, savedUsd: 1 }
    object.exchange({ ...NOTHING, cache: [{ mark: 'isolate:1', counters }] })
    vi.advanceTimersByTime(5_000)
  })
  return await runInDurableObject(pool, (_, { storage }) =>
    storage.sql.exec<Row>('SELECT kind, id, record FROM records').toArray(),
  )
}

it('stored fields and the parts of a checkpoint keep their names', async () => {
  const rows = await rewritten()
  const parts = rows.filter(({ kind }) => kind === 'checkpoint').map(({ id }) => id)
  expect(parts.toSorted()).toEqual(names.CHECKPOINT_PARTS)
  expect([...new Set(rows.map(({ kind }) => kind))].toSorted()).toEqual(
    Object.keys(names.STORED_FIELDS).toSorted(),
  )
  for (const [kind, expected] of Object.entries(names.STORED_FIELDS)) {
    const records = rows.filter((row) => row.kind === kind).map((row) => JSON.parse(row.record))
    expect([...names.fieldNames(records)].toSorted(), kind).toEqual(expected)
  }
})

it('no name of the first release is gone', () => {
  for (const [kind, known] of Object.entries(names.STORED_FIELDS)) {
    if (LATER_KINDS.includes(kind)) continue
    const records = FIRST_RELEASE_ROWS.filter(([of]) => of === kind)
    const written = names.fieldNames(records.map(([, , record]) => JSON.parse(record)))
    expect(
      [...written].filter((name) => !new Set<string>(known).has(name)),
      kind,
    ).toEqual([])
    expect(written.size, kind).toBeGreaterThan(0)
  }
})

it('the object answers under the same names', () => {
  const methods = Object.getOwnPropertyNames(KeyPool.prototype).filter(
    (name) => name !== 'constructor',
  )
  expect(methods.toSorted()).toEqual(names.OBJECT_METHODS)
})
