import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { inject } from 'vitest'
import type { WorkerHandle } from 'wrangler'

/** One line of the gateway's log. */
export interface LogLine {
  readonly level: string
  readonly text: string
}

/** What the platform can do to a Worker, and what it shows. */
export type Platform = Pick<
  WorkerHandle,
  'getEnv' | 'scheduled' | 'listDurableObjectIds' | 'evictDurableObject' | 'getDurableObjectStorage'
>

/** The built Worker on a port of its own. */
export interface ServedWorker {
  readonly origin: string
  readonly platform: Platform
  logs(): LogLine[]
  close(): Promise<void>
}

const NAME = 'switchyard'

/**
 * Starts the built Worker with storage of its own. wrangler's own test harness would build it again
 * each time, and put a second Worker before it.
 *
 * @param bindings variables and secrets
 * @param entry a module that stands before `./index.js`, which is the Worker
 * @param hasAssets whether it has its static assets, which put two more Workers before it
 */
export async function serveWorker(
  bindings: Readonly<Record<string, unknown>>,
  entry: string | null = null,
  hasAssets = false,
): Promise<ServedWorker> {
  const { source, options } = inject('builtWorker')
  const { assets, ...worker } = JSON.parse(options)
  const lines: LogLine[] = []
  const esModule = (path: string, contents: string) =>
    ({ type: 'ESModule', path, contents }) as const
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: '127.0.0.1',
      cf: false,
      log: new Log(LogLevel.NONE),
      logRequests: false,
      handleStructuredLogs: ({ level, message }) => lines.push({ level, text: message }),
      unsafeTriggerHandlers: true,
      unsafeInspectDurableObjects: true,
      workers: [
        {
          ...worker,
          ...(hasAssets ? { assets } : {}),
          name: NAME,
          // Of several modules the first one is the Worker's entry.
          modules: [
            ...(entry === null ? [] : [esModule('entry.js', entry)]),
            esModule('index.js', source),
          ],
          modulesRules: undefined,
          bindings: { ...worker.bindings, ...bindings },
        },
      ],
    }),
  )
  const { origin } = await miniflare.ready
  return {
    origin,
    platform: platformOf(miniflare, origin),
    logs: () => structuredClone(lines),
    close: () => miniflare.dispose(),
  }
}

function platformOf(miniflare: Miniflare, origin: string): Platform {
  const classOf = (binding: string) => (binding === 'KEY_POOL' ? 'KeyPool' : binding)
  return {
    getEnv: () => miniflare.getBindings(NAME),
    async scheduled({ cron = '' } = {}) {
      const query = new URLSearchParams({ format: 'json', cron })
      const response = await fetch(`${origin}/cdn-cgi/local/scheduled?${query}`)
      return JSON.parse(await response.text())
    },
    listDurableObjectIds: (binding) => miniflare.listDurableObjectIds(binding, NAME),
    evictDurableObject: (binding, object) =>
      miniflare.unsafeEvictDurableObject(NAME, classOf(binding), object),
    getDurableObjectStorage: (binding, object) =>
      miniflare.unsafeGetDurableObjectStorage(NAME, classOf(binding), object),
  }
}
