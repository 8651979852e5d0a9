import { expect, it } from 'vitest'
import {
  createPurges,
  type EpochName,
  epochOf,
  type PurgeOrder,
  purge,
  purgedBy,
} from '../../../src/balancing/clients/purge-epochs.ts'
import { clientId, groupId, modelId } from '../../../src/balancing/ids.ts'

const REQUESTS = {
  own: ['all', 'client:app', 'model:m', 'route:0'],
  other: ['all', 'client:other', 'model:m', 'route:0'],
  grouped: ['all', 'group:team', 'model:m', 'route:0'],
  pooled: ['all', 'pool', 'model:n', 'route:1'],
} as const satisfies Record<string, readonly EpochName[]>

const epochsOf = (purges: ReturnType<typeof createPurges>) =>
  Object.values(REQUESTS).map((names) => epochOf(Object.fromEntries(purges.epochs), names))

it.each<[PurgeOrder, readonly (keyof typeof REQUESTS)[]]>([
  [{ kind: 'all' }, ['own', 'other', 'grouped', 'pooled']],
  // What it shares with others cannot be told apart from what they share with it.
  [{ kind: 'client', id: clientId('app') }, ['own', 'grouped', 'pooled']],
  [{ kind: 'model', model: modelId('m') }, ['own', 'other', 'grouped']],
  [{ kind: 'route', index: 1 }, ['pooled']],
])('throws away by %j', (order, gone) => {
  const purges = createPurges()
  const before = epochsOf(purges)
  purge(purges, order, groupId('team'), 1000)
  const after = epochsOf(purges)
  const changed = Object.keys(REQUESTS).filter((_, i) => before[i] !== after[i])
  expect(changed).toEqual(gone)
  expect(purges.isChanged).toBe(true)
})

it('never comes back to an epoch that was there, whatever the clock says', () => {
  const purges = createPurges()
  const met = new Set(epochsOf(purges).slice(0, 1))
  for (const nowMs of [1000, 1000, 500, 2000, 0]) {
    purge(purges, { kind: 'client', id: clientId('app') }, null, nowMs)
    const [own = ''] = epochsOf(purges)
    expect(met).not.toContain(own)
    met.add(own)
  }
})

it('throws everything away rather than forget a name', () => {
  const purges = createPurges()
  for (let i = 0; i <= 1000; i += 1) {
    purge(purges, { kind: 'model', model: modelId(`m${i}`) }, null, i)
  }
  expect(purges.epochs.size).toBeLessThan(1000)
  expect(epochsOf(purges)).not.toEqual(epochsOf(createPurges()))
})

it('is named in the audit as it was ordered', () => {
  expect(purgedBy({ kind: 'all' })).toBe('all')
  expect(purgedBy({ kind: 'client', id: clientId('app') })).toBe('client:app')
  expect(purgedBy({ kind: 'model', model: modelId('m') })).toBe('model:m')
  expect(purgedBy({ kind: 'route', index: 2 })).toBe('route:2')
})

it('of a client without a group touches no group', () => {
  const purges = createPurges()
  purge(purges, { kind: 'client', id: clientId('app') }, null, 1000)
  expect([...purges.epochs.keys()]).toEqual(['client:app', 'pool'])
})

it('a thousand names are kept, each with its epoch', () => {
  const purges = createPurges()
  for (let i = 0; i < 1000; i += 1) {
    purge(purges, { kind: 'model', model: modelId(`m${i}`) }, null, 0)
  }
  expect(purges.epochs.size).toBe(1000)
  expect(epochOf({ a: 1, b: 2 }, ['model:a', 'all'])).toBe('0.0')
  expect(epochOf({ all: 1, pool: 2 }, ['all', 'pool', 'model:x'])).toBe('1.2.0')
})
