import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type SimulatorControl, simulatorControl } from './client.ts'
import { listen } from './listen.ts'

// What only a real socket can show: which side hung up.

let server: Awaited<ReturnType<typeof listen>>
let control: SimulatorControl

beforeAll(async () => {
  server = await listen()
  control = simulatorControl(server.url)
})
afterAll(() => server.close())
beforeEach(() => control.reset())

function chat(body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(new URL('/api/v1/chat/completions', server.url), {
    method: 'POST',
    headers: { authorization: 'Bearer sk-or-v1-simulated-alpha' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hi' }], ...body }),
    signal: signal ?? null,
  })
}

it.each(['hang', 'slow-headers', 'hang-after-headers', 'comments-then-hang', 'stall'])(
  'records that the caller of %s has left, though nothing is written to it',
  async (fault) => {
    const leaving = new AbortController()
    const asked = chat({ model: `sim/${fault}`, stream: true }, leaving.signal)
    const read = asked.then((response) => response.text())
    await control.waitFor(({ stats }) => stats.openNow === 1)
    leaving.abort()
    await expect(read).rejects.toThrow('abort')
    const { log, stats } = await control.waitFor((received) => received.stats.openNow === 0)
    expect(log[0]).toMatchObject({ outcome: 'aborted', error: fault, endedAt: expect.any(String) })
    expect(stats.perKey.alpha).toMatchObject({ requests: 1, aborted: 1, completed: 0, failed: 0 })
  },
)

it('charges a stream that was left for the tokens it had sent', async () => {
  await control.patchSettings({ tokensPerSecond: 50, answerTokens: 500 })
  const leaving = new AbortController()
  const response = await chat({ model: 'openai/gpt-4o', stream: true }, leaving.signal)
  await response.body?.getReader().read()
  leaving.abort()
  const { log } = await control.waitFor(({ stats }) => stats.perKey.alpha?.aborted === 1)
  expect(log[0]?.costUsd).toBeLessThan(500 * 0.00001)
})

it('closes the connection without an answer', async () => {
  await expect(chat({ model: 'sim/cut-before-headers' })).rejects.toThrow('fetch failed')
  expect((await control.log())[0]).toMatchObject({ status: null, outcome: 'failed' })
})

it('breaks a body off in the middle', async () => {
  const response = await chat({ model: 'sim/cut-mid-stream', stream: true })
  expect(response.status).toBe(200)
  await expect(response.text()).rejects.toThrow('terminated')
})

it('sends each event by itself, and cut inside characters and line ends when told to', async () => {
  const writes = async () => {
    const response = await chat({ model: 'openai/gpt-4o', stream: true })
    const parts: Buffer[] = []
    for await (const part of response.body ?? []) parts.push(Buffer.from(part))
    return parts
  }
  const whole = await writes()
  expect(whole.every((part) => part.toString().endsWith('\n\n'))).toBe(true)
  await control.patchSettings({ splitUtf8: true })
  const cut = await writes()
  expect(cut.some((part) => part.toString().includes('\uFFFD'))).toBe(true)
  expect(cut.some((part) => part.toString() === '\n')).toBe(true)
  const events = Buffer.concat(cut).toString().split('\n\n')
  expect(events).toHaveLength(Buffer.concat(whole).toString().split('\n\n').length)
})
