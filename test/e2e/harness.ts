import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, expect, onTestFinished } from 'vitest'
import type { Counters } from '../../src/balancing/accounting/ledger.ts'
import type { PoolSnapshot } from '../../src/balancing/snapshot.ts'
import { type SimulatorControl, simulatorControl } from '../simulator/client.ts'
import { listen } from '../simulator/listen.ts'
import {
  type LogLine,
  type Platform,
  type Serving,
  type SpanRecord,
  serveWorker,
} from './serve-worker.ts'

/** The name of the one pool object. */
export const POOL_OBJECT = { name: 'pool/default/0' } as const

/** The token of the client `tester`, which every gateway of these tests accepts. */
export const TOKEN = 'sy-e2e-token-000001'

const ACCOUNTS = { alpha: 'acme', beta: 'acme', gamma: 'globex', delta: 'initech' } as const

/** A key of the simulator's default world. */
export type KeyName = keyof typeof ACCOUNTS

/** The key itself, as the simulator knows it. */
export const secretOf = (name: KeyName) => `sk-or-v1-simulated-${name}`

type Json = string | number | boolean | null | Json[] | { [field: string]: Json }

interface KeyOptions {
  readonly name: KeyName
  readonly weight?: number
  readonly max_concurrent?: number
  readonly rpm?: number
  readonly tpm?: number
  readonly min_credit?: number
  readonly max_spend?: { readonly usd: number; readonly period: string }
  readonly tags?: readonly string[]
  /** Default: the account in the simulator. Null: the pool must learn it from a lookup. */
  readonly account?: string | null
  readonly disabled?: boolean
}

export interface GatewayOptions {
  /** The keys in order. Default: three keys of three accounts. */
  readonly keys?: readonly (KeyName | KeyOptions)[]
  /** `POLICY`. The default strategy is `priority`, so that the first key is always tried first. */
  readonly policy?: { [field: string]: Json }
  /** Variables beside `UPSTREAM_URL` and `POLICY`. */
  readonly vars?: Record<string, Json>
  /** Secrets that replace or extend the usual ones. An empty text means no secret. */
  readonly secrets?: Record<string, string>
  /** Whether it has the bindings of `docs/batches.toml`. */
  readonly batches?: true
  /** Whether the operators' pages have their script and style. */
  readonly assets?: true
  /** Whether its requests are traced. */
  readonly isTraced?: boolean
}

/** The built Worker behind a real port, with its own pool. */
export interface Gateway {
  readonly origin: string
  /** OpenAI's own client. It does not retry unless `maxRetries` says so. */
  client(options?: { readonly maxRetries?: number; readonly path?: string }): OpenAI
  /** Any request with the client's token. The path starts at the origin. */
  send(path: string, init?: RequestInit): Promise<Response>
  /** A chat completion as raw HTTP. */
  chat(body: object, headers?: Record<string, string>): Promise<Response>
  pool(): Promise<PoolSnapshot>
  /** The pool once every lease is back, which may be shortly after the answer. */
  settledPool(): Promise<PoolSnapshot>
  logs(): LogLine[]
  /** None unless its requests are traced. */
  spans(): readonly SpanRecord[]
  readonly worker: Platform
}

/** One of several Workers in one test harness. */
export type PortlessGateway = Omit<Gateway, 'origin' | 'client' | 'spans'>

/** The simulator. It is reset to its default world before each test. */
export interface Upstream {
  readonly control: SimulatorControl
  /** Where the gateway's requests go. */
  url(): string
}

export const MESSAGES = [{ role: 'user' as const, content: 'Wie geht’s?' }]

/** A cheap paid model of the simulator. */
export const MODEL = 'openai/gpt-4o-mini'

/** Serves the simulator to one test file, from this process: so it costs no start and no port's hop. */
export function useSimulator({ resets = true } = {}): Upstream {
  let server: Awaited<ReturnType<typeof listen>> | null = null
  const origin = () => {
    if (server === null) throw new Error('Only within a test')
    return server.url.origin
  }
  const control = simulatorControl('http://simulator.test', (url, init) => {
    const { pathname, search } = new URL(url)
    return fetch(origin() + pathname + search, init)
  })
  beforeAll(async () => {
    server = await listen()
  })
  afterAll(() => server?.close())
  beforeEach(async () => {
    if (resets) await control.reset()
  })
  return { control, url: () => `${origin()}/api/v1` }
}

/**
 * Starts a gateway for one test. A running object cannot be reset to an empty pool, and another
 * Worker starts in less than a second.
 */
export async function startGateway(upstream: Upstream, options?: GatewayOptions): Promise<Gateway> {
  const { gateway, close } = await serve(upstream, options)
  onTestFinished(close)
  return gateway
}

/**
 * Stands before the built Worker, and puts its clock on: the Worker and its object run in one isolate
 * here. Timers still take their time.
 */
const CLOCK_ENTRY = `
import worker from './index.js'
export * from './index.js'
const { now } = Date
let aheadMs = 0
Date.now = () => now() + aheadMs
export default {
  ...worker,
  fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url)
    if (pathname !== '/test-clock') return worker.fetch(request, env, ctx)
    aheadMs += Number(searchParams.get('ms'))
    return new Response()
  },
}
`

/** A gateway of which a test decides how late it is. `pass` puts its clock on. */
export async function startGatewayWithClock(upstream: Upstream, options?: GatewayOptions) {
  const { gateway, close } = await serve(upstream, options, { entry: CLOCK_ENTRY })
  onTestFinished(close)
  const pass = async (ms: number) => {
    expect((await gateway.send(`/test-clock?ms=${ms}`)).status).toBe(200)
  }
  return { gateway, pass }
}

/**
 * One gateway for all tests of a file or block. Use it if no test changes what the others see.
 *
 * @param options a function if the options are known only once other servers run
 */
export function useGateway(
  upstream: Upstream,
  options: GatewayOptions | (() => GatewayOptions) = {},
): () => Gateway {
  let served: Awaited<ReturnType<typeof serve>> | null = null
  beforeAll(async () => {
    served = await serve(upstream, typeof options === 'function' ? options() : options)
  })
  afterAll(() => served?.close())
  return () => {
    if (served === null) throw new Error('Only within a test')
    return served.gateway
  }
}

async function serve(upstream: Upstream, options: GatewayOptions = {}, serving: Serving = {}) {
  const { vars, secrets } = workerInput(upstream, options)
  const { isTraced = false, assets: hasAssets = false, batches: withBatches } = options
  const served = await serveWorker(
    { ...vars, ...secrets },
    { isTraced, hasAssets, withBatches, ...serving },
  )
  const { origin, platform, logs, spans, close } = served
  const gateway: Gateway = {
    ...gatewayOf(logs, platform, (path, init) => fetch(origin + path, init)),
    origin,
    spans,
    client: ({ maxRetries = 0, path = '/api/v1' } = {}) =>
      new OpenAI({ baseURL: origin + path, apiKey: TOKEN, maxRetries }),
  }
  return { gateway, close }
}

/** The built Worker as a test harness takes it. */
export function workerInput(
  upstream: Upstream,
  options: GatewayOptions = {},
  configPath = './wrangler.toml',
) {
  return {
    configPath,
    vars: {
      UPSTREAM_URL: upstream.url(),
      POLICY: options.policy ?? { strategy: 'priority' },
      ...options.vars,
    },
    secrets: {
      OPENROUTER_KEYS: JSON.stringify((options.keys ?? ['alpha', 'gamma', 'delta']).map(entry)),
      CLIENT_KEYS: `tester:${TOKEN}`,
      ...options.secrets,
    },
  }
}

/** @param reach sends a request to the Worker */
export function gatewayOf(
  logs: () => LogLine[],
  worker: Platform,
  reach: (path: string, init: RequestInit) => Promise<Response>,
): PortlessGateway {
  const send = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${TOKEN}`)
    return reach(path, { redirect: 'manual', ...init, headers })
  }
  const pool = () => poolOf(worker)
  return {
    send,
    chat: (body, headers = {}) =>
      send('/api/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ model: MODEL, messages: MESSAGES, ...body }),
      }),
    pool,
    settledPool: () => until(pool, ({ keys }) => keys.every((key) => key.inFlight === 0)),
    logs,
    worker,
  }
}

function entry(key: KeyName | KeyOptions) {
  const { name, ...limits } = typeof key === 'string' ? { name: key } : key
  const { account = ACCOUNTS[name], ...others } = limits
  return { id: name, key: secretOf(name), ...(account === null ? {} : { account }), ...others }
}

/** The pool once every key has been looked up. Some request must have caused the lookups. */
export function lookedUpPool({ pool }: PortlessGateway): Promise<PoolSnapshot> {
  return until(pool, ({ keys }) => keys.every(({ credit }) => credit !== null))
}

/** Sends one request, which causes the first lookups of the keys, and waits for these. */
export async function warmUp(gateway: PortlessGateway): Promise<void> {
  await gateway.chat({}).then((response) => response.arrayBuffer())
  await lookedUpPool(gateway)
}

/** Sends `count` requests, a limited number at a time, and reads every answer to its end. */
export async function sendMany(
  count: number,
  concurrency: number,
  send: (i: number) => Promise<Response>,
): Promise<Response[]> {
  const responses: Response[] = []
  let next = 0
  const worker = async () => {
    while (next < count) {
      const i = next
      next += 1
      const response = await send(i)
      await response.arrayBuffer()
      responses.push(response)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return responses
}

/** The number of answers of each key, by the answers' own headers. */
export function servedBy(responses: readonly Response[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const response of responses) {
    const name = response.ok ? String(journeyOf(response).key) : String(response.status)
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

interface PoolBinding {
  getByName(name: string): { snapshot(): Promise<PoolSnapshot> }
}

/** Asks the object itself. The harness keeps the stub, so the object can't be evicted later. */
async function poolOf(worker: Pick<Platform, 'getEnv'>): Promise<PoolSnapshot> {
  const env = await worker.getEnv()
  const binding: PoolBinding = env.KEY_POOL
  return await binding.getByName(POOL_OBJECT.name).snapshot()
}

const POLL_EVERY_MS = 20

/** Calls `look` repeatedly until its result is right. Throws with the last result if time is up. */
export async function until<Observation>(
  look: () => Promise<Observation>,
  isRight: (received: Observation) => boolean,
  timeoutMs = 5000,
): Promise<Observation> {
  const deadlineMs = Date.now() + timeoutMs
  for (;;) {
    const received = await look()
    if (isRight(received)) return received
    if (Date.now() >= deadlineMs) {
      throw new Error(`Not within ${timeoutMs} ms: ${JSON.stringify(received)}`)
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS))
  }
}

/** The entry of one key in a snapshot. */
export function keyOf({ keys }: PoolSnapshot, name: KeyName) {
  const key = keys.find(({ id }) => id === name)
  if (key === undefined) throw new Error(`No key ${name}`)
  return key
}

/** Which key answered, and after how many attempts. */
export function journeyOf({ headers }: Response) {
  return {
    key: headers.get('x-switchyard-key'),
    attempts: Number(headers.get('x-switchyard-attempts')),
  }
}

/** The `error` of a JSON error body. */
export async function errorOf(response: Response) {
  const { error } = JSON.parse(await response.text())
  return error
}

/** How much the counters of all keys together change during some work. */
export async function countedOver(gateway: Gateway, work: () => Promise<unknown>) {
  const counters = async () => {
    const { keys } = await gateway.settledPool()
    return (name: Exclude<keyof Counters, 'faults'>) =>
      keys.reduce((sum, { total }) => sum + total[name], 0)
  }
  const before = await counters()
  await work()
  const after = await counters()
  const change = (name: Exclude<keyof Counters, 'faults'>) => after(name) - before(name)
  return {
    attempts: change('attempts'),
    successes: change('successes'),
    failures: change('failures'),
    promptTokens: change('promptTokens'),
    completionTokens: change('completionTokens'),
    cachedTokens: change('cachedTokens'),
    reasoningTokens: change('reasoningTokens'),
    costUsd: change('costUsd'),
  }
}
