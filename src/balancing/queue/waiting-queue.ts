import type { ClientId, KeyId, LeaseId } from '../ids.ts'
import type { LeaseRequest, Refusal } from '../lease-request.ts'

/**
 * The queue as data: who waits, in which order, for which keys, and which keys have to be looked at.
 * Nothing here costs more with more waiters: a waiter that leaves is marked, and its place is cleared
 * up later, with many others.
 */

/** A lease request in the queue. No key could serve it when it came, but a key soon may. */
export interface Waiter {
  readonly request: LeaseRequest
  /** The name of its line. */
  readonly line: string
  /** The name of its lane, for the shares of the queue. */
  readonly lane: string
  /** Its place in the order of arrival over all lines. */
  readonly arrival: number
  readonly deadlineMs: number
  /** When its Worker last asked for it. */
  lastPolledAtMs: number
  /** Why it was refused when it came, or when another took its place. */
  refusal: Refusal
  /** `refused` is one whose place another took, and whose Worker has not been told yet. */
  state: 'waits' | 'refused' | 'gone'
  /** Keys whose tokens are kept for it. */
  readonly claims: Set<KeyId>
}

/**
 * The waiters of one lane and one size, first come, first served. A key that is too small for one of
 * them is too small for all.
 */
export interface Line {
  readonly name: string
  /** The route's place among the routes. */
  readonly route: number
  waiters: Waiter[]
  /** Where the first waiter stands that may still wait. */
  head: number
  /** How many have left since the line was last cleared up. */
  gone: number
}

/** What some waiters have of the queue. */
export interface QueueShare {
  size: number
  /** In order of arrival. The last that still waits is the youngest. */
  waiters: Waiter[]
}

/** What a client has of the queue, and each of its lanes. */
export interface ClientShare extends QueueShare {
  readonly lanes: Map<string, QueueShare>
}

export interface WaitingQueue {
  /** By lease id: those who wait, and those who have yet to hear that they do not any more. */
  readonly waiters: Map<LeaseId, Waiter>
  readonly lines: Map<string, Line>
  readonly clients: Map<ClientId, ClientShare>
  /** The client with the most waiters, if one has more than half of the queue. */
  largest: ClientId | null
  /** The number of those who wait. */
  size: number
  arrivals: number
  /** No waiter's deadline is later than this. */
  lastDeadlineMs: number
  /** Keys whose tokens are kept for the waiter that came first among those who wait for them. */
  readonly claims: Map<KeyId, Waiter>
  /** Keys that something has happened to, so that they may serve a waiter now. */
  readonly changed: Set<KeyId>
  /** When time alone changes a key that somebody waits for, in epoch milliseconds. */
  readonly moments: Map<KeyId, number>
  /** No moment is before this one. */
  nextMomentMs: number
  /** Lines with a retry that only lacks the retry budget, and when the budget may pay for it. */
  readonly unpaid: Set<string>
  paidAtMs: number
  /** Keys whose running requests are expected to cost all that they have left. */
  readonly overspent: Set<KeyId>
  /** Waiters that were decided and whose held calls have to be released. */
  decided: LeaseId[]
  sweptAtMs: number
}

/**
 * A Worker asks again every second for its waiter. After this long without a call the Worker is
 * gone, and no one would use a lease for the waiter.
 */
const ABANDONED_MS = 5_000

/** How often the waiters of Workers that are gone are looked for. */
const SWEEP_MS = 1_000

/** How many waiters of one line are looked at for one key. Each before the last had its reason. */
const LOOKS_PER_LINE = 16

/** A line or a share is cleared up when more than this many, and more than half, have left. */
const CLEAR_UP_AT = 32

/** A queue without waiters. */
export function createQueue(): WaitingQueue {
  return {
    waiters: new Map(),
    lines: new Map(),
    clients: new Map(),
    largest: null,
    size: 0,
    arrivals: 0,
    lastDeadlineMs: Number.NEGATIVE_INFINITY,
    claims: new Map(),
    changed: new Set(),
    moments: new Map(),
    nextMomentMs: Number.POSITIVE_INFINITY,
    unpaid: new Set(),
    paidAtMs: Number.POSITIVE_INFINITY,
    overspent: new Set(),
    decided: [],
    sweptAtMs: Number.NEGATIVE_INFINITY,
  }
}

/** Where a request stands in the queue. */
export interface Place {
  readonly lane: string
  readonly line: string
  readonly route: number
}

/** Puts a request at the end of its line. */
export function enter(
  queue: WaitingQueue,
  { lane, line: name, route }: Place,
  who: Pick<Waiter, 'request' | 'deadlineMs' | 'lastPolledAtMs' | 'refusal'>,
): Waiter {
  queue.arrivals += 1
  const { arrivals: arrival } = queue
  const waiter: Waiter = {
    ...who,
    line: name,
    lane,
    arrival,
    state: 'waits',
    claims: new Set(),
  }
  queue.waiters.set(who.request.leaseId, waiter)
  const line = queue.lines.get(name) ?? { name, route, waiters: [], head: 0, gone: 0 }
  queue.lines.set(name, line)
  line.waiters.push(waiter)
  const client = shareOfClient(queue, who.request.clientId)
  queue.clients.set(who.request.clientId, client)
  const ofLane = client.lanes.get(lane) ?? { size: 0, waiters: [] }
  client.lanes.set(lane, ofLane)
  for (const share of [client, ofLane]) {
    share.size += 1
    share.waiters.push(waiter)
  }
  const largest = queue.largest === null ? undefined : queue.clients.get(queue.largest)
  if (client.size >= (largest?.size ?? 0)) queue.largest = who.request.clientId
  queue.size += 1
  queue.lastDeadlineMs = Math.max(queue.lastDeadlineMs, waiter.deadlineMs)
  return waiter
}

/** What a client has of the queue. */
export function shareOfClient({ clients }: WaitingQueue, id: ClientId): ClientShare {
  return clients.get(id) ?? { size: 0, waiters: [], lanes: new Map() }
}

/** Takes a waiter out of the queue, and lets go of the keys that were kept for it. */
export function leave(queue: WaitingQueue, waiter: Waiter): void {
  queue.waiters.delete(waiter.request.leaseId)
  if (waiter.state === 'waits') detach(queue, waiter, 'gone')
}

/** Another has taken the waiter's place. Its Worker hears so when it next asks. */
export function displace(queue: WaitingQueue, waiter: Waiter, refusal: Refusal): void {
  detach(queue, waiter, 'refused')
  waiter.refusal = refusal
  queue.decided.push(waiter.request.leaseId)
}

function detach(queue: WaitingQueue, waiter: Waiter, state: 'refused' | 'gone'): void {
  waiter.state = state
  queue.size -= 1
  for (const key of waiter.claims) {
    queue.claims.delete(key)
    queue.changed.add(key)
  }
  waiter.claims.clear()
  const line = queue.lines.get(waiter.line)
  if (line !== undefined) leaveLine(line)
  const { clientId } = waiter.request
  const client = queue.clients.get(clientId)
  const ofLane = client?.lanes.get(waiter.lane)
  if (client === undefined || ofLane === undefined) return
  leaveShare(client)
  leaveShare(ofLane)
  if (ofLane.size === 0) client.lanes.delete(waiter.lane)
  if (client.size === 0) queue.clients.delete(clientId)
}

function leaveLine(line: Line): void {
  line.gone += 1
  if (line.gone > CLEAR_UP_AT && 2 * line.gone > line.waiters.length) clearUp(line, waits)
}

function clearUp(line: Line, isKept: (waiter: Waiter) => boolean): void {
  line.waiters = line.waiters.slice(line.head).filter(isKept)
  line.head = 0
  line.gone = 0
}

function leaveShare(share: QueueShare): void {
  share.size -= 1
  const { length } = share.waiters
  if (length > CLEAR_UP_AT && length > 2 * share.size) share.waiters = share.waiters.filter(waits)
}

const waits = ({ state }: Waiter): boolean => state === 'waits'

/** The one of a share that came last and still waits. */
export function youngestOf({ waiters }: QueueShare): Waiter | undefined {
  while (waiters.at(-1)?.state !== 'waits' && waiters.length > 0) waiters.pop()
  return waiters.at(-1)
}

/** Whether a waiter's Worker is gone. */
export function isAbandoned({ lastPolledAtMs }: Waiter, nowMs: number): boolean {
  return nowMs - lastPolledAtMs > ABANDONED_MS
}

/** Whether a lease would still be of use to a waiter. */
function isAlive(waiter: Waiter, nowMs: number): boolean {
  return waits(waiter) && nowMs < waiter.deadlineMs && !isAbandoned(waiter, nowMs)
}

/** Until when a waiter may wait, if its Worker does not ask again. */
export function waitsUntilMs({ deadlineMs, lastPolledAtMs }: Waiter): number {
  return Math.min(deadlineMs, lastPolledAtMs + ABANDONED_MS + 1)
}

/** Takes out the waiters whose Workers are gone, once a second at most. */
export function sweep(queue: WaitingQueue, nowMs: number): void {
  if (queue.waiters.size === 0 || nowMs < queue.sweptAtMs + SWEEP_MS) return
  queue.sweptAtMs = nowMs
  for (const waiter of queue.waiters.values()) if (isAbandoned(waiter, nowMs)) leave(queue, waiter)
  for (const [name, line] of queue.lines) {
    clearUp(line, (waiter) => isAlive(waiter, nowMs))
    if (line.waiters.length === 0) queue.lines.delete(name)
  }
}

/** Forgets the keys that were waited for, when nobody is left who waits. */
export function restIfEmpty(queue: WaitingQueue): boolean {
  if (queue.lines.size > 0) return false
  // Asked twice in each request, so it is told at a glance: to clear even an empty set makes a new one.
  const isAtRest = queue.changed.size === 0 && queue.lastDeadlineMs === Number.NEGATIVE_INFINITY
  if (isAtRest) return true
  queue.changed.clear()
  queue.moments.clear()
  queue.unpaid.clear()
  queue.overspent.clear()
  queue.nextMomentMs = Number.POSITIVE_INFINITY
  queue.paidAtMs = Number.POSITIVE_INFINITY
  queue.lastDeadlineMs = Number.NEGATIVE_INFINITY
  return true
}

/** What a key has for a waiter: itself, its tokens at a later moment, or nothing. */
export type Offer<M> =
  | { readonly kind: 'now'; readonly model: M }
  | { readonly kind: 'later'; readonly atMs: number }
  | { readonly kind: 'nothing' }

/** The waiter that goes first for a key, and what the key has for it. */
export interface First<M> {
  readonly waiter: Waiter
  readonly offer: Exclude<Offer<M>, { kind: 'nothing' }>
}

/** How a key is offered to the queue. */
export interface Offering<M> {
  readonly nowMs: number
  /** Whether the key is for any waiter of a line. */
  readonly isFor: (line: Line) => boolean
  readonly offer: (waiter: Waiter) => Offer<M>
}

/** Of the waiters that a key has something for, the one that came first. */
export function firstFor<M>(queue: WaitingQueue, offering: Offering<M>): First<M> | null {
  let first: First<M> | null = null
  for (const line of queue.lines.values()) {
    const head = headOf(queue, line, offering.nowMs)
    if (head === undefined) queue.lines.delete(line.name)
    else if ((first === null || head.arrival < first.waiter.arrival) && offering.isFor(line)) {
      const ofLine = firstOfLine(line, offering)
      if (ofLine !== null && ofLine.waiter.arrival < (first?.waiter.arrival ?? Infinity)) {
        first = ofLine
      }
    }
  }
  return first
}

/** The first of a line that waits. */
function headOf(queue: WaitingQueue, line: Line, nowMs: number): Waiter | undefined {
  for (; line.head < line.waiters.length; line.head++) {
    const waiter = line.waiters[line.head]
    if (waiter === undefined || isAlive(waiter, nowMs)) return waiter
    if (waits(waiter) && isAbandoned(waiter, nowMs)) leave(queue, waiter)
    // Leaving may have cleared up the line, so that another stands at the head now.
    if (line.waiters[line.head] !== waiter) return headOf(queue, line, nowMs)
  }
  return undefined
}

function firstOfLine<M>(line: Line, { nowMs, offer }: Offering<M>): First<M> | null {
  let looks = 0
  for (let at = line.head; at < line.waiters.length && looks < LOOKS_PER_LINE; at++) {
    const waiter = line.waiters[at]
    if (waiter === undefined || !isAlive(waiter, nowMs)) continue
    looks += 1
    const offered = offer(waiter)
    if (offered.kind !== 'nothing') return { waiter, offer: offered }
  }
  return null
}

/** The waiters of a line that go first, as many as are looked at for one key. */
export function foremost(queue: WaitingQueue, name: string, nowMs: number): readonly Waiter[] {
  const line = queue.lines.get(name)
  if (line === undefined) return []
  const waiters: Waiter[] = []
  for (let at = line.head; at < line.waiters.length && waiters.length < LOOKS_PER_LINE; at++) {
    const waiter = line.waiters[at]
    if (waiter !== undefined && isAlive(waiter, nowMs)) waiters.push(waiter)
  }
  return waiters
}

/** Keeps a key's tokens for a waiter, unless they are kept for one that came before it. */
export function claimKey(queue: WaitingQueue, key: KeyId, waiter: Waiter): void {
  if (queue.claims.has(key)) return
  queue.claims.set(key, waiter)
  waiter.claims.add(key)
}

/** Notes that time alone changes a key at this moment. */
export function noteMoment(queue: WaitingQueue, key: KeyId, atMs: number): void {
  const known = queue.moments.get(key) ?? Number.POSITIVE_INFINITY
  if (atMs >= known) return
  queue.moments.set(key, atMs)
  queue.nextMomentMs = Math.min(queue.nextMomentMs, atMs)
}

/** Forgets what a key is kept for and when it changes. It is about to be looked at. */
export function forget(queue: WaitingQueue, key: KeyId): void {
  queue.claims.get(key)?.claims.delete(key)
  queue.claims.delete(key)
  queue.moments.delete(key)
}

/** Moves the keys whose moment has come to those that have changed. Says whether there are any. */
export function takeMoments(queue: WaitingQueue, nowMs: number): boolean {
  if (nowMs < queue.nextMomentMs) return false
  let nextMs = Number.POSITIVE_INFINITY
  const before = queue.changed.size
  for (const [key, atMs] of queue.moments) {
    if (atMs <= nowMs) {
      queue.moments.delete(key)
      queue.changed.add(key)
    } else nextMs = Math.min(nextMs, atMs)
  }
  queue.nextMomentMs = nextMs
  return queue.changed.size > before
}
