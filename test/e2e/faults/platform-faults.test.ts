import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MESSAGES, TOKEN, until, useSimulator } from '../harness.ts'
import { type ServedWorker, serveWorker } from '../serve-worker.ts'
import type { PLATFORM_FAULTS } from './platform-rows.ts'

// What fails around the gateway besides upstream: one Worker, and a gateway of it for each fault. Which
// tests have the client that leaves is in ./platform-rows.ts.

const upstream = useSimulator({ resets: false })

type Fault = (typeof PLATFORM_FAULTS)[number]['fault']

/** Stands before the built Worker. The header says which gateway is meant, and so what fails. */
const ENTRY = `
import worker, { KeyPool as BuiltKeyPool } from './index.js'
export { Flight } from './index.js'
export class KeyPool extends BuiltKeyPool {
  async exchange(request) {
    if (this.ctx.id.name === 'object throws') throw new Error('broken')
    if (this.ctx.id.name === 'object late') await new Promise((resolve) => setTimeout(resolve, 800))
    return super.exchange(request)
  }
}
const never = () => new Promise(() => undefined)
const failing = () => Promise.reject(new Error('KV is down'))
const overloaded = () => Promise.reject(Object.assign(new Error('too busy'), { overloaded: true, retryable: true }))
const stubOf = (make) => ({ getByName: () => new Proxy({}, { get: () => make }) })
const environments = new Map()
function environmentOf(env, fault) {
  if (!environments.has(fault)) environments.set(fault, made(env, fault))
  return environments.get(fault)
}
function made(env, fault) {
  const KEY_POOL = { getByName: () => env.KEY_POOL.getByName(fault) }
  const whole = { ...env, KEY_POOL }
  switch (fault) {
    case 'object overloaded': return { ...whole, KEY_POOL: stubOf(overloaded) }
    case 'object hangs': return { ...whole, KEY_POOL: stubOf(never) }
    case 'kv fails': return { ...whole, CREDIT: { get: failing, put: failing } }
    case 'kv hangs': return { ...whole, CREDIT: { get: never, put: never } }
    case 'no object': return { ...whole, KEY_POOL: undefined }
    case 'no kv': return { ...whole, CREDIT: undefined }
    default: return whole
  }
}
export default {
  async fetch(request, env, ctx) {
    const fault = request.headers.get('x-test-fault')
    if (new URL(request.url).pathname !== '/test-pool') return await worker.fetch(request, environmentOf(env, fault), ctx)
    return Response.json(await env.KEY_POOL.getByName(fault).snapshot())
  },
}
`

let worker: ServedWorker

beforeAll(async () => {
  await upstream.control.rule({ fault: 'hang', match: { path: '/key', key: 'delta' } })
  worker = await serveWorker(
    {
      UPSTREAM_URL: upstream.url(),
      CLIENT_KEYS: `tester:${TOKEN}`,
      OPENROUTER_KEYS: JSON.stringify(
        ['alpha', 'gamma', 'delta'].map((name) => ({
          id: name,
          key: `sk-or-v1-simulated-${name}`,
        })),
      ),
      POLICY: { strategy: 'priority' },
    },
    { entry: ENTRY },
  )
})
afterAll(() => worker?.close())

function ask(fault: Fault, body: object = {}, init: RequestInit = {}): Promise<Response> {
  return fetch(`${worker.origin}/api/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${TOKEN}`,
      'content-type': 'application/json',
      'x-test-fault': fault,
    },
    body: JSON.stringify({
      model: 'openai/gpt-4o-mini',
      messages: MESSAGES,
      ...body,
    }),
    ...init,
  })
}

interface Keys {
  readonly keys: readonly {
    readonly id: string
    readonly inFlight: number
    readonly reason: string | null
    readonly total: {
      attempts: number
      successes: number
      failures: number
      ignored: number
      completionTokens: number
    }
  }[]
}

async function settled(fault: Fault) {
  const look = async (): Promise<Keys> => {
    const response = await fetch(`${worker.origin}/test-pool`, {
      headers: { 'x-test-fault': fault },
    })
    return JSON.parse(await response.text())
  }
  const { keys } = await until(
    look,
    ({ keys: all }) =>
      all.every((key) => key.inFlight === 0) && all.some((key) => key.total.attempts > 0),
    15_000,
  )
  return keys
}

async function expectGood(response: Response) {
  expect(await response.text()).toContain('geht’s?')
  expect(response.status).toBe(200)
}

const LIMIT = { timeout: 60_000 }

describe.concurrent('what fails around the gateway', () => {
  test.each(['object throws', 'object overloaded', 'object hangs'] as const)(
    '%s',
    LIMIT,
    async (fault) => {
      for (let i = 0; i < 2; i += 1) {
        const response = await ask(fault)
        expect(response.headers.get('x-switchyard-degraded')).toBe('pool')
        await expectGood(response)
      }
    },
  )

  test('object late', LIMIT, async () => {
    const response = await ask('object late')
    await expectGood(response)
    expect(response.headers.get('x-switchyard-degraded')).toBeNull()
    const [alpha] = await settled('object late')
    expect(alpha).toMatchObject({ reason: null, total: { attempts: 1, successes: 1 } })
  })

  test.each(['kv fails', 'kv hangs', 'lookup hangs'] as const)('%s', LIMIT, async (fault) => {
    for (let i = 0; i < 3; i += 1) await expectGood(await ask(fault))
    const [alpha] = await settled(fault)
    expect(alpha).toMatchObject({ reason: null, total: { attempts: 3, successes: 3 } })
  })

  test.each(['no object', 'no kv'] as const)('%s', LIMIT, async (fault) => {
    const response = await ask(fault)
    expect(response.status).toBe(500)
    expect(JSON.parse(await response.text())).toMatchObject({
      error: { metadata: { reason: 'gateway_misconfigured' } },
    })
  })

  test('slow client', LIMIT, async () => {
    const text = `data: {"choices":[{"index":0,"delta":{"content":"${'x'.repeat(1000)}"}}]}\n\n`
    const end =
      'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    const events = 2_000
    await upstream.control.script('long', {
      chunks: [{ text: text.repeat(events) }, { text: end }],
    })
    const body = JSON.stringify({ model: 'script/long', stream: true, messages: MESSAGES })
    const { hostname, port } = new URL(worker.origin)
    const socket = connect(Number(port), hostname)
    socket.write(
      `POST /api/v1/chat/completions HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${TOKEN}\r\n` +
        `x-test-fault: slow client\r\ncontent-type: application/json\r\nconnection: close\r\n` +
        `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
    let bytes = 0
    let rest = ''
    for await (const chunk of socket) {
      bytes += chunk.length
      rest = (rest + chunk).slice(-200)
      if (bytes < 500_000) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    expect(bytes).toBeGreaterThan(text.length * events)
    expect(rest).toContain('[DONE]')
    const [alpha] = await settled('slow client')
    expect(alpha).toMatchObject({ reason: null, total: { attempts: 1, successes: 1 } })
  })
})
