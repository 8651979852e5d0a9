import { type Ports, withinTime } from '../../gateway/ports.ts'
import {
  modelsNamed,
  type PriceTable,
  priceTableOf,
  storedPriceTable,
  withEndpoints,
} from '../../openrouter/prices/price-table.ts'
import { KV_TIMEOUT_MS } from '../kv-credit-cache.ts'

/**
 * What models cost, as this isolate knows it. It is for those with budgets only: nobody else needs it,
 * and without them it is neither read nor made.
 */
export interface PriceBook {
  /**
   * The prices, without waiting: null if the isolate has none yet. What is missing or old is read
   * beside the request.
   * @param models those that the request may be served by, as it names them
   * @param beside has the calls of the request: their number may be limited
   */
  pricesFor(models: readonly string[], beside: BesideRequest): PriceTable | null
  /** Whether the first prices of this isolate are being read. */
  isComing(): boolean
  /** Renews the prices if they are an hour old. For the scheduled handler. It never rejects. */
  keepFresh(): Promise<void>
}

type Calls = Pick<Ports, 'fetch'>
type Fetch = Ports['fetch']

/** What goes on beside a request: its calls, and what keeps the isolate alive for them. */
export interface BesideRequest extends Calls {
  readonly background: (work: Promise<unknown>) => void
}

/** Prices change a few times a year. The scheduled handler renews them, and a request only if it does not. */
const RENEW_MS = 60 * 60_000
const RENEW_BY_REQUEST_MS = 70 * 60_000

/** How often an isolate looks whether another has renewed them, and tries again what has failed. */
const READ_AGAIN_MS = 5 * 60_000
const TRY_AGAIN_MS = 60_000

/** The first prices come within so long, or not soon. */
const COMING_MS = 5_000

/** Work that takes longer has died with the request that did it. */
const LOST_MS = 3 * 60_000

/** Of some models nobody lists endpoints. */
const TRY_ENDPOINTS_AGAIN_MS = 10 * 60_000

/**
 * So many models have the prices of their endpoints, those first that this isolate's budgets have used.
 * Each costs a fetch an hour.
 */
const MAX_MODELS = 16

/** The lists have half a megabyte. A longer answer is none. */
const MAX_BYTES = 4 * 1024 * 1024
const FETCH_TIMEOUT_MS = 20_000

/** An invocation opens six connections at most, and its request may need some. */
const MAX_CONNECTIONS = 3

/** Without anybody to renew it, an entry disappears in the end: prices of last month are none. */
const KEEP_S = 14 * 24 * 60 * 60

const LISTS = ['/models', '/embeddings/models'] as const

/** A model's name as a path. It comes from upstream's own list. */
const SEGMENTS = /^[\w~@+-][\w.~:@+-]*(?:\/[\w~@+-][\w.~:@+-]*)+$/

export function createPriceBook(
  kv: KVNamespace,
  ports: Pick<Ports, 'fetch' | 'nowMs' | 'timer'>,
  upstreamUrl: string,
): PriceBook {
  const { nowMs } = ports
  // No key's id has a slash, so it is no entry of a key. Another upstream has other prices.
  const entry = `prices/${upstreamUrl}`
  /** The models that budgets have used here, the latest last. */
  const used = new Set<string>()
  /** When the endpoints of a model were last asked for. */
  const triedAtMs = new Map<string, number>()
  let table: PriceTable | null = null
  let readAtMs = Number.NEGATIVE_INFINITY
  let failedAtMs = Number.NEGATIVE_INFINITY
  /** A moment and not a promise: the request that works for all may die, and then says nothing. */
  let workingSinceMs: number | null = null

  const renewed = async (renewMs: number, { fetch }: Calls): Promise<void> => {
    if (nowMs() - readAtMs >= READ_AGAIN_MS) {
      readAtMs = nowMs()
      table = newerOf(table, await readStored(kv, ports, entry))
    }
    if (table === null || nowMs() - table.madeAtMs >= renewMs) await renew(fetch)
    else await addEndpoints(lacking(table), fetch)
  }
  const renew = async (fetch: Fetch): Promise<void> => {
    const read = (path: string) => fetchJson({ ...ports, fetch }, upstreamUrl + path)
    const lists = await Promise.all(LISTS.map(read))
    // Without the first list a table would lack most models.
    const isWhole = priceTableOf(lists.slice(0, 1), nowMs()) !== null
    const made = isWhole ? priceTableOf(lists, nowMs()) : null
    if (made === null) {
      failedAtMs = nowMs()
      return
    }
    const models = [...[...used].reverse(), ...modelsWithEndpoints(table)]
    table = made
    triedAtMs.clear()
    const known = [...new Set(models)].filter((id) => Object.hasOwn(made.models, id))
    if (!(await addEndpoints(known.slice(0, MAX_MODELS), fetch))) await write(made)
  }
  /** @returns whether there was something to add, and to write */
  const addEndpoints = async (models: readonly string[], fetch: Fetch): Promise<boolean> => {
    const before = table
    for (let at = 0; at < models.length; at += MAX_CONNECTIONS) {
      const ids = models.slice(at, at + MAX_CONNECTIONS)
      for (const id of ids) triedAtMs.set(id, nowMs())
      const answers = await Promise.all(
        ids.map((id) => fetchJson({ ...ports, fetch }, `${upstreamUrl}/models/${id}/endpoints`)),
      )
      for (const [index, id] of ids.entries()) {
        if (table !== null) table = withEndpoints(table, id, answers[index], nowMs())
      }
    }
    if (table === null || table === before) return false
    await write(table)
    return true
  }
  const write = (value: PriceTable) => store(kv, ports, entry, value)
  /** One at a time in an isolate. */
  const work = (renewMs: number, calls: Calls): Promise<void> => {
    const sinceMs = nowMs()
    workingSinceMs = sinceMs
    return renewed(renewMs, calls)
      .catch(() => {
        failedAtMs = nowMs()
      })
      .finally(() => {
        if (workingSinceMs === sinceMs) workingSinceMs = null
      })
  }
  const workingForMs = () => (workingSinceMs === null ? null : nowMs() - workingSinceMs)
  /** The models whose endpoints are due to be asked for. */
  const lacking = (prices: PriceTable): readonly string[] =>
    withoutEndpoints(prices, used).filter(
      (id) => nowMs() - (triedAtMs.get(id) ?? Number.NEGATIVE_INFINITY) >= TRY_ENDPOINTS_AGAIN_MS,
    )
  const mayTry = () =>
    (workingForMs() ?? LOST_MS) >= LOST_MS && nowMs() - failedAtMs >= TRY_AGAIN_MS

  return {
    pricesFor(models, beside) {
      note(used, table, models)
      const isOld = table === null || nowMs() - table.madeAtMs >= RENEW_BY_REQUEST_MS
      const isToRead = nowMs() - readAtMs >= READ_AGAIN_MS
      const lacks = table !== null && lacking(table).length > 0
      const isDue = (isOld || isToRead || lacks) && mayTry()
      if (isDue) beside.background(work(RENEW_BY_REQUEST_MS, beside))
      return table
    },
    isComing: () => table === null && (workingForMs() ?? COMING_MS) < COMING_MS,
    async keepFresh() {
      if (mayTry()) await work(RENEW_MS, ports)
    },
  }
}

/** Takes note of the models, by the names of the table. */
function note(used: Set<string>, table: PriceTable | null, names: readonly string[]): void {
  if (table === null) return
  for (const id of names.flatMap((name) => modelsNamed(table, name))) {
    used.delete(id)
    used.add(id)
    const [oldest] = used
    if (used.size > MAX_MODELS && oldest !== undefined) used.delete(oldest)
  }
}

function modelsWithEndpoints(table: PriceTable | null): readonly string[] {
  if (table === null) return []
  return Object.keys(table.models).filter((id) => table.models[id]?.endpointsAtMs !== undefined)
}

/** Those of the models that can get the prices of their endpoints, and have not. */
function withoutEndpoints(table: PriceTable, models: ReadonlySet<string>): readonly string[] {
  const lacking = [...models].filter(
    (id) => SEGMENTS.test(id) && table.models[id]?.endpointsAtMs === undefined,
  )
  if (lacking.length === 0) return []
  // Until the next renewal, which takes the used ones first, there is only so much room.
  return lacking.slice(0, Math.max(0, MAX_MODELS - modelsWithEndpoints(table).length))
}

function newerOf(one: PriceTable | null, other: PriceTable | null): PriceTable | null {
  if (one === null || other === null) return one ?? other
  const isNewer =
    other.madeAtMs > one.madeAtMs ||
    (other.madeAtMs === one.madeAtMs &&
      modelsWithEndpoints(other).length > modelsWithEndpoints(one).length)
  return isNewer ? other : one
}

async function store(
  kv: KVNamespace,
  ports: Pick<Ports, 'timer'>,
  entry: string,
  table: PriceTable,
): Promise<void> {
  const put = kv.put(entry, JSON.stringify(table), { expirationTtl: KEEP_S })
  await withinTime(
    ports,
    KV_TIMEOUT_MS,
    put.catch(() => undefined),
  )
}

async function readStored(
  kv: KVNamespace,
  ports: Pick<Ports, 'timer'>,
  entry: string,
): Promise<PriceTable | null> {
  const read = kv.get(entry, 'json').catch(() => null)
  return storedPriceTable(await withinTime(ports, KV_TIMEOUT_MS, read))
}

/** A public list, fetched without any key; null if it does not come whole. */
async function fetchJson(
  ports: Pick<Ports, 'fetch' | 'timer'>,
  url: string,
): Promise<unknown | null> {
  const controller = new AbortController()
  const cancel = ports.timer(FETCH_TIMEOUT_MS, () => controller.abort())
  try {
    const response = await ports.fetch(url, { redirect: 'manual', signal: controller.signal })
    const text = response.status === 200 ? await textWithin(response, MAX_BYTES) : null
    await response.body?.cancel().catch(() => undefined)
    return text === null ? null : JSON.parse(text)
  } catch {
    return null
  } finally {
    cancel()
  }
}

/** The text of an answer; null if it is longer than that. */
async function textWithin({ body }: Response, maxBytes: number): Promise<string | null> {
  if (body === null) return null
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > maxBytes) return null
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}
