import { afterAll, beforeAll } from 'vitest'
import type { SimulatorControl } from '../../simulator/client.ts'
import { REQUESTS, type ShapePath } from '../../simulator/shape-requests.ts'
import { TOKEN, until } from '../harness.ts'
import { type ServedWorker, serveWorker } from '../serve-worker.ts'
import type { Expected, FaultRow } from './fault-rows.ts'
import { type GoodAnswer, type RawUpstream, startRawUpstream } from './raw-upstream.ts'

/** One request that meets a fault: it has a model, two keys and a route of its own. */
export interface Cell {
  readonly id: string
  readonly row: FaultRow
  readonly path: ShapePath
  readonly stream: boolean
  /** Which of the pools: one has a hundred routes at most. */
  readonly pool: number
}

export const inWords = ({ path, stream }: Cell) => (stream ? `${path} streamed` : path)

/** What the row expects of this API in this form. */
export function expectedIn({ row, path, stream }: Cell): Expected {
  if (path === '/responses' && row.responses !== undefined) return row.responses
  return stream ? row.expected : (row.whole ?? row.expected)
}

/** An answer of one event has nothing that could fail after it, so images are left out. */
export const STREAMS = [
  '/chat/completions',
  '/completions',
  '/responses',
  '/messages',
] as const satisfies readonly ShapePath[]

const WAYS: readonly Pick<Cell, 'path' | 'stream'>[] = [
  ...[...STREAMS, '/embeddings' as const].map((path) => ({ path, stream: false })),
  ...STREAMS.map((path) => ({ path, stream: true })),
]

/** @param prefix of their ids */
export function cellsOf(
  prefix: string,
  rows: readonly FaultRow[],
  ways: typeof WAYS = WAYS,
): Cell[] {
  return rows.flatMap((row, r) =>
    ways
      .filter(({ stream }) => row.only === undefined || (row.only === 'streamed') === stream)
      .map(({ path, stream }, pool) => ({ id: `${prefix}${r}-${pool}`, row, path, stream, pool })),
  )
}

const SHORT_MS = 2_500
const LONG_MS = 110_000
/** A silent whole answer has no other clock, once its headers have come. */
const TOTAL_MS = 15_000

/** Faults that are known by a silence. Elsewhere a busy machine must not be taken for one. */
const SILENT = /hang|stall/

const modelOf = ({ id, row: { inject } }: Cell) =>
  inject.by === 'simulator' && inject.params === undefined
    ? `sim/${inject.name}@a-${id}`
    : `sim/ok@${id}`

function keysOf({ id, row: { inject } }: Cell) {
  const first = inject.by === 'bytes' ? `sk-or-v1-raw.${inject.name}.${id}` : `sk-or-v1-a-${id}`
  return [
    { id: `a-${id}`, key: first, account: `A-${id}` },
    { id: `b-${id}`, key: `sk-or-v1-b-${id}`, account: `B-${id}` },
  ]
}

function routeOf(cell: Cell) {
  const { inject } = cell.row
  const isSilent = inject.by === 'simulator' && SILENT.test(inject.name)
  const ms = isSilent ? SHORT_MS : LONG_MS
  const totalMs = isSilent ? TOTAL_MS : LONG_MS
  return {
    models: [modelOf(cell)],
    keys: keysOf(cell).map(({ id }) => id),
    timeouts: { headers_ms: ms, first_output_ms: ms, idle_ms: ms, total_ms: totalMs },
  }
}

/**
 * Stands before the built Worker and makes several gateways of it, each with its configuration and its
 * pool: one is soon started, and fifteen take as long as fifteen. Requests with a raw key go to another
 * port. One path tells of a cell's keys.
 */
const entryOf = (simulator: string, raw: string, closed: string) => `
import worker, { KeyPool as BuiltKeyPool } from './index.js'
export { Flight } from './index.js'
const send = globalThis.fetch
globalThis.fetch = (url, init) => {
  const key = new Headers(init?.headers).get('authorization') ?? ''
  const to = key.includes('-raw.refused.') ? '${closed}' : key.includes('-raw.') ? '${raw}' : null
  return send(to === null ? url : String(url).replace('${simulator}', to), init)
}
const configured = (env, pool) => ({ ...env, ...env.POOLS[pool] })
export class KeyPool extends BuiltKeyPool {
  constructor(ctx, env) {
    super(ctx, configured(env, ctx.id.name))
  }
}
const environments = new Map()
function environmentOf(env, pool) {
  const made = environments.get(pool)
  if (made !== undefined) return made
  const KEY_POOL = { getByName: () => env.KEY_POOL.getByName(pool) }
  environments.set(pool, { ...configured(env, pool), KEY_POOL })
  return environments.get(pool)
}
export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url)
    const pool = request.headers.get('x-test-pool')
    if (pathname !== '/test-cell') return await worker.fetch(request, environmentOf(env, pool), ctx)
    const [id, model] = [searchParams.get('id'), searchParams.get('model')]
    const stub = env.KEY_POOL.getByName(pool)
    const question = { asked: model, models: [model], affinity: null, tokens: 0, size: Number.MAX_VALUE }
    const [{ keys }, explained] = await Promise.all([stub.snapshot(), stub.explain(question)])
    return Response.json(['a-' + id, 'b-' + id].map((name) => {
      const { inFlight, total } = keys.find((key) => key.id === name)
      const { reasons = [] } = explained.keys.find(({ key }) => key === name)
      return { inFlight, reasons, successes: total.successes, failures: total.failures, ignored: total.ignored }
    }))
  },
}
`

/** Variables and secrets of one of the gateways. */
function poolOf(cells: readonly Cell[]) {
  return {
    OPENROUTER_KEYS: JSON.stringify(cells.flatMap(keysOf)),
    POLICY: {
      strategy: 'priority',
      breaker: { failures: 100 },
      credit: { refresh_s: 3600 },
      retry_budget: { ratio: 1, min_per_s: 100 },
      routes: cells.map(routeOf),
    },
  }
}

interface KeyState {
  readonly inFlight: number
  readonly reasons: readonly string[]
  readonly successes: number
  readonly failures: number
  readonly ignored: number
}

export interface Bench {
  /** Sends the requests of some cells, all at once, and says what came of each. */
  observe(cells: readonly Cell[]): Promise<Observed[]>
}

export type Observed = Expected & { readonly second: string }

/** One Worker for all cells of a file: each has keys of its own. */
export function useCells(
  cells: readonly Cell[],
  upstream: { readonly control: SimulatorControl; url(): string },
): Bench {
  let worker: ServedWorker
  let raw: RawUpstream
  beforeAll(async () => {
    const { origin } = new URL(upstream.url())
    await prepareSimulator(cells, upstream.control)
    raw = await startRawUpstream((path, body) => askSimulator(upstream.url() + path, body))
    const pools = Map.groupBy(cells, ({ pool }) => pool)
    const bindings = {
      UPSTREAM_URL: upstream.url(),
      CLIENT_KEYS: `tester:${TOKEN}`,
      POOLS: Object.fromEntries([...pools].map(([pool, those]) => [pool, poolOf(those)])),
    }
    const entry = entryOf(origin, `http://127.0.0.1:${raw.port}`, 'http://127.0.0.1:9')
    worker = await serveWorker(bindings, { entry })
  })
  afterAll(async () => {
    await worker?.close()
    await raw?.close()
  })
  const stateOf = async (cell: Cell): Promise<KeyState[]> => {
    const query = new URLSearchParams({ id: cell.id, model: modelOf(cell) })
    const headers = { 'x-test-pool': `${cell.pool}` }
    const response = await fetch(`${worker.origin}/test-cell?${query}`, { headers })
    return JSON.parse(await response.text())
  }
  /** Sends a request and waits until its leases are back. */
  const sent = async (cell: Cell) => {
    const response = await fetch(`${worker.origin}/api/v1${cell.path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${TOKEN}`,
        'content-type': 'application/json',
        'x-test-pool': `${cell.pool}`,
      },
      body: bodyOf(cell),
      redirect: 'manual',
    })
    const client = whatCame(response, Buffer.from(await response.arrayBuffer()), cell)
    // A key that nobody told how long to rest rests a second, which may or may not be over by now.
    const rests = expectedIn(cell).left !== 'failure'
    const isOver = (keys: readonly KeyState[]) =>
      isSettled(keys) && (rests || keys.every(({ reasons }) => reasons.length === 0))
    const [first, second] = await until(() => stateOf(cell), isOver, 20_000)
    return { cell, client, left: leftOn(first), second: leftOn(second) }
  }
  return {
    async observe(those) {
      const observed = await Promise.all(those.map(sent))
      const { perKey } = await upstream.control.stats()
      return observed.map(({ cell: { id }, ...others }) => {
        const simulated = [`a-${id}`, `b-${id}`].map((name) => perKey[name]?.requests ?? 0)
        const calls = simulated.reduce((sum, count) => sum + count, raw.calls.get(id) ?? 0)
        return { ...others, calls }
      })
    },
  }
}

const isSettled = (keys: readonly KeyState[]) =>
  keys.every(({ inFlight }) => inFlight === 0) &&
  keys.some(({ successes, failures, ignored }) => successes + failures + ignored > 0)

const bodyOf = (cell: Cell) =>
  JSON.stringify({
    ...REQUESTS[cell.path],
    model: modelOf(cell),
    ...(cell.stream ? { stream: true } : {}),
  })

async function prepareSimulator(cells: readonly Cell[], control: SimulatorControl): Promise<void> {
  const keys = cells.flatMap(keysOf).filter(({ key }) => !key.includes('-raw.'))
  await control.reset({
    accounts: [...keys, { account: 'spare' }].map(({ account }) => ({ id: account })),
    keys: [...keys, { id: 'spare', key: 'sk-or-v1-spare', account: 'spare' }].map(
      ({ id, key, account }) => ({ key, name: id, accountId: account }),
    ),
    settings: { tokensPerSecond: null, logLimit: 10_000 },
  })
  // A lookup that finds room would clear what a fault has left, sooner or later.
  await control.rule({ fault: 'plain-503', match: { path: '/key' } })
  for (const { id, row } of cells) {
    const { inject } = row
    if (inject.by !== 'simulator' || inject.params === undefined) continue
    await control.rule({ fault: inject.name, params: inject.params, match: { key: `a-${id}` } })
  }
}

async function askSimulator(url: string, body: string): Promise<GoodAnswer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-or-v1-spare', 'content-type': 'application/json' },
    body,
  })
  const contentType = response.headers.get('content-type') ?? ''
  return { contentType, bytes: Buffer.from(await response.arrayBuffer()) }
}

/** What a key shows besides its leases. */
function leftOn(key: KeyState | undefined): string {
  if (key === undefined) return 'no such key'
  const { reasons, successes, failures, ignored } = key
  if (reasons.length > 0) return reasons.join(', ')
  if (failures > 0) return 'failure'
  if (successes > 0) return 'success'
  return ignored > 0 ? 'nothing' : 'untouched'
}

const REASON = /"reason":"(\w+)"/

/** The answer in the table's words. */
function whatCame(response: Response, bytes: Buffer, { stream }: Cell): string {
  const text = bytes.toString()
  const reason = text.includes('"source":"switchyard"') ? REASON.exec(text)?.[1] : null
  if (response.status !== 200)
    return reason ? `${response.status} ${reason}` : `upstream’s ${response.status}`
  if (bytes.length === 0) return 'nothing'
  if (
    !/"error":\s*[{"]|"finish_reason":"error"|event: error|"type":"error"|"status":"failed"/.test(
      text,
    )
  )
    return 'good answer'
  if (!stream) return 'upstream’s 200 with the error'
  const output = /geht|Gr/.test(text) ? 'output, then ' : ''
  return reason ? `${output}an error event: ${reason}` : `${output}upstream’s error event`
}
