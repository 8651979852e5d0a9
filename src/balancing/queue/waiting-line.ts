import { isAlive, sizeOf, type Waiter, waits, waitsUntilMs } from './waiter.ts'

/**
 * The waiters of one lane and one size class, first come, first served. A key whose limit of tokens is
 * too small for one of them is too small for all.
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
  /**
   * Of each stretch of the line, no waiter asks for less than this. So a key passes over those for whom it
   * has too little money or too few tokens left, however many there are.
   */
  readonly least: Record<Measure, number[]>
}

/** What a waiter asks of a key that it may have too little of. */
type Measure = 'size' | 'tokens' | 'nanos'

const MEASURES: Readonly<Record<Measure, (waiter: Waiter) => number>> = {
  size: sizeOf,
  tokens: ({ request }) => request.tokens,
  // What cannot be bounded is taken for more than is left.
  nanos: ({ request }) => request.costNanos ?? Number.POSITIVE_INFINITY,
}

const ALL_MEASURES = ['size', 'tokens', 'nanos'] as const

/** How many waiters of one line are looked at for one key. Each before the last had its reason. */
const LOOKS_PER_LINE = 16

/** A line is cleared up when more than this many, and more than half, have left. */
const CLEAR_UP_AT = 32

/** The length of a stretch. */
const STRETCH = 64

export function createLine(name: string, route: number): Line {
  return { name, route, waiters: [], head: 0, gone: 0, least: { size: [], tokens: [], nanos: [] } }
}

export function addToLine(line: Line, waiter: Waiter): void {
  const stretch = Math.floor(line.waiters.length / STRETCH)
  for (const measure of ALL_MEASURES) {
    noteLeast(line.least[measure], stretch, MEASURES[measure](waiter))
  }
  line.waiters.push(waiter)
}

function noteLeast(least: number[], stretch: number, amount: number): void {
  least[stretch] = Math.min(least[stretch] ?? Number.POSITIVE_INFINITY, amount)
}

/** Counts a waiter that has left. */
export function leaveLine(line: Line): void {
  line.gone += 1
  if (line.gone > CLEAR_UP_AT && 2 * line.gone > line.waiters.length) clearUp(line, waits)
}

/** Takes out who has left. */
export function clearUp(line: Line, isKept: (waiter: Waiter) => boolean): void {
  const kept = line.waiters.slice(line.head).filter(isKept)
  line.waiters = []
  for (const measure of ALL_MEASURES) line.least[measure] = []
  line.head = 0
  line.gone = 0
  for (const waiter of kept) addToLine(line, waiter)
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

/** What a key has left of its tokens for a minute, and of its `max_spend` in nano-dollars. */
export interface RoomLeft {
  readonly tokens: number
  readonly nanos: number
}

/** How a key is offered to the queue. */
export interface Offering<M> {
  readonly nowMs: number
  /** Requests of this size, and larger ones, are too large for the key's money. */
  readonly tooLargeFrom: number
  /** What the key has left now; infinite without a limit. */
  readonly left: () => RoomLeft
  /** Whether the key is for any waiter of a line. */
  readonly isFor: (line: Line) => boolean
  readonly offer: (waiter: Waiter) => Offer<M>
  /**
   * Says that waiters were not looked at, since so many before them had nothing of the key. Not before
   * this moment will one of those be gone.
   */
  readonly hides: (untilMs: number) => void
}

/** Of the waiters of a line that a key has something for, the first. */
export function firstOfLine<M>(line: Line, offering: Offering<M>): First<M> | null {
  const { nowMs, tooLargeFrom, offer, hides } = offering
  let looks = 0
  let untilMs = Number.POSITIVE_INFINITY
  for (let at = line.head; at < line.waiters.length; at++) {
    if (at % STRETCH === 0) at = passOver(line, at, 'size', tooLargeFrom)
    const waiter = line.waiters[at]
    if (waiter === undefined || sizeOf(waiter) >= tooLargeFrom || !isAlive(waiter, nowMs)) continue
    if (looks === LOOKS_PER_LINE) {
      hides(untilMs)
      return firstWithRoom(line, at, offering)
    }
    looks += 1
    const offered = offer(waiter)
    if (offered.kind !== 'nothing') return { waiter, offer: offered }
    untilMs = Math.min(untilMs, waitsUntilMs(waiter))
  }
  return null
}

/**
 * Of the waiters from a place on, the first that gets the key with what it has left. Many who need more
 * tokens or more money, and will not have it in their time, do not keep it from one who needs little.
 */
function firstWithRoom<M>(line: Line, from: number, offering: Offering<M>): First<M> | null {
  const { nowMs, tooLargeFrom, offer } = offering
  const left = offering.left()
  if (Math.min(left.tokens, left.nanos) === Number.POSITIVE_INFINITY) return null
  let looks = 0
  for (let at = from; at < line.waiters.length && looks < LOOKS_PER_LINE; at++) {
    if (at % STRETCH === 0) at = passPoor(line, at, left)
    const waiter = line.waiters[at]
    if (waiter === undefined || !isWithin(waiter, left)) continue
    if (sizeOf(waiter) >= tooLargeFrom || !isAlive(waiter, nowMs)) continue
    looks += 1
    const offered = offer(waiter)
    if (offered.kind === 'now') return { waiter, offer: offered }
  }
  return null
}

function isWithin(waiter: Waiter, { tokens, nanos }: RoomLeft): boolean {
  const isUnlimited = nanos === Number.POSITIVE_INFINITY
  return waiter.request.tokens <= tokens && (isUnlimited || MEASURES.nanos(waiter) <= nanos)
}

/** Where the next stretch begins for some of whose waiters enough is left. */
function passPoor(line: Line, from: number, { tokens, nanos }: RoomLeft): number {
  let at = from
  for (;;) {
    const next = passOver(line, passOver(line, at, 'tokens', tokens + 1), 'nanos', nanos + 1)
    if (next === at) return at
    at = next
  }
}

/** Where the next stretch begins with a waiter that asks for less than this. */
function passOver(line: Line, from: number, measure: Measure, tooMuchFrom: number): number {
  let at = from
  if (tooMuchFrom === Number.POSITIVE_INFINITY) return at
  while (at < line.waiters.length && leastAt(line, at, measure, tooMuchFrom) >= tooMuchFrom) {
    at += STRETCH
  }
  return at
}

/** Those that made a stretch count as small may have left: then it is measured again, once. */
function leastAt(line: Line, at: number, measure: Measure, tooMuchFrom: number): number {
  const stretch = at / STRETCH
  const known = line.least[measure][stretch] ?? 0
  if (known >= tooMuchFrom) return known
  const amounts = line.waiters
    .slice(at, at + STRETCH)
    .filter(waits)
    .map(MEASURES[measure])
  const least = Math.min(Number.POSITIVE_INFINITY, ...amounts)
  line.least[measure][stretch] = least
  return least
}

/** The waiters of a line that go first, as many as are looked at for one key. */
export function foremostOf(line: Line, nowMs: number): readonly Waiter[] {
  const waiters: Waiter[] = []
  for (let at = line.head; at < line.waiters.length && waiters.length < LOOKS_PER_LINE; at++) {
    const waiter = line.waiters[at]
    if (waiter !== undefined && isAlive(waiter, nowMs)) waiters.push(waiter)
  }
  return waiters
}
