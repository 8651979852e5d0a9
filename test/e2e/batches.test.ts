import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import OpenAI, { toFile } from 'openai'
import type { Batch, BatchCreateParams } from 'openai/resources/batches'
import { describe, expect, test } from 'vitest'
import { batchResultText, runBatchDemo } from '../local/demo-batch.ts'
import { DEMO_TOKEN } from '../local/stack.ts'
import { TOKEN, until, useGateway, useSimulator } from './harness.ts'

const OTHER_TOKEN = 'sy-e2e-token-000002'

const upstream = useSimulator()
const gateway = useGateway(upstream, {
  ...{ batches: true, keys: ['alpha', 'gamma', 'delta'] },
  // So many faults in a few seconds open every breaker, and a batch waits for that to end.
  policy: { strategy: 'least-busy', breaker: { failures: 100 } },
  secrets: { CLIENT_KEYS: `tester:${TOKEN} other:${OTHER_TOKEN} demo:${DEMO_TOKEN}` },
})

type Endpoint = BatchCreateParams['endpoint'] | '/v1/messages'

const MESSAGES = [{ role: 'user', content: 'Wie geht’s?' }]
const BODIES: Readonly<Record<string, object>> = {
  '/v1/chat/completions': { max_tokens: 5, messages: MESSAGES },
  '/v1/responses': { max_output_tokens: 5, input: 'Wie geht’s?' },
  '/v1/embeddings': { input: 'Wie geht’s?' },
  '/v1/messages': { max_tokens: 5, messages: MESSAGES },
}

const lineOf = (url: string, id: string, model: string) =>
  JSON.stringify({ custom_id: id, method: 'POST', url, body: { model, ...BODIES[url] } })

async function upload(text: string, client = gateway().client()) {
  return await client.files.create({
    purpose: 'batch',
    file: await toFile(Buffer.from(text), 'lines.jsonl'),
  })
}

async function start(endpoint: Endpoint, lines: readonly string[]): Promise<Batch> {
  const file = await upload(lines.join('\n'))
  return await gateway()
    .client()
    .batches.create({
      input_file_id: file.id,
      // Not an endpoint of OpenAI's.
      endpoint: endpoint as BatchCreateParams['endpoint'],
      completion_window: '24h',
      metadata: { night: 'first' },
    })
}

const OVER: readonly Batch['status'][] = ['completed', 'failed', 'cancelled', 'expired']

async function ended({ id }: Batch): Promise<Batch> {
  const { batches } = gateway().client()
  return await until(
    () => batches.retrieve(id),
    ({ status }) => OVER.includes(status),
    60_000,
  )
}

interface Result {
  readonly custom_id: string
  readonly response: { readonly status_code: number; readonly body: unknown } | null
  readonly error: { readonly code: string } | null
}

async function resultsOf(fileId: string | undefined): Promise<Result[]> {
  if (fileId === undefined) return []
  const text = await (await gateway().client().files.content(fileId)).text()
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** What the batch's object says beside what OpenAI's client knows. */
const costOf = (batch: Batch): number =>
  (batch as Batch & { switchyard: { cost_usd: number } }).switchyard.cost_usd

describe('batches of four API shapes, with faults of every kind', () => {
  const perShape = 40
  const chat = 'openai/gpt-4o-mini'
  const models: Readonly<Record<string, string>> = {
    '/v1/embeddings': 'openai/text-embedding-3-small',
  }

  // The local queue runs one consumer at a time, and a consumer one line.
  const slow = { timeout: 60_000 }

  test(
    'end with one result for each line, and are charged as OpenRouter charges',
    slow,
    async () => {
      await upstream.control.patchSettings({ tokensPerSecond: null })
      for (const fault of FAULTS) await upstream.control.rule({ fault, times: 1 })
      const idsOf = (url: string) => Array.from({ length: perShape }, (_, i) => `${url}#${i}`)
      const batches = await Promise.all(
        Object.keys(BODIES).map(async (url) => {
          const lines = idsOf(url).map((id, i) =>
            lineOf(url, id, i === 7 ? 'nobody/knows' : (models[url] ?? chat)),
          )
          return await ended(await start(url as Endpoint, lines))
        }),
      )
      for (const batch of batches) {
        const [good, bad] = [
          await resultsOf(batch.output_file_id),
          await resultsOf(batch.error_file_id),
        ]
        const ids = [...good, ...bad].map(({ custom_id }) => custom_id)
        expect(ids.toSorted()).toEqual(idsOf(batch.endpoint).toSorted())
        expect(batch).toMatchObject({
          ...{ status: 'completed', metadata: { night: 'first' } },
          request_counts: { total: perShape, completed: good.length, failed: bad.length },
        })
        expect(
          good.every(({ response, error }) => response?.status_code === 200 && error === null),
        ).toBe(true)
      }
      // What no retry helps against is recorded at once, as it came; the rest is tried again.
      const failed = await Promise.all(batches.map((batch) => resultsOf(batch.error_file_id)))
      const bad = failed.flat()
      const unknown = bad.filter(({ custom_id }) => custom_id.endsWith('#7'))
      expect(unknown.map(({ response }) => response?.status_code)).toEqual([400, 400, 400, 400])
      const statuses = bad
        .filter((each) => !unknown.includes(each))
        .map(({ response }) => response?.status_code)
      expect(statuses.toSorted()).toEqual(MISTAKES.map(([, status]) => status).toSorted())
      const { totalNanos } = await upstream.control.charges()
      const told = batches.reduce((sum, batch) => sum + costOf(batch), 0)
      expect(Math.round(told * 1e9)).toBe(totalNanos)
      expect(totalNanos).toBeGreaterThan(0)
    },
  )
})

/** No retry helps against these. */
const MISTAKES = [
  ['400', 400],
  ['413', 413],
  ['422', 422],
  ['moderation-403', 403],
] as const
/** These are nobody's whose line it strikes. */
const PASSING = [
  ...['cut-before-headers', 'plain-500', 'plain-502', '408', 'provider-502', 'provider-429'],
  ...['plain-503', '529', '401'],
]
const FAULTS = [...MISTAKES.map(([fault]) => fault), ...PASSING]

describe('a batch that is cancelled', () => {
  test('starts nothing more, and has a result for each line', async () => {
    const url = '/v1/chat/completions'
    const lines = Array.from({ length: 120 }, (_, i) => lineOf(url, `c${i}`, 'openai/gpt-4o-mini'))
    const batch = await start(url, lines)
    const cancelled = await gateway().client().batches.cancel(batch.id)
    expect(['cancelling', 'cancelled']).toContain(cancelled.status)
    const end = await ended(batch)
    expect(end.status).toBe('cancelled')
    const results = [
      ...(await resultsOf(end.output_file_id)),
      ...(await resultsOf(end.error_file_id)),
    ]
    expect(new Set(results.map(({ custom_id }) => custom_id)).size).toBe(120)
    expect(results.some(({ error }) => error?.code === 'batch_cancelled')).toBe(true)
    expect((await gateway().client().batches.cancel(batch.id)).status).toBe('cancelled')
  })
})

test('the example of docs/batches.md runs as it stands, and prints an answer for each line', async () => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const text = readFileSync(`${root}docs/batches.md`, 'utf8')
  const [, example = ''] = /```js\n(.*?)```/s.exec(text) ?? []
  const here = example.replace('http://localhost:8787', gateway().origin)
  expect(here).not.toBe(example)
  const program = ['--input-type=module', '--eval', here]
  const { stdout } = await promisify(execFile)('node', program, { cwd: root, timeout: 25_000 })
  const results = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(results.map(({ custom_id }) => custom_id)).toEqual(['Rome', 'Oslo'])
  for (const { custom_id, response } of results) {
    expect(JSON.stringify(response.body)).toContain(`You said: Where is ${custom_id}?`)
  }
})

test('the demo’s batches have one result for each line, and cost what the simulator says', {
  timeout: 60_000,
}, async () => {
  const done: number[] = []
  const result = await runBatchDemo({
    target: {
      gatewayUrl: gateway().origin,
      controlUrl: new URL(upstream.url()).origin,
      token: DEMO_TOKEN,
    },
    lines: 100,
    onProgress: ({ completed, failed }) => void done.push(completed + failed),
  })
  expect(result.surprises).toEqual([])
  expect(result).toMatchObject({ lines: 100, completed: 92 })
  // Of them eight are mistakes, and the others are nobody's whose line they strike.
  expect(result.faults).toBeGreaterThan(10)
  expect([done[0], done.at(-1)]).toEqual([0, 100])
  expect(batchResultText(result)).toContain('Each line has one result.')
})

describe('files', () => {
  const line = (id: string) => lineOf('/v1/embeddings', id, 'openai/text-embedding-3-small')

  test('come back as they went, page by page, and can be deleted', async () => {
    const { files } = gateway().client()
    const text = `\uFEFF${line('a')}\r\n\r\n${line('b')}`
    const first = await upload(text)
    const second = await upload(line('c'))
    expect(await (await files.content(first.id)).text()).toBe(text.slice(1))
    expect(await files.retrieve(first.id)).toMatchObject({
      bytes: Buffer.byteLength(text),
      filename: 'lines.jsonl',
    })
    const listed: string[] = []
    for await (const { id } of await files.list({ limit: 1, order: 'asc', purpose: 'batch' }))
      listed.push(id)
    expect(listed.slice(-2)).toEqual([first.id, second.id])
    expect(await files.delete(second.id)).toMatchObject({ deleted: true })
    await expect(files.retrieve(second.id)).rejects.toMatchObject({ status: 404 })
    await expect(files.content(second.id)).rejects.toMatchObject({ status: 404 })
  })

  test('with faults are refused, with the numbers of the lines', async () => {
    const refused = upload(`${line('a')}\nnonsense\n${line('a')}\n`)
    await expect(refused).rejects.toMatchObject({ status: 400 })
    await expect(refused).rejects.toThrow(
      `Line 2: The line is not JSON. Line 3: "custom_id" is that of line 1. It must be unique.`,
    )
  })

  test('and batches are their own client’s alone', async () => {
    const other = new OpenAI({
      baseURL: `${gateway().origin}/v1`,
      apiKey: OTHER_TOKEN,
      maxRetries: 0,
    })
    const file = await upload(line('a'))
    const batch = await gateway()
      .client()
      .batches.create({
        ...{ input_file_id: file.id, endpoint: '/v1/responses', completion_window: '24h' },
      })
    expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ line: 1, param: 'url' }] } })
    for (const attempt of [
      () => other.files.retrieve(file.id),
      () => other.files.content(file.id),
      () => other.files.delete(file.id),
      () => other.batches.retrieve(batch.id),
      () => other.batches.cancel(batch.id),
      () =>
        other.batches.create({
          ...{ input_file_id: file.id, endpoint: '/v1/embeddings', completion_window: '24h' },
        }),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ status: 404 })
    }
    expect((await other.files.list()).data).toEqual([])
    expect((await other.batches.list()).data).toEqual([])
    expect((await gateway().client().batches.list({ limit: 1 })).data[0]?.id).toBe(batch.id)
  })
})
