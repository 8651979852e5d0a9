import { expect, it } from 'vitest'
import { type Hold, holdsOf, isOfKey } from '../../../src/balancing/limits/quota-charge.ts'

const HOLDS: readonly Hold[] = [
  { owner: 'client:app', period: 'day', nanos: 500 },
  { owner: 'key:a', period: 'month', nanos: 200 },
]

it.each([
  ['no more than it can cost', 300, [300, 200]],
  ['nothing where it costs nothing', 0, [0, 0]],
  ['all where it can cost more', 900, [500, 200]],
  ['all where its cost has no bound', null, [500, 200]],
  ['all where its Worker tells no cost', undefined, [500, 200]],
])('a request takes over %s', (_, costNanos, nanos) => {
  expect(holdsOf(HOLDS, costNanos)).toEqual(
    HOLDS.map((hold, at) => ({ ...hold, nanos: nanos[at] })),
  )
})

it('a hold is of a key or of a caller, by its owner', () => {
  expect(HOLDS.map(({ owner }) => isOfKey(owner))).toEqual([false, true])
})
