import { expect, it } from 'vitest'
import { readCacheDirective } from '../../src/flight/cache-directive.ts'

it.each([
  [null, { kind: 'none' }],
  ['', { kind: 'none' }],
  ['off', { kind: 'off' }],
  [' Refresh ', { kind: 'refresh' }],
  ['only-if-cached', { kind: 'only_if_cached' }],
  ['max-age=0', { kind: 'max_age', ms: 0 }],
  ['MAX-AGE=60', { kind: 'max_age', ms: 60_000 }],
])('reads %j', (value, directive) => {
  expect(readCacheDirective(value)).toEqual(directive)
})

it.each(['on', 'no-store', 'max-age', 'max-age=', 'max-age=-1', 'max-age=1.5', 'off, refresh'])(
  'refuses %j',
  (value) => {
    expect(readCacheDirective(value)).toBeNull()
  },
)
