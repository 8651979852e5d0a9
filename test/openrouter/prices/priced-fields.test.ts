import { describe, expect, it } from 'vitest'
import {
  type PricedFields,
  readPricedFields,
} from '../../../src/openrouter/prices/priced-fields.ts'

const encoder = new TextEncoder()

function read(body: object | string): Promise<PricedFields> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return readPricedFields(encoder.encode(text), async () => undefined)
}

const ASK = { model: 'a/b', messages: [{ role: 'user', content: 'Hi' }] }

describe('what a price depends on', () => {
  it('is nothing in a plain request', async () => {
    expect(await read(ASK)).toEqual({
      models: [],
      maxAnswerTokens: null,
      answers: 1,
      images: 0,
      hasSound: false,
      hasFiles: false,
      writesCache: false,
      tier: 'usual',
      hasPreset: false,
      searchResults: 0,
      serverTools: { kind: 'none' },
      hasTools: false,
      maxPrice: {},
      isReadable: true,
    })
  })

  it.each<[string, object | string, Partial<PricedFields>]>([
    ['models', { models: ['c/d', 'e/f'] }, { models: ['c/d', 'e/f'] }],
    ['fallbacks', { fallbacks: [{ model: 'c/d' }, 7] }, { models: ['c/d'] }],
    ['max_tokens', { max_tokens: 5 }, { maxAnswerTokens: 5 }],
    [
      'several limits',
      { max_tokens: 5, max_completion_tokens: 9, max_output_tokens: 7 },
      { maxAnswerTokens: 9 },
    ],
    ['a limit that is none', { max_tokens: '5' }, { maxAnswerTokens: null }],
    ['n', { n: 3 }, { answers: 3 }],
    ['best_of', { n: 2, best_of: 4 }, { answers: 4 }],
    ['n that is none', { n: -3, best_of: 'x' }, { answers: 1 }],
    ['prompts', { prompt: ['a', 'b', 'c'], n: 2 }, { answers: 6 }],
    ['lists of token ids', { prompt: [[1, 2], [3]] }, { answers: 2 }],
    ['a list of token ids', { prompt: [1, 2, 3] }, { answers: 1 }],
    ['service_tier priority', { service_tier: 'priority' }, { tier: 'fast' }],
    ['service_tier flex', { service_tier: 'flex' }, { tier: 'usual' }],
    ['a tier that nobody knows', { service_tier: 'scale' }, { tier: 'unknown' }],
    ['speed', { speed: 'fast' }, { tier: 'fast' }],
    ['nitro', { model: 'a/b:nitro' }, { tier: 'fast' }],
    ['nitro among the models', { models: ['c/d:nitro'] }, { tier: 'fast', models: ['c/d:nitro'] }],
    ['a preset', { preset: 'x' }, { hasPreset: true }],
    ['a model of a preset', { model: 'a/b@preset/x' }, { hasPreset: true }],
    ['the web plugin', { plugins: [{ id: 'web' }] }, { searchResults: 5 }],
    ['its results', { plugins: [{ id: 'web', max_results: 9 }] }, { searchResults: 9 }],
    ['the plugin off', { plugins: [{ id: 'web', enabled: false }] }, { searchResults: 0 }],
    ['online', { model: 'a/b:online' }, { searchResults: 5 }],
    ['web_search_options', { web_search_options: {} }, { searchResults: 5 }],
    [
      'max_price',
      { provider: { max_price: { prompt: '1', completion: 2 } } },
      { maxPrice: { prompt: '1', completion: 2, request: undefined, image: undefined } },
    ],
    [
      'a field that is too long',
      { provider: { only: ['x'.repeat(70_000)] } },
      { isReadable: false },
    ],
  ])('%s', async (_, fields, expected) => {
    expect(await read({ ...ASK, ...Object(fields) })).toMatchObject(expected)
  })

  it('counts the last of several fields with one name, however it is written', async () => {
    const body = '{"model":"a/b","max_tokens":1,"max\\u005ftokens":900,"messages":[]}'
    expect((await read(body)).maxAnswerTokens).toBe(900)
  })
})

describe('marks in the messages', () => {
  const part = (value: object) => read({ ...ASK, messages: [{ role: 'user', content: [value] }] })

  it.each<[string, object, Partial<PricedFields>]>([
    ['a picture', { type: 'image_url', image_url: { url: 'https://x' } }, { images: 1 }],
    ['a picture of /messages', { type: 'image', source: {} }, { images: 1 }],
    ['a picture of /responses', { type: 'input_image', image_url: 'x' }, { images: 1 }],
    ['a sound', { type: 'input_audio', input_audio: {} }, { hasSound: true }],
    ['a file', { type: 'file', file: { file_data: 'x' } }, { hasFiles: true }],
    ['a document', { type: 'document', source: {} }, { hasFiles: true }],
    ['a mark of the cache', { type: 'text', cache_control: {} }, { writesCache: true }],
    ['a breakpoint', { type: 'text', prompt_cache_breakpoint: {} }, { writesCache: true }],
  ])('%s', async (_, value, expected) => {
    expect(await part(value)).toMatchObject(expected)
  })

  it('are found however they are written, and wherever', async () => {
    const hidden = String.raw`{"model":"a","messages":[{"a":"\"","b":{"cach\u0065_control" : {}}}]}`
    expect((await read(hidden)).writesCache).toBe(true)
    const image = String.raw`{"model":"a","messages":[{"typ\u0065"
      :  "im\u0061ge"}]}`
    expect((await read(image)).images).toBe(1)
    const last = `{"model":"a","x":"${'y'.repeat(3 * 1024 * 1024)}","cache_control":{}}`
    expect((await read(last)).writesCache).toBe(true)
  })

  it('are not the names of somebody’s own fields', async () => {
    const tool = {
      type: 'function',
      function: { parameters: { file: {}, image: {}, document: {} } },
    }
    expect(await read({ ...ASK, tools: [tool] })).toMatchObject({
      ...{ images: 0, hasFiles: false, hasTools: true, serverTools: { kind: 'none' } },
    })
  })

  it('of files do not matter if nobody is paid for reading them', async () => {
    const messages = [{ role: 'user', content: [{ type: 'file', file: {} }] }]
    const plugins = [{ id: 'file-parser', pdf: { engine: 'pdf-text' } }]
    expect((await read({ ...ASK, messages, plugins })).hasFiles).toBe(false)
    const paid = [{ id: 'file-parser', pdf: { engine: 'mistral-ocr' } }]
    expect((await read({ ...ASK, messages, plugins: paid })).hasFiles).toBe(true)
  })
})

describe('tools', () => {
  const search = { type: 'openrouter:web_search' }

  it.each<[string, object, PricedFields['serverTools']]>([
    ['of the caller', { tools: [{ type: 'function' }, { name: 'x' }] }, { kind: 'none' }],
    ['that the caller’s machine runs', { tools: [{ type: 'bash_20250124' }] }, { kind: 'none' }],
    ['that search, without a limit', { tools: [search] }, { kind: 'unbounded' }],
    [
      'that search, with a limit each',
      {
        tools: [
          { type: 'web_search_20250305', max_uses: 3 },
          { ...search, parameters: { max_uses: 2 } },
        ],
      },
      { kind: 'bounded', steps: 5 },
    ],
    [
      'that search, with a limit for one of them',
      { tools: [{ type: 'web_search_20250305', max_uses: 3 }, search] },
      { kind: 'unbounded' },
    ],
    [
      'of /responses, with a limit for all',
      { input: 'Hi', tools: [search], max_tool_calls: 4 },
      { kind: 'bounded', steps: 4 },
    ],
    [
      'of /responses, which runs no more than 30 steps',
      { input: 'Hi', tools: [search], max_tool_calls: 400 },
      { kind: 'bounded', steps: 30 },
    ],
    [
      'with a limit that this API does not have',
      { tools: [search], max_tool_calls: 4 },
      { kind: 'unbounded' },
    ],
    [
      'with conditions to stop, which set the limit aside',
      {
        input: 'Hi',
        tools: [search],
        max_tool_calls: 4,
        stop_server_tools_when: [
          { type: 'has_tool_call' },
          { type: 'step_count_is', step_count: 7 },
        ],
      },
      { kind: 'bounded', steps: 7 },
    ],
    [
      'that may cost anything',
      { input: 'Hi', tools: [{ type: 'openrouter:image_generation' }], max_tool_calls: 1 },
      { kind: 'unbounded' },
    ],
    ['of servers', { mcp_servers: [{ url: 'https://x' }] }, { kind: 'unbounded' }],
  ])('%s', async (_, fields, expected) => {
    expect((await read({ ...ASK, ...fields })).serverTools).toEqual(expected)
  })
})
