import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { createApp } from '../../src/app.ts'
import type { FlightMethods } from '../../src/flight/flight-protocol.ts'
import type { AnswerRows, KeptAnswer } from '../../src/flight/object/answer-rows.ts'
import { FlightHost } from '../../src/flight/object/flight-host.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { gatewayOf, MEMORY } from '../../src/http/composition-root.ts'
import { json, withOwnPool } from '../http/gateway-driver.ts'

/** An upstream call that a test answers, piece by piece. */
export interface UpstreamCall {
  readonly body: Uint8Array
  readonly signal: AbortSignal | null
  /** Begins the answer, as a stream unless a response is given. */
  answer(response?: Response): void
  write(text: string): void
  end(text?: string): void
  /** The connection breaks. */
  breakOff(): void
}

export const TOKENS = {
  app: 'sy-flight-token-of-app',
  mate: 'sy-flight-token-of-mate',
  broke: 'sy-flight-token-of-broke',
} as const
export type Name = keyof typeof TOKENS

const ADMIN = 'admin-token-of-the-flights-tests-1'

export const chunk = (text: string, finish: string | null = null) =>
  `data: ${JSON.stringify({ id: 'gen-1', choices: [{ index: 0, delta: { content: text }, finish_reason: finish }] })}\n\n`
export const END = `${chunk('', 'stop')}data: [DONE]\n\n`
export const WHOLE = {
  id: 'gen-1',
  choices: [{ index: 0, message: { content: 'Hi' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1, cost: 0.001 },
}

const LIMITS = { app: {}, mate: { rpm: 2 }, broke: { budget: { usd: 0, period: 'day' } } } as const
const CLIENT_KEYS = JSON.stringify({
  groups: [{ id: 'team' }],
  clients: Object.entries(TOKENS).map(([id, token]) => ({
    ...{ id, token, group: 'team' },
    ...LIMITS[id as Name],
  })),
})

export interface Asked {
  readonly client?: Name
  readonly body?: object
  /** The body's own text, in the place of `body`. */
  readonly text?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly path?: string
  readonly signal?: AbortSignal
}

/** The whole app with flights of its own, on a clock that the test puts on. */
/** @param changes other bindings */
export function createFlightWorld(route: object, policy: object = {}, changes: object = {}) {
  const calls: UpstreamCall[] = []
  const clock = createClock()
  const ports: Ports = {
    ...{ nowMs: clock.nowMs, timer: clock.timer, random: () => 0 },
    uniqueId: () => crypto.randomUUID(),
    async fetch(url, init) {
      if (/\/(?:key|auth\/key|credits)$/.test(new URL(url).pathname)) {
        return json({ data: { limit: null, limit_remaining: null, usage: 0 } })
      }
      // What models cost, for a client with a budget.
      if (init.method !== 'POST') return json({ data: [] })
      const { call, response } = upstreamCall(init)
      calls.push(call)
      return await response
    },
  }
  const bindings = withOwnPool({
    ADMIN_TOKEN: ADMIN,
    CLIENT_KEYS,
    POLICY: { routes: [{ models: ['vendor/*'], cache: route }], ...policy },
  })
  const pool = counted(bindings.KEY_POOL.getByName())
  const flights = createFlights(ports)
  const environment = {
    ...env,
    ...bindings,
    KEY_POOL: { getByName: () => pool.object },
    FLIGHT: flights.namespace,
    ...changes,
  } as unknown as Env
  flights.open(environment)
  const app = createApp(ports)
  const send = async (path: string, init: RequestInit): Promise<Response> =>
    await app.fetch(
      new Request(`https://gateway.example${path}`, init),
      environment,
      createExecutionContext(),
    )
  return {
    calls,
    flights,
    /** What the pool's object was asked. */
    poolAsked: pool.asked,
    pass: clock.pass,
    ask: ({
      client = 'app',
      body = {},
      text = JSON.stringify({ model: 'vendor/model', messages: [], stream: true, ...body }),
      headers = {},
      path = 'chat/completions',
      signal,
    }: Asked = {}) =>
      send(`/v1/${path}`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${TOKENS[client]}`,
          'content-type': 'application/json',
          ...headers,
        },
        body: text,
        ...(signal === undefined ? {} : { signal }),
      }),
    fetchAnswer: (id: string, client: Name = 'app') =>
      send(`/api/v1/switchyard/answers/${id}`, {
        headers: { authorization: `Bearer ${TOKENS[client]}` },
      }),
    admin: (path: string, body: object) =>
      send(`/admin/api/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${ADMIN}` },
        body: JSON.stringify(body),
      }),
    /** What operators see, as text. */
    async shown(path: string): Promise<string> {
      const response = await send(path, { headers: { authorization: `Bearer ${ADMIN}` } })
      return await response.text()
    },
    /** The call that comes next, once it has. */
    async call(number: number): Promise<UpstreamCall> {
      for (let turn = 0; turn < 500; turn += 1) {
        const call = calls[number]
        if (call !== undefined) return call
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      throw new Error(`No call ${number}, only ${calls.length}`)
    },
  }
}

/** An object that notes which of its methods are called. */
function counted<T extends object>(object: T) {
  const asked: string[] = []
  const get = (target: T, name: string | symbol) => {
    const value: unknown = Reflect.get(target, name)
    if (typeof value !== 'function') return value
    return (...given: readonly unknown[]) => {
      asked.push(String(name))
      return value(...given)
    }
  }
  return { asked, object: new Proxy(object, { get }) }
}

function createClock() {
  const timers = new Set<{ readonly atMs: number; readonly callback: () => void }>()
  const startMs = Date.now()
  let passedMs = 0
  const nowMs = () => startMs + passedMs
  return {
    nowMs,
    timer(ms: number, callback: () => void) {
      // What rests for a moment only is not what a test waits for.
      if (ms === 0) {
        const id = setTimeout(callback, 0)
        return () => clearTimeout(id)
      }
      const timer = { atMs: nowMs() + ms, callback }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    /** Lets time pass, and what is due happen. */
    async pass(ms: number) {
      passedMs += ms
      for (const timer of [...timers].sort((a, b) => a.atMs - b.atMs)) {
        if (timer.atMs <= nowMs() && timers.delete(timer)) timer.callback()
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    },
  }
}

function upstreamCall(init: RequestInit) {
  const { promise: response, resolve, reject } = Promise.withResolvers<Response>()
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(undefined, {
    highWaterMark: 1000,
  })
  const writer = writable.getWriter()
  const signal = init.signal ?? null
  const breakOff = () => {
    reject(new Error('broken'))
    writer.abort(new Error('broken')).catch(() => undefined)
  }
  signal?.addEventListener('abort', breakOff)
  const encoder = new TextEncoder()
  const write = (text: string) => void writer.write(encoder.encode(text)).catch(() => undefined)
  const headers = { 'content-type': 'text/event-stream', 'x-generation-id': 'gen-1' }
  const call: UpstreamCall = {
    body: init.body instanceof Uint8Array ? init.body.slice() : new Uint8Array(0),
    signal,
    answer: (given) => resolve(given ?? new Response(readable, { headers })),
    ...{ write, breakOff },
    end(text = '') {
      if (text !== '') write(text)
      void writer.close().catch(() => undefined)
    },
  }
  return { call, response }
}

/** Flights in memory, over rows that outlive them. */
function createFlights(ports: Ports) {
  const hosts = new Map<string, LivingHost>()
  const rows = new Map<string, AnswerRows>()
  const asked: string[] = []
  let environment: Env | null = null
  let failure: Error | null = null

  const hostFor = (name: string): LivingHost => {
    const known = hosts.get(name)
    if (known !== undefined) return known
    const stored = rows.get(name) ?? createRowsInMemory()
    rows.set(name, stored)
    if (environment === null) throw new Error('No environment')
    const result = gatewayOf(environment, ports)
    if (!result.ok) throw new Error('Misconfigured')
    const life = { isOver: false, breakOff: new Set<() => void>(), seats: new Set<string>() }
    const host = new FlightHost({
      ...{ ports, gateway: result.gateway, rows: rowsWhile(stored, () => !life.isOver) },
      background: () => undefined,
      setAlarm: () => undefined,
    })
    const living = { host, life }
    hosts.set(name, living)
    return living
  }
  const call = async <T>(
    name: string,
    method: string,
    use: (host: FlightHost) => T | Promise<T>,
  ) => {
    asked.push(method)
    if (failure !== null) throw failure
    const { host, life } = hostFor(name)
    return overWire(await use(host), life.breakOff)
  }
  return {
    asked,
    namespace: {
      getByName: (name: string): FlightMethods => ({
        join(request) {
          hostFor(name).life.seats.add(request.request.seat)
          return call(name, 'join', (host) => host.join(structuredClone(request)))
        },
        durable(request) {
          hostFor(name).life.seats.add(request.request.seat)
          return call(name, 'durable', (host) => host.durable(structuredClone(request)))
        },
        fetchAnswer: (id, after) =>
          call(name, 'fetchAnswer', (host) => host.fetchAnswer(id, after)),
        leave: (seat) => call(name, 'leave', (host) => host.leave(seat)),
        isolate: () => call(name, 'isolate', () => MEMORY.id),
      }),
    },
    open(given: Env) {
      environment = given
    },
    /** Every call fails so from now on. */
    fail(error: Error) {
      failure = error
    },
    /** The objects lose their memory, as after ten seconds without a call. */
    evict: () => hosts.clear(),
    names: () => [...rows.keys()],
    /**
     * The objects die, with all that they were doing. What is in their rows stays.
     * @param calls those that they have open
     */
    kill(calls: readonly UpstreamCall[]) {
      for (const { host, life } of hosts.values()) {
        life.isOver = true
        for (const breakOff of life.breakOff) breakOff()
        for (const seat of life.seats) host.leave(seat)
      }
      hosts.clear()
      for (const call of calls) call.breakOff()
    },
  }
}

interface LivingHost {
  readonly host: FlightHost
  readonly life: {
    isOver: boolean
    /** Breaks the streams off that have gone out. */
    readonly breakOff: Set<() => void>
    readonly seats: Set<string>
  }
}

/** What a dead object still does must not be seen. */
function rowsWhile(rows: AnswerRows, isAlive: () => boolean): AnswerRows {
  return {
    read: rows.read,
    write: (id, answer) => void (isAlive() && rows.write(id, answer)),
    begin: (id, answer) => (isAlive() ? rows.begin(id, answer) : 1),
    append: (id, part, bytes) => (isAlive() ? rows.append(id, part, bytes) : part),
    drop: (id) => void (isAlive() && rows.drop(id)),
    dropExpired: (nowMs) => (isAlive() ? rows.dropExpired(nowMs) : null),
  }
}

/** A stream that comes from another object is the platform's own, and can be read by the byte. */
function overWire<T>(reply: T, deaths: Set<() => void>): T {
  if (typeof reply !== 'object' || reply === null || !('body' in reply)) return reply
  if (!(reply.body instanceof ReadableStream)) return reply
  return { ...reply, body: byteStream(reply.body, deaths) }
}

function byteStream(
  stream: ReadableStream<Uint8Array>,
  deaths: Set<() => void>,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader()
  let isDead = false
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      deaths.add(() => {
        isDead = true
        controller.error(new Error('The object has died.'))
      })
    },
    async pull(controller) {
      const { done, value } = await reader.read()
      if (isDead) return
      // To enqueue takes the memory away, and here that is the buffer of all.
      if (value !== undefined) controller.enqueue(value.slice())
      if (!done) return
      controller.close()
      controller.byobRequest?.respond(0)
    },
    cancel: (reason) => reader.cancel(reason),
  })
}

function createRowsInMemory(): AnswerRows {
  const answers = new Map<string, KeptAnswer>()
  return {
    read: (id) => answers.get(id) ?? null,
    write: (id, answer) => void answers.set(id, answer),
    begin(id, answer) {
      answers.set(id, { ...answer, costUsd: null, bytes: new Uint8Array(0) })
      return 1
    },
    append(id, part, bytes) {
      const known = answers.get(id)
      if (known === undefined) return part
      answers.set(id, { ...known, bytes: Uint8Array.of(...known.bytes, ...bytes) })
      return part + 1
    },
    drop: (id) => void answers.delete(id),
    dropExpired(nowMs) {
      for (const [id, { expiresAtMs }] of answers) if (expiresAtMs <= nowMs) answers.delete(id)
      const next = Math.min(...[...answers.values()].map(({ expiresAtMs }) => expiresAtMs))
      return Number.isFinite(next) ? next : null
    },
  }
}
