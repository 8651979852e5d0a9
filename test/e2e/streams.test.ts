import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import {
  DONE,
  errorsIn,
  eventOf,
  PROCESSING,
  STOP,
  STREAM_TEXTS,
  said,
  USAGE,
} from '../gateway/stream-texts.ts'
import {
  countedOver,
  type Gateway,
  journeyOf,
  keyOf,
  MESSAGES,
  MODEL,
  useGateway,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

/** Breakers stay closed in these tests, so the first key is always tried first. */
const CALM = { strategy: 'priority', breaker: { failures: 100 } }

const gateway = useGateway(upstream, {
  policy: { ...CALM, timeouts: { first_output_ms: 2700, idle_ms: 1200 } },
})

const encoder = new TextEncoder()

/** The text's bytes in chunks of the given size. */
function chunksOf(text: string, size: number) {
  const bytes = encoder.encode(text)
  const chunks: { base64: string }[] = []
  for (let from = 0; from < bytes.length; from += size) {
    chunks.push({ base64: Buffer.from(bytes.subarray(from, from + size)).toString('base64') })
  }
  return chunks
}

/** Lets the simulator send the chunks through the gateway. */
async function play(
  chunks: readonly { text?: string; base64?: string; delayMs?: number }[],
  end: 'close' | 'error' | 'hang' = 'close',
): Promise<Response> {
  await upstream.control.script('played', { chunks: [...chunks], end })
  return await gateway().chat({ model: 'script/played', stream: true })
}

/** Reads a stream with OpenAI's client: the text so far, and the error that it threw. */
async function consume(served: Gateway, model: string) {
  const stream = await served.client().chat.completions.create({
    model,
    messages: MESSAGES,
    stream: true,
  })
  let text = ''
  try {
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  } catch (error) {
    return { text, error }
  }
  return { text, error: null }
}

describe('a stream arrives byte for byte as it was sent:', () => {
  describe.each([...STREAM_TEXTS])('%s', (_, text) => {
    test.each([1_000_000, 64, 7])('in chunks of %i bytes', async (size) => {
      const response = await play(chunksOf(text, size))
      expect(response.status).toBe(200)
      expect(Buffer.from(await response.arrayBuffer()).toString()).toBe(text)
    })
  })

  test('byte by byte, with line ends and characters cut in two', async () => {
    const text = `: hold on\r\n\r\n${said('Grüße 👋🏽').replaceAll('\n', '\r\n')}${STOP}${DONE}`
    const response = await play(chunksOf(text, 1))
    expect(Buffer.from(await response.arrayBuffer()).equals(encoder.encode(text))).toBe(true)
  })

  test('a line of a quarter of a megabyte', async () => {
    const text = said('long '.repeat(50_000)) + STOP + DONE
    const response = await play(chunksOf(text, 16_384))
    expect((await response.text()) === text).toBe(true)
  })

  test('the simulator’s own answer with everything cut in pieces still reads the same', async () => {
    const whole = await consume(gateway(), MODEL)
    await upstream.control.patchSettings({ splitUtf8: true })
    const split = await consume(gateway(), MODEL)
    expect(split).toEqual(whole)
    expect(split.text).toContain('東京 🙂')
  })
})

test('the first token is with the client before upstream has sent the second', async () => {
  const response = await play([{ text: said('first') }, { text: STOP + DONE, delayMs: 800 }])
  const reader = response.body?.getReader()
  const first = await reader?.read()
  expect(Buffer.from(first?.value ?? []).toString()).toBe(said('first'))
  const [entry] = await upstream.control.log()
  expect(entry?.outcome).toBe('open')
  let rest = ''
  for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
    rest += Buffer.from(part.value).toString()
  }
  expect(rest).toBe(STOP + DONE)
})

test('comments become keep-alives after two seconds, and failing over still works after them', async () => {
  const before = await gateway().settledPool()
  const beganMs = performance.now()
  const response = await gateway().chat({
    model: 'sim/comments-then-hang?events=20&everyMs=250@alpha',
    stream: true,
  })
  const headersMs = performance.now() - beganMs
  // Not earlier, since the status can't change after that. Not later: the client must not have to
  // wait for the answer.
  expect(headersMs).toBeGreaterThan(1500)
  expect(headersMs).toBeLessThan(2700)
  const text = await response.text()
  expect(text).toMatch(/^(: OPENROUTER PROCESSING\n\n){4,}data: /)
  expect(text).toMatch(/geht’s\?.*data: \[DONE\]\n\n$/s)
  expect(errorsIn(text)).toEqual([])
  const after = await gateway().settledPool()
  for (const [name, counter] of [
    ['alpha', 'failures'],
    ['gamma', 'successes'],
  ] as const) {
    expect(keyOf(after, name).total[counter]).toBe(keyOf(before, name).total[counter] + 1)
  }
})

test('after keep-alives, an error can only be an event, and OpenAI’s client raises it', async () => {
  const error = { code: 400, message: 'Too long' }
  await upstream.control.script('late', {
    chunks: [
      { text: PROCESSING, delayMs: 1100 },
      { text: PROCESSING, delayMs: 1100 },
      { text: eventOf({ error, choices: [] }) + DONE },
    ],
  })
  const outcome = await consume(gateway(), 'script/late')
  expect(outcome.text).toBe('')
  expect(outcome.error).toBeInstanceOf(OpenAI.APIError)
  expect(outcome.error).toMatchObject({ message: expect.stringContaining('Too long') })
  expect((await upstream.control.stats()).requests).toBe(1)
})

describe('an error after the first output', () => {
  test.each([
    'error-mid-stream',
    'error-mid-stream-old',
    'choice-error-in-200?events=3',
    'finish-error?events=3',
  ])('(%s) is passed on as it is, once, and settled once', async (fault) => {
    const counted = await countedOver(gateway(), async () => {
      const response = await gateway().chat({ model: `sim/${fault}`, stream: true })
      expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
      const text = await response.text()
      expect(text).toMatch(/Grüße.*data: \[DONE\]\n\n$/s)
      expect(text.match(/"error":\{|"finish_reason":"error"/g)?.length).toBeGreaterThan(0)
      expect(text.match(/\[DONE\]/g)).toHaveLength(1)
      expect(text).not.toContain('switchyard')
      expect(errorsIn(text).length).toBeLessThanOrEqual(1)
    })
    expect(counted).toMatchObject({ attempts: 1, successes: 0 })
    expect((await upstream.control.stats()).requests).toBe(1)
  })

  test.each(['error-mid-stream', 'error-mid-stream-old'])(
    '(%s) is raised by OpenAI’s client',
    async (fault) => {
      const { text, error } = await consume(gateway(), `sim/${fault}`)
      expect(text).toBe('Grüße aus dem')
      expect(error).toBeInstanceOf(OpenAI.APIError)
    },
  )
})

describe('a stream that breaks off', () => {
  test('ends with one error event, which OpenAI’s client raises', async () => {
    const counted = await countedOver(gateway(), async () => {
      const response = await gateway().chat({ model: 'sim/cut-mid-stream', stream: true })
      const text = await response.text()
      expect(text).toMatch(/Grüße/)
      expect(errorsIn(text)).toEqual([
        {
          error: {
            code: 502,
            message: expect.any(String),
            metadata: {
              source: 'switchyard',
              reason: 'upstream_unreachable',
              error_type: 'provider_unavailable',
            },
          },
          finish: 'error',
        },
      ])
      expect(text).toMatch(/data: \[DONE\]\n\n$/)
    })
    expect(counted).toMatchObject({ attempts: 1, successes: 0, failures: 1 })
    expect(counted.completionTokens).toBeGreaterThan(0)

    const { text, error } = await consume(gateway(), 'sim/cut-mid-stream')
    expect(text).toBe('Grüße aus dem')
    expect(error).toBeInstanceOf(OpenAI.APIError)
  })

  test('within an event does not take the error event with it', async () => {
    const response = await play(
      [{ text: said('Hi') }, { text: said('there').slice(0, -20) }],
      'error',
    )
    const text = await response.text()
    expect(errorsIn(text.slice(text.lastIndexOf('data: {')))).toHaveLength(1)
    const { error } = await consume(gateway(), 'script/played')
    expect(error).not.toBeNull()
  })

  test('without a finish reason is an error too, though it ends in good order', async () => {
    const { text, error } = await consume(gateway(), 'sim/end-without-done')
    expect(text).toBe('Grüße aus dem')
    expect(error).toBeInstanceOf(OpenAI.APIError)
  })

  test('after its finish reason is a good answer, even without [DONE]', async () => {
    const counted = await countedOver(gateway(), async () => {
      const response = await play([{ text: said('Hi') + STOP + USAGE }])
      expect(await response.text()).toBe(said('Hi') + STOP + USAGE)
    })
    expect(counted).toMatchObject({ attempts: 1, successes: 1, promptTokens: 21 })
  })

  test('is cut off when nothing comes for idle_ms, and says so', async () => {
    const counted = await countedOver(gateway(), async () => {
      const beganMs = performance.now()
      const response = await gateway().chat({ model: 'sim/stall', stream: true })
      const text = await response.text()
      expect(performance.now() - beganMs).toBeLessThan(5000)
      expect(errorsIn(text)).toMatchObject([
        { error: { code: 504, metadata: { reason: 'upstream_timeout' } }, finish: 'error' },
      ])
    })
    expect(counted).toMatchObject({ attempts: 1, failures: 1 })
  })

  test('is not cut off while comments still come', async () => {
    const comment = { text: ': OPENROUTER PROCESSING\n\n', delayMs: 600 }
    const chunks = [{ text: said('Hi') }, comment, comment, comment, { text: STOP + DONE }]
    const response = await play(chunks)
    expect(await response.text()).toBe(chunks.map(({ text }) => text).join(''))
  })
})

describe('usage', () => {
  test.each([
    ['newer', true],
    ['older', true],
    ['newer', false],
  ] as const)('is counted once (form: %s, streamed: %s)', async (usageForm, stream) => {
    await upstream.control.patchSettings({ usageForm })
    const counted = await countedOver(gateway(), async () => {
      const response = await gateway().chat({ stream })
      await response.text()
    })
    const { stats } = await upstream.control.waitFor(({ stats }) => stats.openNow === 0)
    expect(counted).toMatchObject({ attempts: 1, successes: 1 })
    expect(counted.promptTokens).toBeGreaterThan(0)
    expect(counted.completionTokens).toBeGreaterThan(10)
    expect(counted.costUsd).toBeCloseTo(stats.perKey.alpha?.costUsd ?? 0, 9)
  })
})

describe('an empty answer', () => {
  test('that finished is an answer', async () => {
    const response = await play([{ text: STOP + DONE }])
    expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
    expect(await response.text()).toBe(STOP + DONE)
  })

  test('that never finished, from every key, ends in an error and not in silence', async () => {
    const response = await gateway().chat({ model: 'sim/empty-answer', stream: true })
    // Each of the three keys once, and then one of them again.
    expect(journeyOf(response).attempts).toBe(4)
    expect(response.status).toBe(502)
    expect(JSON.parse(await response.text())).toMatchObject({
      error: { code: 502, metadata: { reason: 'upstream_unreachable' } },
    })
  })
})
