import type { AccountId, ClientId, KeyId, ModelId } from '../../balancing/ids.ts'
import type { LeaseAhead } from '../../balancing/limits/lease-order.ts'
import type { NonEmpty } from '../../balancing/non-empty.ts'
import type { LeaseDraft } from './lease-draft.ts'

/**
 * The leases that an isolate holds for requests that have yet to come. A lease in it is ordered, then
 * stocked, and then taken by a request, dropped because its key has just failed, or returned because
 * no request came. Plain data: it is shared by all requests of the isolate, and no promise is in it.
 */
export interface LeaseStock {
  readonly lanes: Map<string, Lane>
  /** When a lease came in last, in epoch milliseconds. */
  filledAtMs: number
  /** When the pool had no lease for a request last, in epoch milliseconds. */
  refusedAtMs: number
  /** When the request that has undertaken to look after it will do so; null if none has. */
  lookAtMs: number | null
}

/** What makes one lease as good as another for a request. */
export interface LaneKind {
  readonly routeIndex: number
  /** The name of any of its requests. */
  readonly asked: ModelId
  readonly models: NonEmpty<ModelId>
  /** The account of the request's conversation; null without one. */
  readonly account: AccountId | null
  /** The client of the requests, if it has limits; null for all clients without. */
  readonly client: ClientId | null
  /** Whether the cost of its requests has a bound. */
  readonly isBounded: boolean
}

export interface Lane {
  readonly kind: LaneKind
  readonly leases: StockedLease[]
  /** When an order went out that is not answered yet. */
  orderedAtMs: number | null
  /** What a request of the latest order may cost. */
  orderedNanos: number
  /** When its leases were given back last, since others went without. */
  givenBackAtMs: number
  /** Before this moment no order is made: the pool had nothing to spare. */
  restsUntilMs: number
  /** Requests of the running second, and of the one before. */
  second: number
  /** When the first request of the running second came. */
  sinceMs: number
  requests: number
  earlierRequests: number
  /** The most that a request took in the running second, and in the one before. */
  most: Amounts
  earlierMost: Amounts
  usedAtMs: number
}

/** What a request takes of limits. */
export interface Amounts {
  readonly tokens: number
  /** The most that it can cost. */
  readonly costNanos: number
}

const NOTHING: Amounts = { tokens: 0, costNanos: 0 }

const greatest = (a: Amounts, b: Amounts): Amounts => ({
  tokens: Math.max(a.tokens, Math.ceil(b.tokens)),
  costNanos: Math.max(a.costNanos, b.costNanos),
})

interface StockedLease extends LeaseAhead {
  /** The most that its request may cost. */
  readonly costNanos: number
  readonly usableUntilMs: number
}

/**
 * A lease is used within this time of its order, and the pool is told of it within a quarter of a
 * second. So the pool, which keeps it for three seconds, never gives it up before it hears.
 */
const USABLE_MS = 1_500

/** The most leases of a lane. The pool holds no more for one order. */
const MAX_LEASES = 32

/** Model names come from callers. Beyond this many lanes the one that was used least lately goes. */
const MAX_LANES = 64

/**
 * How many requests a lane must have had in the second before. A choice that is made ahead is somewhat
 * old, and a slower lane can afford to ask for each request. A burst out of nowhere asks, too: its
 * leases would come when it is over.
 */
const MIN_REQUESTS = 16

/**
 * What is more than a burst: so many requests, and still more of them after so long. Whoever comes at
 * once with a thousand requests a second would else ask the pool for each of the first thousand.
 */
const SWELLING = { requests: 2 * MIN_REQUESTS, ms: 50 }

/** An answer to an order that has not come after this time is lost. */
const ORDER_MS = 2_000

/** How long a lane asks for nothing after the pool had nothing to spare. */
const REST_MS = 500

export function createLeaseStock(): LeaseStock {
  const never = Number.NEGATIVE_INFINITY
  return { lanes: new Map(), filledAtMs: never, refusedAtMs: never, lookAtMs: null }
}

/** The lane of a request, made where there is none; and the leases of a lane that went for it. */
export function laneFor(
  stock: LeaseStock,
  kind: LaneKind,
  nowMs: number,
): { readonly lane: Lane; readonly returned: readonly LeaseAhead[] } {
  const { account, routeIndex, client, isBounded, models } = kind
  const name = [account ?? '', routeIndex, client ?? '', isBounded, ...models].join('\n')
  const known = stock.lanes.get(name)
  if (known !== undefined) {
    known.usedAtMs = nowMs
    return { lane: known, returned: [] }
  }
  const returned = stock.lanes.size >= MAX_LANES ? closeOldest(stock) : []
  const lane = {
    ...{ kind, leases: [], orderedAtMs: null, orderedNanos: 0, restsUntilMs: 0 },
    givenBackAtMs: Number.NEGATIVE_INFINITY,
    ...{ second: 0, sinceMs: nowMs, requests: 0, earlierRequests: 0, usedAtMs: nowMs },
    ...{ most: NOTHING, earlierMost: NOTHING },
  }
  stock.lanes.set(name, lane)
  return { lane, returned }
}

function closeOldest(stock: LeaseStock): readonly LeaseAhead[] {
  // What comes for a lane that is gone would be lost.
  const idle = [...stock.lanes].filter(([, { orderedAtMs }]) => orderedAtMs === null)
  const [oldest] = idle.toSorted(([, a], [, b]) => a.usedAtMs - b.usedAtMs)
  if (oldest === undefined) return []
  stock.lanes.delete(oldest[0])
  return oldest[1].leases
}

/** What a request needs of a lease. */
export interface LeaseNeed extends Amounts {
  /** The account that it has to go to; null for any. */
  readonly account: AccountId | null
}

/**
 * Takes a lease for a request.
 * @returns null if the request has to ask the pool
 */
export function takeLease(
  lane: Lane,
  { tokens, account, costNanos }: LeaseNeed,
  nowMs: number,
): LeaseAhead | null {
  // First come, first served: the pool granted them in its strategy's order.
  const at = lane.leases.findIndex(
    (lease) =>
      lease.usableUntilMs > nowMs &&
      lease.tokens >= tokens &&
      lease.costNanos >= costNanos &&
      (account === null || lease.accountId === account),
  )
  return lane.leases.splice(at, at === -1 ? 0 : 1)[0] ?? null
}

/** Counts a request of a lane, by which the lane knows how many leases to order. */
export function countRequest(lane: Lane, amounts: Amounts, nowMs: number): void {
  const second = Math.floor(nowMs / 1000)
  if (second !== lane.second) {
    const isNext = second === lane.second + 1
    lane.earlierRequests = isNext ? lane.requests : 0
    lane.requests = 0
    lane.second = second
    lane.sinceMs = nowMs
    // What was large once is not expected for ever.
    lane.earlierMost = isNext ? lane.most : NOTHING
    lane.most = NOTHING
  }
  lane.requests += 1
  lane.most = greatest(lane.most, amounts)
  lane.usedAtMs = nowMs
}

/** What most requests of a lane take: as much as the largest of late. */
export function mostOf({ most, earlierMost }: Lane): Amounts {
  return greatest(most, earlierMost)
}

/** Requests in the last second; zero if the lane is not busy. */
function rateOf({ second, sinceMs, requests, earlierRequests }: Lane, nowMs: number): number {
  const passed = nowMs / 1000 - second
  const isSwelling = requests >= SWELLING.requests && nowMs - sinceMs >= SWELLING.ms
  const isBusy =
    passed < 1 ? earlierRequests >= MIN_REQUESTS || isSwelling : requests >= MIN_REQUESTS
  if (passed >= 2 || !isBusy) return 0
  return passed < 1 ? requests + earlierRequests * (1 - passed) : requests
}

/** How many leases to order for a lane now: none if it has enough, or is used too seldom. */
export function leasesToOrder(lane: Lane, nowMs: number): number {
  if (nowMs < lane.restsUntilMs) return 0
  if (lane.orderedAtMs !== null && nowMs - lane.orderedAtMs < ORDER_MS) return 0
  const rate = rateOf(lane, nowMs)
  if (rate === 0) return 0
  const target = Math.min(MAX_LEASES, Math.round(rate))
  const usable = lane.leases.filter((lease) => lease.usableUntilMs > nowMs).length
  return usable > target / 2 ? 0 : target - usable
}

/** A lane for which leases are ordered now. */
export interface LaneOrder {
  readonly lane: Lane
  readonly count: number
}

/** The most orders of one exchange. */
const MAX_ORDERS = 4

/** Takes the orders that are due, of all lanes: an exchange carries them along. */
export function takeOrders(stock: LeaseStock, nowMs: number): readonly LaneOrder[] {
  const orders: LaneOrder[] = []
  for (const lane of stock.lanes.values()) {
    const count = leasesToOrder(lane, nowMs)
    if (count === 0) continue
    lane.orderedAtMs = nowMs
    lane.orderedNanos = mostOf(lane).costNanos
    orders.push({ lane, count })
    if (orders.length === MAX_ORDERS) break
  }
  return orders
}

/**
 * Puts the answer to an order into the stock: nothing, if the pool has none to spare or did not answer.
 * @returns the leases that are to be given back: they were ordered before others had to go without
 */
export function stockLeases(
  stock: LeaseStock,
  lane: Lane,
  leases: readonly LeaseAhead[],
  nowMs: number,
): readonly LeaseAhead[] {
  const orderedAtMs = lane.orderedAtMs ?? nowMs
  lane.orderedAtMs = null
  if (leases.length === 0 || orderedAtMs < lane.givenBackAtMs) {
    lane.restsUntilMs = nowMs + REST_MS
    return leases
  }
  stock.filledAtMs = nowMs
  const usableUntilMs = orderedAtMs + USABLE_MS
  const { orderedNanos: costNanos } = lane
  for (const lease of leases) lane.leases.push({ ...lease, costNanos, usableUntilMs })
  return []
}

/** Drops the leases of a key that has just failed, or that an operator has halted. The pool has to get them back. */
export function dropKey(stock: LeaseStock, key: KeyId): readonly LeaseAhead[] {
  return takeOut(stock, (lease) => lease.keyId === key)
}

/**
 * Drops the leases that a request could use which the pool has none for. The pool has to get them
 * back.
 */
export function dropFor(
  stock: LeaseStock,
  { routeIndex, triedKeys, excludedAccounts }: LeaseDraft,
  nowMs: number,
): readonly LeaseAhead[] {
  stock.refusedAtMs = nowMs
  for (const lane of stock.lanes.values()) {
    if (lane.kind.routeIndex === routeIndex) lane.givenBackAtMs = nowMs
  }
  return takeOut(
    stock,
    ({ keyId, accountId }, { kind }) =>
      kind.routeIndex === routeIndex &&
      !triedKeys.includes(keyId) &&
      !excludedAccounts.includes(accountId),
  )
}

/** Drops all leases, since somebody waits for a key. The pool has to get them back. */
export function dropAll(stock: LeaseStock, nowMs: number): readonly LeaseAhead[] {
  stock.refusedAtMs = nowMs
  for (const lane of stock.lanes.values()) lane.givenBackAtMs = nowMs
  return takeOut(stock, () => true)
}

/** Drops the leases ahead of clients whose other requests go without. The pool has to get them back. */
export function dropClients(
  stock: LeaseStock,
  clients: readonly ClientId[],
  nowMs: number,
): readonly LeaseAhead[] {
  const isOf = ({ kind }: Lane) => kind.client !== null && clients.includes(kind.client)
  for (const lane of stock.lanes.values()) if (isOf(lane)) lane.givenBackAtMs = nowMs
  return takeOut(stock, (_, lane) => isOf(lane))
}

/** The leases that no request came for in time. The pool has to get them back. */
export function dropOverdue(stock: LeaseStock, nowMs: number): readonly LeaseAhead[] {
  return takeOut(stock, (lease) => lease.usableUntilMs <= nowMs)
}

export function isStocked({ lanes }: LeaseStock): boolean {
  return [...lanes.values()].some(({ leases }) => leases.length > 0)
}

function takeOut(
  stock: LeaseStock,
  isOut: (lease: StockedLease, lane: Lane) => boolean,
): LeaseAhead[] {
  const out: LeaseAhead[] = []
  for (const lane of stock.lanes.values()) {
    const { leases } = lane
    for (let i = leases.length - 1; i >= 0; i--) {
      const lease = leases[i]
      if (lease !== undefined && isOut(lease, lane)) out.push(...leases.splice(i, 1))
    }
  }
  return out
}

/** For so long an isolate counts as busy after it has had leases ahead. */
const BUSY_MS = 2_000

/**
 * Whether the isolate has many requests and the pool has room for all of them. Where it has not,
 * somebody waits for each lease that is given back.
 */
export function isBusy({ filledAtMs, refusedAtMs }: LeaseStock, nowMs: number): boolean {
  return nowMs - filledAtMs < BUSY_MS && nowMs - refusedAtMs >= BUSY_MS
}
