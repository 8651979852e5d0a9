import { createRotatingMap, getEntry, type RotatingMap, setEntry } from '../limits/rotating-map.ts'
import { dayOf } from './ledger.ts'

/** What shared and kept answers came to. */
export interface CacheCounters {
  /** Requests that got a kept answer. */
  readonly hits: number
  /** Requests that got an answer which another was making. */
  readonly joins: number
  /** Requests that made an answer for others too. */
  readonly misses: number
  /** Requests that made their own upstream call, although their route shares. */
  readonly bypasses: number
  /** Bytes of answers that were put away for later requests. */
  readonly keptBytes: number
  /** What hits and joins would have cost: the price of the answer that they got, in USD. */
  readonly savedUsd: number
}

/**
 * What an isolate has counted since it last told. It may be told twice, if the reply to the first time
 * was lost.
 */
export interface CacheNote {
  /** Of this note alone. */
  readonly mark: string
  readonly counters: CacheCounters
}

/** Counters in total and for one UTC day. */
export interface CacheTally {
  readonly total: CacheCounters
  /** Days since 1970-01-01. */
  readonly day: number
  readonly today: CacheCounters
}

/** The pool's counters, and the notes that are in them. */
export interface CacheBook {
  tally: CacheTally
  readonly marks: RotatingMap<string, true>
}

export const NO_CACHE_COUNTERS: CacheCounters = {
  ...{ hits: 0, joins: 0, misses: 0, bypasses: 0, keptBytes: 0, savedUsd: 0 },
}

/** Longer than a Worker tries to deliver a note. */
const MARKS = { termMs: 120_000, capacity: 10_000 }

export function createCacheBook(): CacheBook {
  const tally = { total: NO_CACHE_COUNTERS, day: 0, today: NO_CACHE_COUNTERS }
  return { tally, marks: createRotatingMap(MARKS) }
}

/** What is stored of it; null while nothing was counted. */
export function cacheRecord({ tally }: CacheBook): CacheTally | null {
  return tally.total === NO_CACHE_COUNTERS ? null : tally
}

/** @param tally as it was stored, if it was */
export function restoreCache(book: CacheBook, tally: CacheTally | null = null): void {
  if (tally !== null) book.tally = tally
}

export function addCacheCounters(one: CacheCounters, other: Partial<CacheCounters>): CacheCounters {
  return {
    hits: one.hits + (other.hits ?? 0),
    joins: one.joins + (other.joins ?? 0),
    misses: one.misses + (other.misses ?? 0),
    bypasses: one.bypasses + (other.bypasses ?? 0),
    keptBytes: one.keptBytes + (other.keptBytes ?? 0),
    savedUsd: one.savedUsd + (other.savedUsd ?? 0),
  }
}

/** Books what an isolate has counted, once. */
export function bookCache(book: CacheBook, { mark, counters }: CacheNote, nowMs: number): void {
  if (getEntry(book.marks, mark)) return
  setEntry(book.marks, mark, true, nowMs)
  const { total } = book.tally
  book.tally = {
    total: addCacheCounters(total, counters),
    day: dayOf(nowMs),
    today: addCacheCounters(cacheToday(book.tally, nowMs), counters),
  }
}

/** The counters, for operators. */
export interface CacheReading {
  readonly total: CacheCounters
  /** Of the UTC day. */
  readonly today: CacheCounters
}

export function readCache({ tally }: CacheBook, nowMs: number): CacheReading {
  return { total: tally.total, today: cacheToday(tally, nowMs) }
}

function cacheToday({ day, today }: CacheTally, nowMs: number): CacheCounters {
  return day === dayOf(nowMs) ? today : NO_CACHE_COUNTERS
}
