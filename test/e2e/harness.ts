import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, onTestFinished } from 'vitest'
import { createTestHarness, type WorkerHandle } from 'wrangler'
import type { Counters } from '../../src/balancing/accounting/ledger.ts'
import type { PoolSnapshot } from '../../src/balancing/snapshot.ts'
import { type SimulatorControl, simulatorControl } from '../simulator/client.ts'

/** The name of the one pool object. */
export const POOL_OBJECT = { name: 'pool/default/0' } as const

/** The token of the client `tester`, whom every gateway of these tests lets in. */
export const TOKEN = 'sy-e2e-token'

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
  readonly tags?: readonly string[]
  /** As the simulator has it where nothing else is said; null leaves it to be learned. */
  readonly account?: string | null
  readonly disabled?: boolean
}

export interface GatewayOptions {
  /** In their order. Three keys of three accounts where nothing else is said. */
  readonly keys?: readonly (KeyName | KeyOptions)[]
  /** `POLICY`. `priority` where nothing else is said, so that the first key is always asked first. */
  readonly policy?: { [field: string]: Json }
  /** Variables beside `UPSTREAM_URL` and `POLICY`. */
  readonly vars?: Record<string, Json>
  /** Secrets in place of or beside the usual ones; an empty text stands for none. */
  readonly secrets?: Record<string, string>
}

/** One line of the gateway's log. */
export interface LogLine {
  readonly level: string
  readonly text: string
}

/** The built Worker behind a real port, with a pool of its own. */
export interface Gateway {
  readonly origin: string
  /** OpenAI's own client. It tries nothing again by itself, unless it is told to. */
  client(options?: { readonly maxRetries?: number; readonly path?: string }): OpenAI
  /** Any request with the client's token; the path from the origin. */
  send(path: string, init?: RequestInit): Promise<Response>
  /** A chat completion as raw HTTP. */
  chat(body: object, headers?: Record<string, string>): Promise<Response>
  pool(): Promise<PoolSnapshot>
  /** The pool when every lease is back; bookkeeping goes on after an answer. */
  settledPool(): Promise<PoolSnapshot>
  logs(): LogLine[]
  readonly worker: WorkerHandle
}

/** The simulator, in its default world before each test. */
export interface Upstream {
  readonly control: SimulatorControl
  /** Where the gateway's requests go. */
  url(): string
}

export const MESSAGES = [{ role: 'user' as const, content: 'Wie geht’s?' }]

/** A small paid model of the simulator's. */
export const MODEL = 'openai/gpt-4o-mini'

/** Serves the simulator to one test file. */
export function useSimulator(): Upstream {
  const server = createTestHarness({ workers: [{ configPath: './test/simulator/wrangler.toml' }] })
  let origin = ''
  const control = simulatorControl('http://simulator.test', (url, init) => {
    const { pathname, search } = new URL(url)
    return fetch(origin + pathname + search, init)
  })
  beforeAll(async () => {
    origin = (await server.listen()).url.origin
  })
  afterAll(() => server.close())
  beforeEach(async () => {
    await control.reset()
  })
  return { control, url: () => `${origin}/api/v1` }
}

/**
 * A gateway for this one test. What a test does to a pool lasts, and there is no way to make a
 * running object forget; starting another Worker takes less than a second.
 */
export async function startGateway(upstream: Upstream, options?: GatewayOptions): Promise<Gateway> {
  const { gateway, close } = await serve(upstream, options)
  onTestFinished(close)
  return gateway
}

/**
 * One gateway for all tests of the file or block, where no test changes what the others see.
 *
 * @param options a function where they are only known once other servers run
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

async function serve(upstream: Upstream, options: GatewayOptions = {}) {
  const server = createTestHarness({
    workers: [
      {
        configPath: './wrangler.toml',
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
      },
    ],
  })
  const { origin } = (await server.listen()).url
  const worker = server.getWorker()
  const send = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${TOKEN}`)
    return fetch(origin + path, { redirect: 'manual', ...init, headers })
  }
  const pool = () => poolOf(worker)
  const gateway: Gateway = {
    origin,
    client: ({ maxRetries = 0, path = '/api/v1' } = {}) =>
      new OpenAI({ baseURL: origin + path, apiKey: TOKEN, maxRetries }),
    send,
    chat: (body, headers = {}) =>
      send('/api/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ model: MODEL, messages: MESSAGES, ...body }),
      }),
    pool,
    settledPool: () => until(pool, ({ keys }) => keys.every((key) => key.inFlight === 0)),
    logs: () => server.getLogs().map(({ level, message }) => ({ level, text: message })),
    worker,
  }
  return { gateway, close: () => server.close() }
}

function entry(key: KeyName | KeyOptions) {
  const { name, ...limits } = typeof key === 'string' ? { name: key } : key
  const { account = ACCOUNTS[name], ...others } = limits
  return { id: name, key: secretOf(name), ...(account === null ? {} : { account }), ...others }
}

/** Sends so many requests, so many of them at a time, and reads every answer to its end. */
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

/** How many answers each key gave, as the answers themselves say. */
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

/** Asks the object itself. It can't be evicted any more then: the harness keeps the stub. */
async function poolOf(worker: WorkerHandle): Promise<PoolSnapshot> {
  const env = await worker.getEnv()
  const binding: PoolBinding = env.KEY_POOL
  return await binding.getByName(POOL_OBJECT.name).snapshot()
}

const POLL_EVERY_MS = 20

/** Looks again and again until what it sees is right; throws with what it last saw. */
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

/** What a snapshot says of one key. */
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

/** How the counters of all keys together change over some work. */
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
