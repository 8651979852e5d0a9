import { type Held, Reducer, type Request, STRATEGIES, type Strategy } from './reducer.ts'

/** A step to be timed again and again; a pool of so many keys has been made ready for it. */
export type Step = (i: number) => void

export interface Case {
  readonly name: string
  /** Of keys, at which it is timed. */
  readonly sizes: readonly number[]
  readonly prepare: (keys: number) => Step
  /** The most that a step may take, in microseconds, by number of keys. Some only are to be known. */
  readonly targetUs?: Readonly<Record<number, number>>
}

const SIZES = [3, 100, 1_000]
/** Requests that are under way at any time: a strategy has nothing to choose by otherwise. */
const IN_FLIGHT = 16
const WAITERS = 1_000
const SESSIONS = 500
const DEFAULT_STRATEGY = 'least-busy'
const REQUEST_US = { 3: 5, 100: 10, 1000: 25 }

/** One request after another: a lease is taken, and the oldest that is held is given back. */
function traffic(reducer: Reducer, requestAt: (i: number) => Request): Step {
  const held: { readonly lease: Held; readonly request: Request }[] = []
  let next = 0
  return () => {
    const request = requestAt(next)
    next += 1
    const lease = reducer.acquire(request)
    if (lease !== null) held.push({ lease, request })
    if (held.length <= IN_FLIGHT) return
    const oldest = held.shift()
    if (oldest !== undefined) reducer.settle(oldest.lease, oldest.request)
  }
}

const plain: Request = {}

function ofStrategy(strategy: Strategy): Case[] {
  const session = (i: number): Request => ({ session: `session-${(i * 7) % SESSIONS}` })
  return [
    {
      name: `${strategy}, plain`,
      sizes: SIZES,
      prepare: (keys) => traffic(new Reducer({ keys, strategy }), () => plain),
      targetUs: REQUEST_US,
    },
    {
      name: `${strategy}, affinity and limits`,
      sizes: SIZES,
      prepare: (keys) => traffic(new Reducer({ keys, strategy, isLimited: true }), session),
      targetUs: REQUEST_US,
    },
  ]
}

/** Of 100 models and 50 clients, half with a session, 2 % fail. */
function mixedRequest(i: number): Request {
  return {
    model: `vendor/model-${i % 100}`,
    client: `client-${i % 50}`,
    ...(i % 2 === 0 && { session: `session-${(i * 7) % 10_000}` }),
    fails: i % 50 === 49,
  }
}

const withBatch = (i: number): Request => ({ ...mixedRequest(i), isBatch: i % 2 === 0 })

function mixed(keys: number, before: number, requestAt = mixedRequest): Step {
  const step = traffic(
    new Reducer({ keys, strategy: DEFAULT_STRATEGY, isLimited: true }),
    requestAt,
  )
  for (let i = 0; i < before; i++) step(i)
  return step
}

/**
 * All keys are taken and others wait: a lease is given back, the first who waits gets it, and
 * another comes to wait in its place.
 */
function waiting(keys: number, lanes: number): Step {
  const { reducer, held, queue, request } = queued(keys, lanes)
  let next = WAITERS
  return () => {
    const oldest = held.shift()
    const firstInQueue = queue.shift()
    if (!oldest || firstInQueue === undefined) throw new Error('Nobody waits any more')
    reducer.settle(oldest, plain)
    reducer.serveQueue()
    held.push(reducer.claim(firstInQueue))
    queue.push(reducer.enqueue(request(next)))
    next += 1
  }
}

/** A Worker asks whether its request, which waits, has been decided. */
function polling(keys: number, lanes: number): Step {
  const { reducer, queue } = queued(keys, lanes)
  return (i) => void reducer.claim(queue[i % WAITERS] ?? '')
}

/** A pool of which all keys are taken, with waiters of so many models. */
function queued(keys: number, lanes: number) {
  const reducer = new Reducer({ keys, strategy: DEFAULT_STRATEGY, maxConcurrent: 1 })
  const request = (i: number): Request => ({ model: `vendor/model-${i % lanes}` })
  // How long leases last has to be known for anybody to be let wait.
  const first = reducer.acquire(plain)
  if (first !== null) reducer.settle(first, plain)
  reducer.stopClock()
  const held = Array.from({ length: keys }, () => reducer.acquire(plain))
  const queue = Array.from({ length: WAITERS }, (_, i) => reducer.enqueue(request(i)))
  return { reducer, held, queue, request }
}

/** A pool that has seen much and has 1,000 leases out. */
function busy(keys: number): Reducer {
  const reducer = new Reducer({ keys, strategy: 'round-robin', isLimited: true })
  const step = traffic(reducer, mixedRequest)
  for (let i = 0; i < 5_000; i++) step(i)
  for (let i = 0; i < 1_000; i++) reducer.acquire(mixedRequest(i))
  return reducer
}

export const CASES: readonly Case[] = [
  ...STRATEGIES.flatMap(ofStrategy),
  {
    name: 'mixed: 100 models, 50 clients, 2 % fail',
    sizes: SIZES,
    prepare: (keys) => mixed(keys, 0),
    targetUs: REQUEST_US,
  },
  {
    name: 'mixed, every other one a line of a batch',
    sizes: SIZES,
    prepare: (keys) => mixed(keys, 0, withBatch),
    targetUs: REQUEST_US,
  },
  { name: 'mixed, after 1,000,000 requests', sizes: [3], prepare: (keys) => mixed(keys, 1e6) },
  {
    name: '1,000 waiters in 1 lane',
    sizes: SIZES,
    prepare: (keys) => waiting(keys, 1),
  },
  {
    name: '1,000 waiters in 100 lanes',
    sizes: SIZES,
    prepare: (keys) => waiting(keys, 100),
  },
  {
    name: 'a poll, 1,000 waiters in 100 lanes',
    sizes: SIZES,
    prepare: (keys) => polling(keys, 100),
    targetUs: { 3: 2, 100: 2, 1000: 2 },
  },
  {
    name: 'a new pool learns the owner of each key',
    sizes: SIZES,
    prepare: (keys) => {
      const reducer = new Reducer({ keys, strategy: DEFAULT_STRATEGY })
      return () => reducer.learnOwners()
    },
    targetUs: { 1000: 50_000 },
  },
  {
    name: 'checkpoint, to text, 1,000 leases out',
    sizes: SIZES,
    prepare: (keys) => {
      const reducer = busy(keys)
      return () => void reducer.checkpoint()
    },
  },
  {
    name: 'a scrape of the metrics, 1,000 leases out',
    sizes: SIZES,
    prepare: (keys) => {
      const reducer = busy(keys)
      return () => void reducer.readings()
    },
    targetUs: { 100: 2_000 },
  },
  {
    name: 'start, from rows of JSON',
    sizes: SIZES,
    prepare: (keys) => busy(keys).restoration(),
    targetUs: { 1000: 50_000 },
  },
]

export const ALL_SIZES = SIZES
