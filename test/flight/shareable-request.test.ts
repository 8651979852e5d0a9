import { expect, it } from 'vitest'
import { readShareableFields } from '../../src/flight/shareable-request.ts'

const pause = async () => undefined
const read = (body: object | string, models: readonly string[] = ['vendor/model']) => {
  const text = typeof body === 'string' ? body : JSON.stringify({ model: 'vendor/model', ...body })
  return readShareableFields(new TextEncoder().encode(text), models, pause)
}
const LONG = 'x'.repeat(70_000)

it.each<[string, object]>([
  ['nothing special', { messages: [{ role: 'user', content: 'zdr web_search' }] }],
  ['a stream', { stream: true }],
  ['tools of its own', { tools: [{ type: 'function', function: { name: 'web_search' } }] }],
  ['a provider', { provider: { order: ['x'], zdr: false, data_collection: 'allow' } }],
  ['a harmless plugin', { plugins: [{ id: 'response-healing' }] }],
  ['nothing in its fields', { provider: null, plugins: null, previous_response_id: null }],
])('may be shared with %s', async (_, body) => {
  expect(await read(body)).toEqual({ isStream: 'stream' in body, isShareable: true })
})

it.each<[string, object | string]>([
  ['zdr', { provider: { zdr: true } }],
  ['zdr at the top', { zdr: true }],
  ['zdr in another form', { provider: { zdr: 'true' } }],
  ['zdr in escapes', '{"model":"m","provid\\u0065r":{"zd\\u0072":true}}'],
  ['zdr of the later of two', '{"model":"m","provider":{},"provider":{"zdr":true}}'],
  ['data_collection', { provider: { data_collection: 'deny' } }],
  ['a search', { plugins: [{ id: 'web' }] }],
  ['a search by options', { web_search_options: {} }],
  ['a search of the server', { tools: [{ type: 'openrouter:web_search' }] }],
  ['a search of Anthropic', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
  ['any tool of the server', { tools: [{ type: 'code_interpreter' }] }],
  ['an MCP server', { mcp_servers: [{ url: 'https://x' }] }],
  ['a search by a fallback', { models: ['a/b', 'a/c:online'] }],
  ['a preset', { preset: 'mine' }],
  ['a preset as a model', { models: ['@preset/mine'] }],
  ['an unknown plugin', { plugins: [{ id: 'new' }] }],
  ['a state', { previous_response_id: 'resp_1' }],
  ['a conversation', { conversation: 'conv_1' }],
  ['a provider that is too long', { provider: { order: [LONG] } }],
  ['plugins that are too long', { plugins: [{ id: 'response-healing', x: LONG }] }],
])('may not be shared with %s', async (_, body) => {
  expect((await read(body)).isShareable).toBe(false)
})

it('may not be shared where a model of the route searches', async () => {
  expect((await read({}, ['a/b', 'a/b:online'])).isShareable).toBe(false)
  expect((await read({}, ['@preset/x'])).isShareable).toBe(false)
})
