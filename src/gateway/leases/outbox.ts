import {
  addCacheCounters,
  type CacheCounters,
  type CacheNote,
  NO_CACHE_COUNTERS,
} from '../../balancing/accounting/cache-counters.ts'
import type { RequestNote } from '../../balancing/accounting/request-row.ts'
import { clientId, keyId, type LeaseId } from '../../balancing/ids.ts'
import type { LeaseAhead, LeaseBegin } from '../../balancing/limits/lease-order.ts'
import type { Settlement } from '../../balancing/settlement.ts'

/**
 * What an isolate owes to the pool's object: the word that leases have begun, settlements, and the rows
 * of requests that have ended. It
 * goes with the next exchange, whichever request makes it, and after a quarter of a second in any
 * case. Plain data: it is shared by all requests of the isolate, and no promise is in it.
 */
export interface Outbox {
  begins: Owed<LeaseBegin>[]
  settlements: Owed<Settlement>[]
  /** Nothing is decided by them: they are no reason to call the object at once. */
  requests: Owed<RequestNote>[]
  /** What was counted of shared answers; no reason to call the object at once either. */
  cache: Owed<CacheNote>[]
  /** Since when the first of it has been owed; meaningless while it is empty. */
  sinceMs: number
  /** Whether the pool should know it at once. */
  isUrgent: boolean
  /** When the request that has undertaken to flush it will do so; null if none has. */
  flushAtMs: number | null
}

interface Owed<T> {
  item: T
  readonly sinceMs: number
  /** How often it was sent in vain. */
  readonly tries: number
}

/** What one exchange carries. */
export interface Parcel {
  readonly begins: readonly Owed<LeaseBegin>[]
  readonly settlements: readonly Owed<Settlement>[]
  readonly requests: readonly Owed<RequestNote>[]
  readonly cache: readonly Owed<CacheNote>[]
  /** Whether the pool should know it at once. */
  readonly isUrgent: boolean
}

/** A settlement that is late by this much costs others a little time, and saves many calls. */
export const FLUSH_MS = 250

/** From this many entries on it is flushed at once. */
const FULL = 64

/** After so many tries the object is ill for longer than what it would learn is worth. */
const MAX_TRIES = 3

/** For less time than the object remembers an ended lease, so that none is settled twice. */
const KEPT_MS = 60_000

/** The most that waits for an object that does not answer. Beyond it the oldest is lost. */
const MAX_OWED = 1_000

/** The most rows that wait, and go with one exchange: 100 KB or so. Beyond it the oldest is lost. */
const MAX_REQUESTS = 200

/** How late what another request has undertaken may be until this one takes it over. */
export const OVERDUE_MS = 50

export function createOutbox(): Outbox {
  const nothing = { begins: [], settlements: [], requests: [], cache: [] }
  return { ...nothing, sinceMs: 0, isUrgent: false, flushAtMs: null }
}

export function isEmpty({ begins, settlements, requests, cache }: Outbox): boolean {
  return begins.length + settlements.length + requests.length + cache.length === 0
}

/** Whether it holds what the pool decides by. */
export function owesLeases({ begins, settlements }: Outbox): boolean {
  return begins.length + settlements.length > 0
}

export function oweBegin(outbox: Outbox, item: LeaseBegin, nowMs: number): void {
  if (isEmpty(outbox)) outbox.sinceMs = nowMs
  outbox.begins.push({ item, sinceMs: nowMs, tries: 0 })
}

/** Owes a word that may be owed already: then it takes the place of the older one. */
export function oweBeginAnew(outbox: Outbox, item: LeaseBegin, nowMs: number): void {
  const older = outbox.begins.find((owed) => owed.item.leaseId === item.leaseId)
  if (older === undefined) oweBegin(outbox, item, nowMs)
  else older.item = item
}

export function oweSettlement(outbox: Outbox, item: Settlement, nowMs: number): void {
  if (isEmpty(outbox)) outbox.sinceMs = nowMs
  outbox.settlements.push({ item, sinceMs: nowMs, tries: 0 })
}

export function oweRequest(outbox: Outbox, item: RequestNote, nowMs: number): void {
  if (isEmpty(outbox)) outbox.sinceMs = nowMs
  if (outbox.requests.length >= MAX_REQUESTS) outbox.requests.shift()
  outbox.requests.push({ item, sinceMs: nowMs, tries: 0 })
}

/**
 * Adds to what is counted. What was never sent is one note, however many requests it counts.
 * @param newMark the mark of another note
 */
export function oweCache(
  outbox: Outbox,
  counted: Partial<CacheCounters>,
  newMark: () => string,
  nowMs: number,
): void {
  const last = outbox.cache.at(-1)
  if (last?.tries === 0) {
    const { mark, counters } = last.item
    last.item = { mark, counters: addCacheCounters(counters, counted) }
    return
  }
  if (isEmpty(outbox)) outbox.sinceMs = nowMs
  const item = { mark: newMark(), counters: addCacheCounters(NO_CACHE_COUNTERS, counted) }
  outbox.cache.push({ item, sinceMs: nowMs, tries: 0 })
}

/**
 * Takes all that is owed, to be sent. What was sent in vain may have arrived all the same: once the
 * object may have forgotten that, it is let go. An isolate may rest for long before it sends again.
 */
export function takeParcel(outbox: Outbox, nowMs: number): Parcel {
  const mayGo = ({ tries, sinceMs }: Owed<unknown>) => tries === 0 || nowMs - sinceMs < KEPT_MS
  const begins = outbox.begins.filter(mayGo)
  const settlements = outbox.settlements.filter(mayGo)
  const requests = outbox.requests.filter(mayGo)
  const cache = outbox.cache.filter(mayGo)
  const { isUrgent } = outbox
  outbox.begins = []
  outbox.settlements = []
  outbox.requests = []
  outbox.cache = []
  outbox.isUrgent = false
  return { begins, settlements, requests, cache, isUrgent }
}

/**
 * Puts back what could not be delivered, in front of what has been owed since.
 * @param wasSent false if the object was not even called
 */
export function putBack(outbox: Outbox, parcel: Parcel, wasSent: boolean, nowMs: number): void {
  const again = <T>(sent: readonly Owed<T>[], since: readonly Owed<T>[]) => {
    const kept = sent
      .map((owed) => ({ ...owed, tries: wasSent ? owed.tries + 1 : owed.tries }))
      .filter(({ tries, sinceMs }) => tries < MAX_TRIES && nowMs - sinceMs < KEPT_MS)
    return [...kept, ...since].slice(-MAX_OWED)
  }
  const owed = new Set(outbox.begins.map(({ item }) => item.leaseId))
  const unowed = parcel.begins.filter(({ item }) => !owed.has(item.leaseId))
  outbox.begins = again(unowed, outbox.begins)
  outbox.settlements = again(parcel.settlements, outbox.settlements)
  outbox.requests = again(parcel.requests, outbox.requests).slice(-MAX_REQUESTS)
  outbox.cache = again(parcel.cache, outbox.cache)
  outbox.isUrgent = owesLeases(outbox) && (outbox.isUrgent || parcel.isUrgent)
  outbox.sinceMs = nowMs
}

export type FlushDue = 'now' | 'soon' | 'by_another'

/** Who flushes what is owed, and when. A request may die before its flush: then another does. */
export function flushDue(outbox: Outbox, nowMs: number): FlushDue {
  if (outbox.begins.length + outbox.settlements.length >= FULL) return 'now'
  const { flushAtMs } = outbox
  return flushAtMs === null || nowMs > flushAtMs + OVERDUE_MS ? 'soon' : 'by_another'
}

/** Ends a lease that has had no request, or whose grant may not have reached us. */
export function unusedLease(leaseId: LeaseId): Settlement {
  const nothing = { outcome: 'ignorable', benches: [], suspect: false, unused: true } as const
  return { leaseId, keyId: keyId(''), ...nothing }
}

/**
 * Ends a lease of the stock that no request came for. It says what the lease held of budgets: after a
 * crash the pool knows only that something is lost, and by this how much of it was never used.
 */
export function unusedAhead({ leaseId, model, grantedAtMs, tokens, held }: LeaseAhead): Settlement {
  const unused = unusedLease(leaseId)
  if (held === undefined) return unused
  const [owner] = held.holds.flatMap(({ owner: of }) => (of.startsWith(CLIENT) ? [of] : []))
  const id = clientId(owner?.slice(CLIENT.length) ?? '')
  return { ...unused, lease: { clientId: id, model, grantedAtMs, tokens, held } }
}

const CLIENT = 'client:'
