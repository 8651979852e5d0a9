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

/** A span of the gateway's own, or of the platform's. */
export interface SpanRecord {
  readonly name: string
  readonly id: string
  /** The span that it is in. */
  readonly within: string
  readonly facts: Record<string, unknown>
  isOver: boolean
}

/** The built Worker on a port of its own. */
export interface ServedWorker {
  readonly origin: string
  readonly platform: Platform
  logs(): LogLine[]
  /** None unless the Worker is traced. */
  spans(): readonly SpanRecord[]
  close(): Promise<void>
}

const NAME = 'switchyard'

/** How the Worker is served. */
export interface Serving {
  /** Whether it has its static assets, which put two more Workers before it. */
  readonly hasAssets?: boolean
  /** A module that stands before `./index.js`, which is the Worker. */
  readonly entry?: string | null
  /** Whether its requests are traced, as by `observability.traces`: spans go to a Worker of their own. */
  readonly isTraced?: boolean
  /** Whether it has the bindings of `docs/batches.toml`. */
  readonly withBatches?: boolean | undefined
}

const SPAN = '@span '

/** A tail Worker that writes down what it is told of spans. */
const TAIL = {
  name: 'tail',
  compatibilityDate: '2026-11-02',
  compatibilityFlags: ['streaming_tail_worker', 'experimental'],
  modules: [
    {
      type: 'ESModule' as const,
      path: 'tail.js',
      // Lengths and statuses come as whole numbers that JSON does not know.
      contents: `const plain = (_, value) => typeof value === 'bigint' ? Number(value) : value
      export default {
        tailStream: () => ({ spanContext, event }) =>
          console.log('${SPAN}' + JSON.stringify({ within: spanContext.spanId, ...event }, plain)),
      }`,
    },
  ],
}

/**
 * Starts the built Worker with storage of its own. wrangler's own test harness would build it again
 * each time, and put a second Worker before it.
 *
 * @param bindings variables and secrets
 */
export async function serveWorker(
  bindings: Readonly<Record<string, unknown>>,
  { entry = null, isTraced = false, hasAssets = false, withBatches = false }: Serving = {},
): Promise<ServedWorker> {
  const { source, options, optionsWithBatches } = inject('builtWorker')
  const { assets, ...worker } = JSON.parse(withBatches ? optionsWithBatches : options)
  const lines: LogLine[] = []
  const spans = new Map<string, SpanRecord>()
  const esModule = (path: string, contents: string) =>
    ({ type: 'ESModule', path, contents }) as const
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: '127.0.0.1',
      cf: false,
      log: new Log(LogLevel.NONE),
      logRequests: false,
      handleStructuredLogs({ level, message }) {
        if (message.startsWith(SPAN)) noteSpan(spans, JSON.parse(message.slice(SPAN.length)))
        else lines.push({ level, text: message })
      },
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
          ...(isTraced ? { streamingTails: [TAIL.name] } : {}),
        },
        ...(isTraced ? [TAIL] : []),
      ],
    }),
  )
  const { origin } = await miniflare.ready
  return {
    origin,
    platform: platformOf(miniflare, origin),
    logs: () => structuredClone(lines),
    spans: () => structuredClone([...spans.values()]),
    close: () => miniflare.dispose(),
  }
}

const CLASSES: Readonly<Record<string, string>> = { KEY_POOL: 'KeyPool', BATCHES: 'Batch' }
interface TailEvent {
  readonly within: string
  readonly type: string
  readonly name?: string
  readonly spanId?: string
  readonly info?: unknown
}

function noteSpan(spans: Map<string, SpanRecord>, event: TailEvent): void {
  const { within, type, name = '', spanId: id = '' } = event
  if (type === 'spanOpen') spans.set(id, { name, id, within, facts: {}, isOver: false })
  const span = spans.get(within)
  if (span === undefined) return
  if (type === 'spanClose') span.isOver = true
  if (type !== 'attributes' || !Array.isArray(event.info)) return
  for (const fact of event.info) span.facts[fact.name] = fact.value
}

function platformOf(miniflare: Miniflare, origin: string): Platform {
  const classOf = (binding: string) => CLASSES[binding] ?? binding
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
