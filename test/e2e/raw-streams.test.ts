import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  DONE,
  errorsIn,
  PROCESSING,
  STOP,
  STREAM_TEXTS,
  said,
  USAGE,
} from '../gateway/stream-texts.ts'
import { simulatorControl } from '../simulator/client.ts'
import { listen } from '../simulator/listen.ts'
import { REQUESTS, type ShapePath } from '../simulator/shape-requests.ts'
import { until } from './harness.ts'
import { type RawGateway, startRawGateway } from './raw-gateway.ts'

/**
 * Streams on real sockets, through the relay that the bench measures. The simulator runs in Node here:
 * inside a Worker it could not record that a caller left during a silence.
 */
let simulator: Awaited<ReturnType<typeof listen>>
let control: ReturnType<typeof simulatorControl>
let gateway: RawGateway

const TOKEN = 'sy-e2e-token-000001'
const IDLE_MS = 1500

beforeAll(async () => {
  simulator = await listen()
  control = simulatorControl(simulator.url)
  const policy = {
    strategy: 'priority',
    timeouts: { idle_ms: IDLE_MS },
    // Panic is off, so an open breaker of the only key refuses requests. More clients leave in these
    // tests than it takes to open one.
    breaker: { failures: 8, panic_ratio: 0 },
    // Most tests prove by one key with one place that its lease is back. What may fail has other keys.
    routes: [
      { models: ['script/played', 'sim/empty-answer@gamma'], keys: ['gamma', 'delta'] },
      { models: ['*'], keys: ['alpha'] },
    ],
  }
  const keys = [
    { id: 'alpha', key: 'sk-or-v1-simulated-alpha', max_concurrent: 1 },
    { id: 'gamma', key: 'sk-or-v1-simulated-gamma' },
    { id: 'delta', key: 'sk-or-v1-simulated-delta' },
  ]
  gateway = await startRawGateway(
    { port: Number(simulator.url.port) },
    {
      POLICY: { kind: 'json', value: policy },
      OPENROUTER_KEYS: { kind: 'text', value: JSON.stringify(keys) },
      CLIENT_KEYS: { kind: 'text', value: `tester:${TOKEN}` },
    },
  )
})
afterAll(async () => {
  await gateway.stop()
  await simulator.close()
})
beforeEach(async () => {
  await control.reset()
})

interface AskOptions {
  readonly path?: ShapePath
  readonly stream?: boolean
  readonly signal?: AbortSignal
  readonly more?: object
}

async function ask(model: string, options: AskOptions = {}) {
  const { path = '/chat/completions', stream = true, signal = null, more = {} } = options
  return await fetch(`${gateway.url}/api/v1${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...REQUESTS[path], model, stream, ...more }),
    signal,
  })
}

const KEY_BACK_MS = 500

/** Upstream notices an abort a moment before the pool does, so the key is free a little later. */
async function until200(send: () => Promise<Response>): Promise<Response> {
  return await until(send, ({ status }) => status === 200, KEY_BACK_MS)
}

/** The key serves one request at a time, so an answer proves that the lease is back. */
async function nextStatus(): Promise<number> {
  const response = await until200(() => ask('openai/gpt-4o-mini', { stream: false }))
  await response.text()
  return response.status
}

/** How the first request ended, by upstream's log. */
async function outcomeWithin(ms: number) {
  const { log } = await control.waitFor((received) => received.log[0]?.outcome !== 'open', ms)
  return log[0]?.outcome
}

describe('when the client leaves, upstream is told within a second and the key is free again:', () => {
  const TEXT_STREAMS = ['/chat/completions', '/completions', '/responses', '/messages'] as const

  test.each(TEXT_STREAMS)('in the middle of a stream of %s', async (path) => {
    await control.patchSettings({ answerTokens: 2000, tokensPerSecond: 50 })
    const leaving = new AbortController()
    const response = await ask('openai/gpt-4o-mini', { path, signal: leaving.signal })
    const reader = response.body?.getReader()
    await reader?.read()
    leaving.abort()
    expect(await outcomeWithin(1000)).toBe('aborted')
    await control.patchSettings({ answerTokens: null, tokensPerSecond: null })
    expect(await nextStatus()).toBe(200)
  })

  test('by cancelling the body, as a client does that has read enough', async () => {
    await control.patchSettings({ answerTokens: 2000, tokensPerSecond: 50 })
    const response = await ask('openai/gpt-4o-mini')
    const reader = response.body?.getReader()
    await reader?.read()
    await reader?.cancel()
    expect(await outcomeWithin(1000)).toBe('aborted')
    await control.patchSettings({ answerTokens: null, tokensPerSecond: null })
    expect(await nextStatus()).toBe(200)
  })

  test('again and again, and accuses nobody', async () => {
    await control.patchSettings({ answerTokens: 2000, tokensPerSecond: 50 })
    for (let i = 0; i < 5; i += 1) {
      const leaving = new AbortController()
      const response = await until200(() => ask('openai/gpt-4o-mini', { signal: leaving.signal }))
      await response.body?.getReader().read()
      leaving.abort()
      await control.waitFor(({ stats }) => stats.openNow === 0, 1000)
    }
    await control.patchSettings({ answerTokens: null, tokensPerSecond: null })
    expect(await nextStatus()).toBe(200)
    expect((await control.stats()).perKey.alpha).toMatchObject({ aborted: 5, completed: 1 })
  })
})

/**
 * The local runtime notices a closed socket only when it writes to it. During a silence nothing
 * tells the gateway that the client left, so its idle clock must end the call.
 */
test('a client that leaves while upstream is silent holds the key for idle_ms at most', async () => {
  const leaving = new AbortController()
  const response = await ask('sim/stall?events=1', { signal: leaving.signal })
  await response.body?.getReader().read()
  leaving.abort()
  expect(await outcomeWithin(IDLE_MS + 1000)).toBe('aborted')
  expect(await nextStatus()).toBe(200)
})

test('a client that leaves after the finish and before the usage lets upstream end', async () => {
  await control.script('leaves', {
    chunks: [
      { text: said('Hi') + STOP },
      { text: PROCESSING, delayMs: 200 },
      { text: PROCESSING, delayMs: 200 },
      { text: USAGE + DONE, delayMs: 400 },
    ],
    end: 'close',
  })
  const leaving = new AbortController()
  const response = await ask('script/leaves', { signal: leaving.signal })
  await response.body?.getReader().read()
  leaving.abort()
  expect(await outcomeWithin(2000)).toBe('completed')
  expect(await nextStatus()).toBe(200)
})

test('sound that breaks off breaks off for the client, too: nothing else can say so', async () => {
  const response = await ask('sim/cut-mid-stream', {
    path: '/audio/speech',
    more: { input: 'Hello '.repeat(2_000) },
  })
  expect(response.status).toBe(200)
  await expect(response.arrayBuffer()).rejects.toThrow()
  expect(await nextStatus()).toBe(200)
})

interface Step {
  readonly text: string
  readonly delayMs?: number
}

/** A stream with this text, cut so that lines and characters are in pieces. */
function inPieces(text: string, size: number) {
  const bytes = Buffer.from(text)
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => ({
    base64: bytes.subarray(i * size, (i + 1) * size).toString('base64'),
  }))
}

describe('a stream', () => {
  test('that is empty is tried with another key, unseen', async () => {
    const response = await ask('sim/empty-answer@gamma')
    expect(response.headers.get('x-switchyard-key')).toBe('delta')
    expect(response.headers.get('x-switchyard-attempts')).toBe('2')
    expect(await response.text()).toMatch(/Grüße.*data: \[DONE\]\n\n$/s)
  })

  test.each([...STREAM_TEXTS])('arrives byte for byte as it was sent: %s', async (_, text) => {
    for (const size of [1_000_000, 7]) {
      await control.script('played', { chunks: inPieces(text, size) })
      const response = await ask('script/played')
      expect(response.status).toBe(200)
      expect(Buffer.from(await response.arrayBuffer()).toString()).toBe(text)
    }
  })

  test('of a megabyte waits for a client that reads late, and loses nothing', async () => {
    const text = said('long '.repeat(3_000)).repeat(70) + STOP + DONE
    await control.script('played', { chunks: inPieces(text, 64 * 1024) })
    const response = await ask('script/played')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect((await response.text()) === text).toBe(true)
  })

  test('is with the client as it comes', async () => {
    const steps: Step[] = [{ text: said('first') }, { text: STOP + DONE, delayMs: 400 }]
    await control.script('played', { chunks: [...steps] })
    const beganMs = performance.now()
    const reader = (await ask('script/played')).body?.getReader()
    const first = await reader?.read()
    expect(Buffer.from(first?.value ?? []).toString()).toBe(said('first'))
    expect(performance.now() - beganMs).toBeLessThan(400)
    let rest = ''
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
      rest += Buffer.from(part.value).toString()
    }
    expect(rest).toBe(STOP + DONE)
  })

  test('of messages has no [DONE], in whatever pieces it comes', async () => {
    const said = 'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    const start =
      'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
    for (const size of [1_000_000, 7]) {
      const text = `${start}${said}event: data\n${DONE}`
      await control.script('played', { chunks: inPieces(text, size) })
      const response = await ask('script/played', { path: '/messages' })
      expect(await response.text()).toBe(start + said)
    }
  })

  test.each([
    ['is cut after output', 'error', 502, 'upstream_unreachable'],
    ['is silent for idle_ms', 'hang', 504, 'upstream_timeout'],
  ] as const)('that %s ends with one error event', async (_, end, code, reason) => {
    await control.script('played', {
      chunks: [{ text: said('Hi') + said('you').slice(0, -9) }],
      end,
    })
    const text = await (await ask('script/played')).text()
    expect(text.startsWith(said('Hi'))).toBe(true)
    expect(errorsIn(text.slice(text.lastIndexOf('data: {')))).toMatchObject([
      { error: { code, metadata: { reason } }, finish: 'error' },
    ])
    expect(text).toMatch(/data: \[DONE\]\n\n$/)
  })
})
