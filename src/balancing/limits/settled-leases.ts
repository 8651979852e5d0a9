import type { LeaseId } from '../ids.ts'
import { numberedBy, numberIn } from './lease-number.ts'
import {
  createRotatingMap,
  getEntry,
  keepEntry,
  type RotatingMap,
  setEntry,
} from './rotating-map.ts'

/**
 * Which leases have had their settlement. It has to be remembered for longer than any Worker may
 * repeat a settlement, at any rate of requests. A text for each lease would be 200 bytes of heap that
 * every garbage collection walks over. So isolates number their leases, and a lease is one bit.
 *
 * The highest number alone would not do: leases end in another order than they were granted in, many
 * numbers are never granted, and a stream of ten minutes is settled among much younger ones.
 */
export interface SettledLeases {
  /** The numbers of each isolate, in blocks. */
  readonly numbered: RotatingMap<string, RotatingMap<number, Uint32Array>>
  /** Ids from Workers of an earlier release, which numbers nothing. */
  readonly others: RotatingMap<LeaseId, true>
}

/** For at least so long a settlement is remembered, at any rate of requests. */
export const SETTLED_MS = 120_000

/** A block has so many bits, in words of 32. */
const BLOCK = 256
const WORD = 32

/** An isolate has no more blocks than leases of it were settled in the term. */
const BLOCKS = { termMs: SETTLED_MS, capacity: Number.POSITIVE_INFINITY }

/** Far more isolates than one object can serve. A Worker of an earlier release names each order. */
const NAMES = { termMs: SETTLED_MS, capacity: 20_000 }

/**
 * For the minutes of a deployment: 1,600 requests a second are more than one object serves, and
 * Workers of an earlier release repeat nothing for longer than a minute. 30 MB at most.
 */
const OTHERS = { termMs: 65_000, capacity: 100_000 }

export function createSettledLeases(): SettledLeases {
  return { numbered: createRotatingMap(NAMES), others: createRotatingMap(OTHERS) }
}

/** Remembers that a lease was settled. */
export function noteSettled({ numbered, others }: SettledLeases, id: LeaseId, nowMs: number): void {
  const number = numberIn(id)
  if (number < 0) {
    setEntry(others, id, true, nowMs)
    return
  }
  // What is kept is of the younger generation again: a block is forgotten when none of its leases has
  // been settled for long.
  const blocks = keepEntry(numbered, numberedBy(id), createBlocks, nowMs)
  const block = keepEntry(blocks, Math.floor(number / BLOCK), createBlock, nowMs)
  const word = wordOf(number)
  block[word] = (block[word] ?? 0) | bitOf(number)
}

function createBlocks(): RotatingMap<number, Uint32Array> {
  return createRotatingMap(BLOCKS)
}

function createBlock(): Uint32Array {
  return new Uint32Array(BLOCK / WORD)
}

/** Whether a lease was settled, as far as is remembered. */
export function wasSettled({ numbered, others }: SettledLeases, id: LeaseId): boolean {
  const number = numberIn(id)
  if (number < 0) return getEntry(others, id) === true
  const blocks = getEntry(numbered, numberedBy(id))
  const block = blocks === undefined ? undefined : getEntry(blocks, Math.floor(number / BLOCK))
  return block !== undefined && ((block[wordOf(number)] ?? 0) & bitOf(number)) !== 0
}

function wordOf(number: number): number {
  return Math.floor((number % BLOCK) / WORD)
}

function bitOf(number: number): number {
  return 1 << (number % WORD)
}
