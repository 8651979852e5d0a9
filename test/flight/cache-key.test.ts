import fc from 'fast-check'
import { expect, it } from 'vitest'
import { callerWithoutLimits } from '../../src/balancing/clients/caller.ts'
import { clientId, groupId, modelId } from '../../src/balancing/ids.ts'
import { createAnswerKeys, type KeyedRequest, scopeOf } from '../../src/flight/cache-key.ts'

const keys = createAnswerKeys(['sk-or-v1-one', 'sk-or-v1-two'])

const REQUEST: KeyedRequest = {
  scope: { kind: 'pool' },
  epoch: '0.0',
  upstreamUrl: 'https://openrouter.ai/api/v1',
  path: 'chat/completions',
  search: '',
  models: [modelId('vendor/model')],
  isStream: false,
  headers: new Headers(),
  body: new TextEncoder().encode('{"model":"vendor/model"}'),
}
const keyOf = (changes: Partial<KeyedRequest> = {}) => keys.ofRequest({ ...REQUEST, ...changes })

/** Names with what separates names, so that one may look like the beginning of another. */
const name = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.string({
    unit: fc.constantFrom('"', ',', '[', ']', ':', 'a', '\\', '\0', 'pool'),
    maxLength: 6,
  }),
)
const scope = fc.oneof(
  fc.constant({ kind: 'pool' } as const),
  name.map((id) => ({ kind: 'client', id: clientId(id) }) as const),
  name.map((id) => ({ kind: 'group', id: groupId(id) }) as const),
)
const headers = fc
  .dictionary(
    fc.constantFrom(
      ...['accept', 'anthropic-version', 'anthropic-beta', 'x-anthropic-beta'],
      ...['x-openrouter-a', 'x-openrouter-b', 'x-title', 'user-agent'],
    ),
    fc.string({ unit: fc.constantFrom('a', '"', ',', '[', ' ', 'b'), maxLength: 6 }),
  )
  .map((given) => new Headers(given))
const rest = fc.record({
  epoch: name,
  path: name,
  search: name,
  upstreamUrl: name,
  models: fc.array(name.map(modelId), { maxLength: 3 }),
  isStream: fc.boolean(),
  headers,
  body: fc.uint8Array({ maxLength: 8 }),
})

it('is never that of another scope, whatever is sent', async () => {
  await fc.assert(
    fc.asyncProperty(scope, scope, rest, rest, async (one, other, mine, yours) => {
      fc.pre(JSON.stringify(one) !== JSON.stringify(other))
      expect(await keys.ofRequest({ ...mine, scope: one })).not.toBe(
        await keys.ofRequest({ ...yours, scope: other }),
      )
    }),
    { numRuns: 300 },
  )
})

it('is the same for the same, in 64 hex digits that say nothing', async () => {
  expect(await keyOf()).toMatch(/^[0-9a-f]{64}$/)
  expect(await keyOf()).toBe(await keyOf({ headers: new Headers({ 'user-agent': 'x' }) }))
  const sorted = { 'x-openrouter-a': '1', 'x-openrouter-b': '2' }
  const unsorted = { 'x-openrouter-b': '2', 'x-openrouter-a': '1' }
  expect(await keyOf({ headers: new Headers(sorted) })).toBe(
    await keyOf({ headers: new Headers(unsorted) }),
  )
})

it.each<[string, Partial<KeyedRequest>]>([
  ['a purge', { epoch: '1.0' }],
  ['another upstream', { upstreamUrl: 'https://openrouter.ai/api/v2' }],
  ['another path', { path: 'completions' }],
  ['a query', { search: '?a=1' }],
  ['another model', { models: [modelId('vendor/other')] }],
  ['a fallback', { models: ['vendor/model', 'vendor/other'].map(modelId) }],
  ['a stream', { isStream: true }],
  ['one byte of the body', { body: new TextEncoder().encode('{"model": "vendor/model"}') }],
  ['accept', { headers: new Headers({ accept: '*/*' }) }],
  ['an empty accept', { headers: new Headers({ accept: '' }) }],
  ['anthropic-version', { headers: new Headers({ 'anthropic-version': '2023-06-01' }) }],
  ['anthropic-beta', { headers: new Headers({ 'anthropic-beta': 'a' }) }],
  ['x-anthropic-beta', { headers: new Headers({ 'x-anthropic-beta': 'a' }) }],
  ['any x-openrouter-*', { headers: new Headers({ 'x-openrouter-new': 'a' }) }],
])('is another after %s', async (_, changes) => {
  expect(await keyOf(changes)).not.toBe(await keyOf())
})

it('is another after the upstream keys were rotated, and the same in another order', async () => {
  const rotated = createAnswerKeys(['sk-or-v1-one', 'sk-or-v1-three'])
  const reordered = createAnswerKeys(['sk-or-v1-two', 'sk-or-v1-one'])
  expect(await rotated.ofRequest(REQUEST)).not.toBe(await keyOf())
  expect(await reordered.ofRequest(REQUEST)).toBe(await keyOf())
})

it('has the scope of the client where the group is not known', () => {
  const caller = callerWithoutLimits(clientId('app'))
  const member = { ...caller, groupId: groupId('team') }
  expect(scopeOf('group', caller)).toEqual({ kind: 'client', id: 'app' })
  expect(scopeOf('group', { ...caller, groupId: null })).toEqual({ kind: 'client', id: 'app' })
  expect(scopeOf('group', member)).toEqual({ kind: 'group', id: 'team' })
  expect(scopeOf('client', member)).toEqual({ kind: 'client', id: 'app' })
  expect(scopeOf('pool', member)).toEqual({ kind: 'pool' })
})
