import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { inject } from 'vitest'

/** Several Workers as they are deployed, each on a port of its own, with the objects of the first. */
export interface SeveralWorkers {
  readonly origins: readonly string[]
  /** The names of the flights that have been called. */
  flights(): Promise<readonly string[]>
  /** Ends a flight's object at once, with all that it is doing. */
  kill(name: string): Promise<void>
  /** Ends the memory of a flight's object that has nothing to do. */
  evict(name: string): Promise<void>
  /** The tables that a flight's object has stored. */
  tablesOf(name: string): Promise<readonly string[]>
  close(): Promise<void>
}

const NAMES = ['first', 'second', 'third'] as const
const CLASSES = { KEY_POOL: 'KeyPool', FLIGHT: 'Flight' } as const

/** Stands before the built Worker: a test learns which flights there are, and ends them. */
const ENTRY = `
import worker, { Flight as BuiltFlight } from './index.js'
export { KeyPool } from './index.js'
const names = new Set()
export class Flight extends BuiltFlight {
  constructor(ctx, env) {
    super(ctx, env)
    names.add(ctx.id.name)
  }
  kill() {
    this.ctx.abort('killed by the test')
  }
}
export default {
  ...worker,
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url)
    if (pathname === '/test-flights') return Response.json([...names])
    if (pathname !== '/test-kill') return await worker.fetch(request, env, ctx)
    await env.FLIGHT.getByName(searchParams.get('name')).kill().catch(() => undefined)
    return new Response()
  },
}
`

/** @param bindings variables and secrets */
export async function serveSeveralWorkers(
  bindings: Readonly<Record<string, unknown>>,
): Promise<SeveralWorkers> {
  const { source, options } = inject('builtWorker')
  const worker = JSON.parse(options)
  const [first] = NAMES
  const ofFirst = Object.entries(CLASSES).map(([binding, className]) => [
    binding,
    { className, scriptName: first, useSQLite: true },
  ])
  const esModule = (path: string, contents: string) =>
    ({ type: 'ESModule', path, contents }) as const
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: '127.0.0.1',
      cf: false,
      log: new Log(LogLevel.NONE),
      logRequests: false,
      handleStructuredLogs: () => undefined,
      unsafeInspectDurableObjects: true,
      workers: NAMES.map((name) => ({
        ...worker,
        ...(name === first ? {} : { durableObjects: Object.fromEntries(ofFirst) }),
        name,
        modules: [esModule('entry.js', ENTRY), esModule('index.js', source)],
        modulesRules: undefined,
        bindings: { ...worker.bindings, ...bindings },
        unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      })),
    }),
  )
  await miniflare.ready
  const origins = await Promise.all(
    NAMES.map(async (name) => (await miniflare.unsafeGetDirectURL(name)).origin),
  )
  const ask = (path: string) => fetch(`${origins[0]}${path}`)
  return {
    origins,
    flights: async () => JSON.parse(await (await ask('/test-flights')).text()),
    kill: async (name) => void (await ask(`/test-kill?${new URLSearchParams({ name })}`)),
    evict: (name) => miniflare.unsafeEvictDurableObject(first, CLASSES.FLIGHT, { name }),
    async tablesOf(name) {
      const storage = await miniflare.unsafeGetDurableObjectStorage(first, CLASSES.FLIGHT, { name })
      const rows = await storage.exec("SELECT name FROM sqlite_master WHERE type = 'table'")
      return rows.map((row) => String(row.name)).filter((table) => !table.startsWith('_cf'))
    },
    close: () => miniflare.dispose(),
  }
}
