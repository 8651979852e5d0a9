import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { createApp } from '../../src/app.ts'
import { createPool } from '../../src/balancing/pool-state.ts'
import { poolConfig, readConfig } from '../../src/config/config.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { PoolHost } from '../../src/key-pool/host.ts'
import type { HostPorts } from '../../src/key-pool/host-ports.ts'
import { createStore } from '../../src/key-pool/rows/record-store.ts'
import { createInMemoryRows } from '../gateway/in-memory-rows.ts'

export const TOKEN = 'sy-test-token-0001'

export const ANSWER = JSON.stringify({
  id: 'gen-1700000000-abcdefghijklmnopqrst',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2, cost: 0.001 },
})

export interface UpstreamRequest {
  readonly url: string
  readonly headers: Headers
  readonly body: Uint8Array
  /** Of a body that was a text. */
  readonly text: string
  readonly redirect: string | undefined
  readonly signal: AbortSignal | null
}

const NO_CHANGES = {}

/** The paths at which the gateway looks up its keys in the background. */
const LOOKUPS = /\/(?:key|auth\/key|credits)$/

/** OpenRouter's answer about a key without a cap. */
const UNCAPPED = { data: { limit: null, limit_remaining: null, usage: 0 } }

/**
 * The whole app in front of a test's upstream.
 * @param lookup how upstream answers lookups of keys
 */
export function gatewayInFrontOf(
  upstream: (request: UpstreamRequest) => Response | Promise<Response>,
  changes: Partial<Ports> = {},
  lookup: (request: UpstreamRequest) => Response | Promise<Response> = () => json(UNCAPPED),
) {
  const received: UpstreamRequest[] = []
  const lookups: UpstreamRequest[] = []
  const ports: Ports = {
    async fetch(url, init) {
      const { redirect, signal = null } = init
      const body = init.body instanceof Uint8Array ? init.body.slice() : new Uint8Array(0)
      const text = typeof init.body === 'string' ? init.body : ''
      const request = { url, headers: new Headers(init.headers), body, text, redirect, signal }
      const isLookup = LOOKUPS.test(new URL(url).pathname)
      const calls = isLookup ? lookups : received
      calls.push(request)
      return await (isLookup ? lookup(request) : upstream(request))
    },
    nowMs: () => Date.now(),
    random: () => 0,
    timer(ms, callback) {
      const id = setTimeout(callback, ms)
      return () => clearTimeout(id)
    },
    uniqueId: () => crypto.randomUUID(),
    ...changes,
  }
  const app = createApp(ports)
  // Each environment object is a separate deployment with its own configuration. The same bindings
  // mean the same deployment.
  const environments = new WeakMap<object, object>()
  const environmentOf = (bindings: object) => {
    const environment = environments.get(bindings) ?? { ...env, ...bindings }
    environments.set(bindings, environment)
    return environment
  }
  const send = async (
    path: string,
    init: RequestInit = {},
    bindings: Readonly<Record<string, unknown>> = NO_CHANGES,
  ): Promise<Response> => {
    const context = createExecutionContext()
    const request = new Request(`https://gateway.example${path}`, init)
    const response = await app.fetch(request, environmentOf(bindings), context)
    const body = response.body === null ? null : await response.arrayBuffer()
    await waitOnExecutionContext(context)
    return new Response(body, response)
  }
  return { send, received, lookups }
}

/**
 * Bindings with a pool object of their own, in memory and without timers: that of the platform has
 * the configuration of all tests.
 */
export function withOwnPool(bindings: Readonly<Record<string, unknown>>) {
  return ownPool(bindings).bindings
}

/** As `withOwnPool`, with a look into the pool. */
export function ownPool(
  bindings: Readonly<Record<string, unknown>>,
  ports: Partial<Pick<HostPorts, 'nowMs' | 'timer' | 'store'>> = {},
) {
  const read = readConfig({ ...env, ...bindings })
  if (!read.ok) throw new Error(JSON.stringify(read))
  const state = createPool(poolConfig(read.config), (ports.nowMs ?? Date.now)())
  const host = new PoolHost(state, {
    nowMs: () => Date.now(),
    timer: () => () => undefined,
    random: () => 0.5,
    store: createStore(createInMemoryRows()),
    sync: () => undefined,
    logBug(bug) {
      throw bug
    },
    logTransition: () => undefined,
    logAlert: () => undefined,
    logUndelivered: () => undefined,
    logDrift: () => undefined,
    ...ports,
  })
  // The object gives out under its own name what a part of the host does.
  const object = new Proxy(host, {
    get(target, name) {
      const owner = Reflect.has(target, name) ? target : target.answers
      const value: unknown = Reflect.get(owner, name)
      return typeof value === 'function' ? value.bind(owner) : value
    },
  })
  return { state, object, bindings: { ...bindings, KEY_POOL: { getByName: () => object } } }
}

/** A request for a chat completion. */
export function chat(changes: RequestInit = {}): RequestInit {
  return {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'vendor/model', messages: [{ role: 'user', content: 'Hi' }] }),
    ...changes,
  }
}

export function json(body: unknown, init: ResponseInit = {}): Response {
  return Response.json(body, init)
}

/** The reason in an error of the gateway itself. */
export async function reasonOf(response: Response): Promise<unknown> {
  const body: { error?: { code?: number; metadata?: { source?: string; reason?: string } } } =
    await response.json()
  if (body.error?.metadata?.source !== 'switchyard' || body.error.code !== response.status) {
    throw new Error(`Not an error of the gateway: ${JSON.stringify(body)}`)
  }
  return body.error.metadata.reason
}
