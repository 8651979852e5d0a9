import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPool } from '../../src/balancing/pool-state.ts'
import { PoolHost } from '../../src/key-pool/host.ts'
import { createStore, type RecordRow } from '../../src/key-pool/rows/record-store.ts'
import { keyConfig, POLICY, routeConfig } from '../balancing/pool-driver.ts'
import { createInMemoryRows } from '../gateway/in-memory-rows.ts'
import { planted } from '../planted.ts'
import { fuzz } from '../property-limits.ts'
import { FIRST_RELEASE_ROWS, WRITTEN_AT_MS } from './first-release-rows.ts'

// Rows may be of any shape: of another release, or half of one. A wrong one costs itself.

const GOOD: readonly RecordRow[] = FIRST_RELEASE_ROWS.map(([kind, id, record]) => ({
  kind,
  id,
  record,
}))

function storeOver(rows: readonly RecordRow[]) {
  const kept = createInMemoryRows()
  for (const row of rows) kept.put(row)
  return createStore(kept)
}

/** Lets an object begin over the rows, and returns what it shows. */
function begunOver(rows: readonly RecordRow[]) {
  const ids = ['alpha', 'beta', 'gamma', 'delta', 'epsilon']
  const keys = ids.map((id) => keyConfig({ id, account: id }))
  const routes = [routeConfig({ models: ['*'] }, 'round-robin')] as const
  const clients = { clients: [], groups: [] }
  const config = { keys, clients, routes, policy: POLICY }
  const bugs: unknown[] = []
  const host = new PoolHost(createPool(config, WRITTEN_AT_MS), {
    nowMs: () => WRITTEN_AT_MS,
    timer: () => () => undefined,
    random: () => 0.5,
    store: storeOver(rows),
    sync: () => undefined,
    logBug: (bug) => void bugs.push(bug),
    logTransition: () => undefined,
    logAlert: () => undefined,
    logUndelivered: () => undefined,
    logDrift: () => undefined,
  })
  const snapshot = host.snapshot()
  expect(bugs).toEqual([])
  return snapshot
}

const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom('', '__proto__', 'moonlight', -1, 0.5, 1e308, [], {}, null),
)
const place = fc.record({
  row: fc.nat(GOOD.length - 1),
  path: fc.array(fc.nat(40), { maxLength: 6 }),
  value: odd,
})

describe('a pool over stored rows', () => {
  it('begins whatever stands in any place of one of them, and reads the others as ever', () => {
    const whole = storeOver(GOOD).load()
    fc.assert(
      fc.property(place, ({ row, path, value }) => {
        const rows = GOOD.map((good, i) =>
          i === row
            ? { ...good, record: JSON.stringify(planted(JSON.parse(good.record), path, value)) }
            : good,
        )
        const { kind, id } = GOOD[row] as RecordRow
        const read = storeOver(rows).load()
        expect(begunOver(rows).keys).toHaveLength(5)
        const others = (found: typeof whole) => ({
          keys: [...found.keys].filter(([key]) => kind !== 'key' || key !== id),
          accounts: [...found.accounts].filter(([account]) => kind !== 'account' || account !== id),
          checkpoint: Object.entries(found.checkpoint ?? {}).filter(
            ([part]) => kind !== 'checkpoint' || part !== id,
          ),
        })
        expect(others(read)).toEqual(others(whole))
      }),
      fuzz(60),
    )
  })

  it('begins over rows of any kind, name and text, and reads the good ones among them', () => {
    const kind = fc.constantFrom('key', 'account', 'models', 'spend', 'checkpoint', 'later', '')
    const name = fc.oneof(
      fc.constantFrom('zeta', '__proto__', 'counters/7', 'meters/1'),
      fc.string(),
    )
    const record = fc.oneof(
      fc.json(),
      fc.string(),
      fc.constantFrom('', 'null', '[]', '{"', '[[[]]]'),
    )
    const whole = storeOver(GOOD).load()
    fc.assert(
      fc.property(fc.array(fc.record({ kind, id: name, record }), { maxLength: 5 }), (noise) => {
        const isGood = ({ kind: k, id }: RecordRow) =>
          GOOD.some((good) => good.kind === k && good.id === id)
        const rows = [...GOOD, ...noise.filter((row) => !isGood(row) && !/^\w+\/1$/.test(row.id))]
        const read = storeOver(rows).load()
        expect(begunOver(rows).keys).toHaveLength(5)
        for (const [id, key] of whole.keys) expect(read.keys.get(id)).toEqual(key)
        for (const [id, account] of whole.accounts) expect(read.accounts.get(id)).toEqual(account)
      }),
      fuzz(60),
    )
  })
})
