import type { EventPlace } from './event-ids.ts'
import type {
  DurableReply,
  DurableRequest,
  FetchReply,
  FlightMethods,
  FlightReply,
  JoinRequest,
} from './flight-protocol.ts'

/** The Worker's side of a flight's object. */
export interface FlightClient {
  /** Null if the object cannot be reached: then the request makes its own journey. */
  join(key: string, request: JoinRequest): Promise<FlightReply | null>
  durable(owner: string, request: DurableRequest): Promise<DurableReply | null>
  fetchAnswer(owner: string, answerId: string, after: EventPlace | null): Promise<FetchReply | null>
  /** Tells that nobody waits at a seat any more. Never rejects. */
  leave(name: string, seat: string): Promise<void>
  /**
   * Tells the isolate that an object lives in; null if it cannot be reached.
   * @param object the whole name of the object
   */
  isolateOf(object: string): Promise<string | null>
}

/** The binding, as far as it is used here: the class is made of what uses this. */
export interface FlightNamespace {
  getByName(name: string, options?: DurableObjectNamespaceGetDurableObjectOptions): FlightMethods
}

/** The number leaves room for shards, as in the name of the pool's object. */
const POOL = 'default'

/**
 * The object answers at once, unless it asks the pool's object about a client's limits: that takes two
 * seconds at most.
 */
const GIVE_UP_MS = 3_000

/**
 * Every call uses a fresh stub, since a stub that has thrown stays broken. An object that breaks a call
 * off is asked once more: it has been restarted, by a deployment say, with all who waited for it. If
 * each of them went on alone, each would make its own upstream call.
 */
export function createFlightClient(namespace: FlightNamespace): FlightClient {
  const objectOf = (name: string) => namespace.getByName(name, { retry: { maxRetries: 0 } })
  const stub = (name: string) => objectOf(`flight/${POOL}/${name}`)
  const ask = async <T>(call: () => Promise<T>): Promise<T | null> => {
    const first = await inTime(call)
    if (first.kind === 'answer') return first.value
    if (first.kind === 'silent' || first.isOverloaded) return null
    const second = await inTime(call)
    return second.kind === 'answer' ? second.value : null
  }
  return {
    join: (key, request) => ask(async (): Promise<FlightReply> => await stub(key).join(request)),
    durable: (owner, request) =>
      ask(async (): Promise<DurableReply> => await stub(owner).durable(request)),
    fetchAnswer: (owner, answerId, after) =>
      ask(async (): Promise<FetchReply> => await stub(owner).fetchAnswer(answerId, after)),
    async leave(name, seat) {
      await inTime(async () => await stub(name).leave(seat))
    },
    isolateOf: (object) => ask(async () => await objectOf(object).isolate()),
  }
}

type Asked<T> =
  | { readonly kind: 'answer'; readonly value: T }
  | { readonly kind: 'broken'; readonly isOverloaded: boolean }
  | { readonly kind: 'silent' }

async function inTime<T>(call: () => Promise<T>): Promise<Asked<T>> {
  let timer: ReturnType<typeof setTimeout> | null = null
  const silent = new Promise<Asked<T>>((resolve) => {
    timer = setTimeout(() => resolve({ kind: 'silent' }), GIVE_UP_MS)
  })
  const answer = call().then(
    (value): Asked<T> => ({ kind: 'answer', value }),
    (error: unknown): Asked<T> => ({ kind: 'broken', isOverloaded: isOverload(error) }),
  )
  try {
    return await Promise.race([answer, silent])
  } finally {
    if (timer !== null) clearTimeout(timer)
  }
}

/** The platform marks the errors of an object with too much to do. To ask again would add to it. */
function isOverload(error: unknown): boolean {
  return typeof error === 'object' && error !== null && Reflect.get(error, 'overloaded') === true
}
