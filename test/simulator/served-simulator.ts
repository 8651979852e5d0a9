import { afterAll, beforeAll, beforeEach } from 'vitest'
import { type SimulatorControl, simulatorControl } from './client.ts'
import { listen } from './listen.ts'
import type { WorldInput } from './world.ts'

export const ALPHA = { authorization: 'Bearer sk-or-v1-simulated-alpha' }
export const BETA = { authorization: 'Bearer sk-or-v1-simulated-beta' }
export const GAMMA = { authorization: 'Bearer sk-or-v1-simulated-gamma' }
export const DELTA = { authorization: 'Bearer sk-or-v1-simulated-delta' }

/** The simulator for one test file, in its process. Each test begins in the default world. */
export interface ServedSimulator {
  readonly control: SimulatorControl
  /** Sends any request to a path of the origin. It does not follow redirects. */
  send(path: string, init?: RequestInit): Promise<Response>
  /** Sends a GET. */
  get(path: string, headers?: Record<string, string>): Promise<Response>
  /** Sends a POST of JSON to a path below /api/v1, by default with the key alpha. */
  ask(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
  /** Asks for a chat completion, by default of a small model and with the key alpha. */
  chat(body?: object, headers?: Record<string, string>): Promise<Response>
}

export function serveSimulator(): ServedSimulator {
  let server: Awaited<ReturnType<typeof listen>> | null = null
  let origin = new URL('http://localhost')
  const send = (path: string, init: RequestInit = {}) =>
    fetch(new URL(path, origin), { redirect: 'manual', ...init })
  const control = simulatorControl(origin, (url, init) => {
    const { pathname, search } = new URL(url)
    return send(pathname + search, init)
  })
  const ask = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    send(`/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...ALPHA, ...headers },
      body: JSON.stringify(body),
    })
  beforeAll(async () => {
    server = await listen()
    origin = server.url
  })
  afterAll(() => server?.close())
  beforeEach(() => control.reset())
  return {
    control,
    send,
    get: (path, headers = {}) => send(path, { headers }),
    ask,
    chat: (body = {}, headers = ALPHA) =>
      send('/api/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({
          model: 'openai/gpt-4o-mini',
          messages: [{ role: 'user', content: 'Wie geht’s?' }],
          ...body,
        }),
      }),
  }
}

/** One account with one key, alpha. */
export const SMALL_WORLD: WorldInput = {
  accounts: [{ id: 'solo', balanceUsd: 1 }],
  keys: [{ key: 'sk-or-v1-simulated-alpha', name: 'alpha', accountId: 'solo' }],
}

/** The parsed data of a stream's events, without `[DONE]`. Other lines of an event are ignored. */
export async function eventsOf(response: Response) {
  const text = await response.text()
  return text
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice('data: '.length)))
}

export async function bodyOf(response: Response) {
  return JSON.parse(await response.text())
}

/** The `error` of an error body. */
export async function errorOf(response: Response) {
  return (await bodyOf(response)).error
}
