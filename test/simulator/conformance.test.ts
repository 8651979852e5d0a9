// Whether the simulator's answers have the form of OpenRouter's own API description.

import { Ajv, type ValidateFunction } from 'ajv'
import addFormats from 'ajv-formats'
import { describe, expect, it } from 'vitest'
import * as chat from './schemas/chat.ts'
import * as completions from './schemas/completions.ts'
import { anthropicStatusError, statusError } from './schemas/errors.ts'
import * as generation from './schemas/generation.ts'
import type { JsonSchema } from './schemas/json-schema.ts'
import * as media from './schemas/media.ts'
import * as messages from './schemas/messages.ts'
import * as responses from './schemas/responses.ts'
import { ALPHA, serveSimulator } from './served-simulator.ts'
import { PATHS, REQUESTS, type ShapePath, STREAMING } from './shape-requests.ts'

const { control, get, ask } = serveSimulator()

const ajv = new Ajv({ allErrors: true, strictTypes: false, strictRequired: false })
addFormats.default(ajv)

const compiled = new Map<JsonSchema, ValidateFunction>()

function faultsOf(value: unknown, schema: JsonSchema): string | null {
  const validate = compiled.get(schema) ?? ajv.compile(schema)
  compiled.set(schema, validate)
  return validate(value) ? null : ajv.errorsText(validate.errors)
}

/** The fault of a stream's event; null if it has none. */
type EventCheck = (event: unknown) => string | null

function byType(schemas: Readonly<Record<string, JsonSchema>>): EventCheck {
  return (event) => {
    const type = typeof event === 'object' && event !== null && 'type' in event ? event.type : null
    const schema = typeof type === 'string' ? schemas[type] : undefined
    return schema === undefined ? `no event of type ${type}` : faultsOf(event, schema)
  }
}

interface Form {
  readonly answer: JsonSchema | null
  readonly failed: JsonSchema
  readonly event: EventCheck | null
}

const FORMS: Readonly<Record<ShapePath, Form>> = {
  '/chat/completions': {
    answer: chat.answer,
    failed: chat.failed,
    event: (event) => faultsOf(event, chat.event),
  },
  '/completions': {
    answer: completions.answer,
    failed: completions.failed,
    event: (event) => faultsOf(event, completions.event),
  },
  '/responses': {
    answer: responses.answer,
    failed: responses.failed,
    event: byType(responses.events),
  },
  '/messages': {
    answer: messages.answer,
    failed: messages.failed,
    event: byType(messages.events),
  },
  '/messages/count_tokens': { answer: messages.counted, failed: media.failed, event: null },
  '/embeddings': { answer: media.embeddings, failed: media.failed, event: null },
  '/rerank': { answer: media.rerank, failed: media.failed, event: null },
  '/images': { answer: media.images, failed: media.failed, event: byType(media.imageEvents) },
  '/audio/speech': { answer: null, failed: media.failed, event: null },
  '/audio/transcriptions': { answer: media.transcript, failed: media.failed, event: null },
}

/** The parsed data of a stream's events. It also checks the lines around the data. */
async function dataOf(path: ShapePath, response: Response): Promise<unknown[]> {
  expect(response.headers.get('content-type')).toBe('text/event-stream')
  const events = (await response.text()).split('\n\n')
  expect(events.pop()).toBe('')
  const parsed: unknown[] = []
  for (const event of events) {
    if (event === ': OPENROUTER PROCESSING') continue
    const lines = /^(?:event: (.+)\n)?data: (.+)$/.exec(event)
    const [, name, data] = lines ?? []
    expect(data, event).toBeDefined()
    expect(name !== undefined, event).toBe(path === '/messages')
    if (data === '[DONE]' || data === undefined) continue
    parsed.push(JSON.parse(data))
    if (name !== undefined) expect(parsed.at(-1)).toMatchObject({ type: name })
  }
  return parsed
}

async function checkWhole(path: ShapePath, body: object, kind: 'answer' | 'failed') {
  const response = await ask(path, { ...REQUESTS[path], ...body })
  const text = await response.text()
  expect(response.status).toBe(200)
  const schema = FORMS[path][kind]
  if (schema !== null) expect(faultsOf(JSON.parse(text), schema), text).toBeNull()
}

async function checkStream(path: ShapePath, body: object): Promise<unknown[]> {
  const response = await ask(path, { ...REQUESTS[path], ...body, stream: true })
  expect(response.status).toBe(200)
  const events = await dataOf(path, response)
  expect(events.length).toBeGreaterThan(0)
  for (const event of events) {
    expect(FORMS[path].event?.(event), JSON.stringify(event)).toBeNull()
  }
  return events
}

const schema = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer' } },
}

/** Requests of each API that make the model reason, call a tool, follow a schema or stop early. */
const VARIANTS: readonly (readonly [string, ShapePath, object])[] = [
  ['reasoning', '/chat/completions', { model: 'deepseek/deepseek-r1' }],
  [
    'a tool call',
    '/chat/completions',
    { tools: [{ type: 'function', function: { name: 'w', parameters: schema } }] },
  ],
  ['a short answer', '/chat/completions', { max_tokens: 3 }],
  ['reasoning', '/completions', { model: 'deepseek/deepseek-r1' }],
  ['reasoning', '/responses', { model: 'deepseek/deepseek-r1', instructions: 'Be brief.' }],
  [
    'a tool call',
    '/responses',
    { tools: [{ type: 'function', name: 'w', parameters: schema }], temperature: 0.5 },
  ],
  [
    'a schema',
    '/responses',
    { text: { format: { type: 'json_schema', name: 'w', schema } }, metadata: { a: 'b' } },
  ],
  ['a short answer', '/responses', { max_output_tokens: 3 }],
  ['reasoning', '/messages', { model: 'deepseek/deepseek-r1' }],
  ['a tool call', '/messages', { tools: [{ name: 'w', input_schema: schema }] }],
  ['a short answer', '/messages', { max_tokens: 3 }],
  [
    'a short tool call',
    '/messages',
    { max_tokens: 2, tools: [{ name: 'w', input_schema: schema }] },
  ],
]

describe('answers', () => {
  it.each(PATHS)('of %s have the form that is described', async (path) => {
    await checkWhole(path, {}, 'answer')
  })

  it.each(STREAMING)('of %s have it in streams too, with either form of usage', async (path) => {
    await checkStream(path, {})
    await control.patchSettings({ usageForm: 'older', splitUtf8: true })
    await checkStream(path, {})
  })

  it.each(VARIANTS)('with %s of %s have it', async (_what, path, body) => {
    await checkWhole(path, body, 'answer')
    await checkStream(path, body)
  })

  it.each([
    ['base64 vectors', '/embeddings', { encoding_format: 'base64', dimensions: 5 }],
    ['vectors of tokens', '/embeddings', { input: [[1, 2, 3], [4]] }],
    ['a verbose transcript', '/audio/transcriptions', { response_format: 'verbose_json' }],
    ['several images', '/images', { n: 3 }],
  ] as const)('with %s of %s have it', async (_what, path, body) => {
    await checkWhole(path, body, 'answer')
  })
})

describe('errors', () => {
  const STATUSES = ['401', 'key-limit', 'credits-402', 'provider-429', 'moderation-403'] as const
  const MORE = ['model-404', '413', '422', 'plain-500', 'provider-502', '504', '529'] as const

  it.each(PATHS)('of %s come in its envelope', async (path) => {
    const envelope = path.startsWith('/messages') ? anthropicStatusError : statusError
    for (const fault of [...STATUSES, ...MORE]) {
      const response = await ask(path, { ...REQUESTS[path], model: `sim/${fault}` })
      expect(response.status, fault).toBeGreaterThanOrEqual(400)
      const text = await response.text()
      expect(faultsOf(JSON.parse(text), envelope), text).toBeNull()
    }
    const refusals = [
      ask(path, REQUESTS[path], { authorization: '' }),
      ask(path, { ...REQUESTS[path], model: 'acme/nonesuch' }),
      ask(path, { model: 'openai/gpt-4o-mini' }),
      ask(path, 'no object'),
      get(`/api/v1${path}`, ALPHA),
    ]
    for (const response of await Promise.all(refusals)) {
      expect(response.status).toBeGreaterThanOrEqual(400)
      const text = await response.text()
      expect(faultsOf(JSON.parse(text), envelope), text).toBeNull()
    }
  })

  it.each(PATHS)('of %s within a 200 are what its answers can hold', async (path) => {
    await checkWhole(path, { model: 'sim/error-in-200' }, 'failed')
    await checkWhole(path, { model: 'sim/error-mid-stream' }, 'failed')
    await checkWhole(path, { model: 'sim/choice-error-in-200' }, 'failed')
  })

  it.each(STREAMING)('of %s within a stream are events of it', async (path) => {
    const faults = ['error-first-event', 'role-then-error', 'error-mid-stream', 'finish-error']
    for (const fault of [...faults, 'error-mid-stream-old', 'choice-error-in-200']) {
      const events = await checkStream(path, { model: `sim/${fault}` })
      expect(JSON.stringify(events.at(-1)), fault).toMatch(/error|failed|message_stop/)
    }
  })

  it('of /messages say whose they are beside the error, or inside', async () => {
    const failed = { ...REQUESTS['/messages'], model: 'sim/provider-429' }
    const beside = JSON.parse(await (await ask('/messages', failed)).text())
    expect(beside).toMatchObject({
      type: 'error',
      error: { type: 'rate_limit_error', message: 'Provider returned error' },
      metadata: { provider_name: expect.any(String), is_byok: false },
      request_id: expect.stringMatching(/^gen-/),
    })
    await control.patchSettings({ messagesMetadata: 'inner' })
    const inside = JSON.parse(await (await ask('/messages', failed)).text())
    expect(inside.metadata).toBeUndefined()
    expect(inside.error.metadata).toEqual(beside.metadata)
    const early = { ...failed, model: 'sim/plain-500' }
    const masked = JSON.parse(await (await ask('/messages', early)).text())
    expect(masked).toMatchObject({ error: { error_type: 'server' }, request_id: null })
  })
})

describe('GET /generation', () => {
  it.each(PATHS.filter((path) => path !== '/messages/count_tokens'))(
    'describes an answer of %s',
    async (path) => {
      const answered = await ask(path, REQUESTS[path])
      await answered.arrayBuffer()
      const id = answered.headers.get('x-generation-id')
      const found = JSON.parse(await (await get(`/api/v1/generation?id=${id}`, ALPHA)).text())
      expect(faultsOf(found, generation.generation), JSON.stringify(found)).toBeNull()
      const said = await get(`/api/v1/generation/content?id=${id}`, ALPHA)
      expect(faultsOf(JSON.parse(await said.text()), generation.content)).toBeNull()
    },
  )
})

describe('the schemas', () => {
  it.each(PATHS)('of %s notice when something is missing', async (path) => {
    const { answer } = FORMS[path]
    const given = await (await ask(path, REQUESTS[path])).text()
    if (answer === null) return expect(() => JSON.parse(given)).toThrow()
    expect(faultsOf({}, answer)).toMatch(/must have required property/)
    const numbersAsText = JSON.parse(given, (_name, value) =>
      typeof value === 'number' ? String(value) : value,
    )
    expect(faultsOf(numbersAsText, answer)).not.toBeNull()
  })
})
