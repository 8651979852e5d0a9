import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DONE, PROCESSING, STOP, said, USAGE } from '../gateway/stream-texts.ts'
import { DEMO_TOKEN, type Stack, startStack } from '../local/stack.ts'
import { simulatorControl } from '../simulator/client.ts'
import { listen } from '../simulator/listen.ts'
import { REQUESTS, type ShapePath } from '../simulator/shape-requests.ts'
import { until } from './harness.ts'

/**
 * These tests use real sockets: the test harness's own fetch does not tell upstream that a client
 * has left. The simulator runs in Node here. Inside a Worker it could not record that a caller left
 * during a silence.
 */
let simulator: Awaited<ReturnType<typeof listen>>
let control: ReturnType<typeof simulatorControl>
let stack: Stack

const IDLE_MS = 1500

beforeAll(async () => {
  simulator = await listen()
  control = simulatorControl(simulator.url)
  stack = await startStack({
    env: {
      UPSTREAM_URL: new URL('/api/v1', simulator.url).href,
      OPENROUTER_KEYS: JSON.stringify([
        { id: 'alpha', key: 'sk-or-v1-simulated-alpha', max_concurrent: 1 },
      ]),
    },
    // Panic is off, so an open breaker of the only key refuses requests.
    policy: { timeouts: { idle_ms: IDLE_MS }, breaker: { panic_ratio: 0 } },
  })
})
afterAll(async () => {
  await stack.stop()
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
  return await fetch(`${stack.gatewayUrl}/api/v1${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${DEMO_TOKEN}`, 'content-type': 'application/json' },
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
