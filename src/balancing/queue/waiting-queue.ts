import type { ClientId, KeyId, LeaseId } from '../ids.ts'
import type { Refusal } from '../lease-request.ts'
import type { QuotaCharge } from '../limits/quota-charge.ts'
import { isAbandoned, isAlive, type Waiter, waits } from './waiter.ts'
import {
  addToLine,
  clearUp,
  createLine,
  type First,
  firstOfLine,
  foremostOf,
  type Line,
  leaveLine,
  type Offering,
} from './waiting-line.ts'

/**
 * The queue as data: who waits, in which order, for which keys, and which keys have to be looked at.
 * Nothing here costs more with more waiters: a waiter that leaves is marked, and its place is cleared
 * up later, with many others.
 */

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
  /** What waiters had taken of their clients' limits that have left without a lease. */
  uncharged: QuotaCharge[]
  sweptAtMs: number
}

/** How often the waiters of Workers that are gone are looked for. */
const SWEEP_MS = 1_000

/** A share of more than this many places is cleared up when more than half have left. */
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
    uncharged: [],
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
  who: Pick<Waiter, 'request' | 'deadlineMs' | 'lastPolledAtMs' | 'refusal' | 'charge'>,
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
  const line = queue.lines.get(name) ?? createLine(name, route)
  queue.lines.set(name, line)
  addToLine(line, waiter)
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
  if (waiter.charge !== null) queue.uncharged.push(waiter.charge)
  waiter.charge = null
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

function leaveShare(share: QueueShare): void {
  share.size -= 1
  const { length } = share.waiters
  if (length > CLEAR_UP_AT && length > 2 * share.size) share.waiters = share.waiters.filter(waits)
}

/** The one of a share that came last and still waits. */
export function youngestOf({ waiters }: QueueShare): Waiter | undefined {
  while (waiters.at(-1)?.state !== 'waits' && waiters.length > 0) waiters.pop()
  return waiters.at(-1)
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

/** The waiters of a line that go first, as many as are looked at for one key. */
export function foremost(queue: WaitingQueue, name: string, nowMs: number): readonly Waiter[] {
  const line = queue.lines.get(name)
  return line === undefined ? [] : foremostOf(line, nowMs)
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
