import { type FieldNames, nameAt } from './field-names.ts'
import type { Span } from './span.ts'
import { charactersEnd } from './utf-8.ts'

/**
 * Walks over the bytes of JSON without building its values. `JSON.parse` of 25 MB of `[` takes
 * 1.2 GB and three seconds; this walk takes no memory beyond what it returns, and some forty
 * milliseconds. It needs no recursion, so there is no limit for the depth.
 *
 * It scans bytes, not text: the structure of JSON is ASCII, and in UTF-8 no other character has
 * ASCII bytes.
 *
 * What it checks: the walked object or list itself (its names, colons, commas and ends), that
 * every string ends and is UTF-8, that every bracket is closed, and that nothing stands outside strings
 * which JSON has no use for, such as a comment. (Bytes that are no UTF-8 may be read in several ways, so
 * upstream could find another model.) What it does not check is inside the members: whether a
 * bracket closes one of its own kind, commas there, the letters of numbers, escapes. JSON that is
 * broken there is refused by upstream. No parser of JSON, strict or lenient, would find other
 * members in it.
 */

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b
const CLOSE_BRACE = 0x7d
const CLOSE_BRACKET = 0x5d
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

/** What a byte may be outside a string. */
const NOTHING = 0
const PLAIN = 1
const SEPARATOR = 2
const OPEN = 3
const CLOSE = 4
const STRING = 5

/** Typed, since a look-up of each byte is most of the walk. */
const KINDS = new Uint8Array(256)
for (const byte of new TextEncoder().encode(' \t\r\n0123456789+-.eEtruefalsn')) KINDS[byte] = PLAIN
KINDS[COLON] = SEPARATOR
KINDS[COMMA] = SEPARATOR
KINDS[OPEN_BRACE] = OPEN
KINDS[OPEN_BRACKET] = OPEN
KINDS[CLOSE_BRACE] = CLOSE
KINDS[CLOSE_BRACKET] = CLOSE
KINDS[QUOTE] = STRING

/** By the kind of a byte, how it changes the depth. */
const DEPTH_STEPS = new Int8Array([0, 0, 0, 1, -1, 0])

/** A string of fewer bytes is not worth a note. */
const LONG_STRING_BYTES = 1024
/** No request has so many pictures. Further long strings are not noted, and so count as text. */
const MAX_LONG_STRINGS = 4096

/** What a walk notes on its way. One may serve several walks. */
export interface WalkNotes {
  /** Brackets, commas and colons outside strings. They bound what parsing the JSON would cost. */
  structure: number
  /** Strings of 1 KiB or more, with their quotes, in order. */
  readonly longStrings: Span[]
}

export function createWalkNotes(): WalkNotes {
  return { structure: 0, longStrings: [] }
}

/** The fields of an object that were looked for. Of several with one name it is the last. */
export type Fields = ReadonlyMap<string, Span>

/**
 * The spans of an object's values, by the names that are looked for.
 * @param span holds the object and nothing but white space (and a byte order mark) around it
 * @returns null if it is no object, or a broken one
 */
export function fieldsOf(
  body: Uint8Array,
  span: Span,
  names: FieldNames,
  notes: WalkNotes,
): Fields | null {
  const walk = new ObjectWalk(body, span, names, notes)
  while (walk.goOn());
  return walk.fields()
}

type WalkState = 'walking' | 'whole' | 'broken'

/** So many bytes take some ten milliseconds at most. */
const STEP_BYTES = 1024 * 1024

/**
 * The walk of `fieldsOf` in steps, so that a large body does not hold up all other requests of the
 * isolate: in 25 MB of brackets or of keys each byte costs some nanoseconds.
 */
export class ObjectWalk {
  readonly #body: Uint8Array
  readonly #end: number
  readonly #names: FieldNames
  readonly #notes: WalkNotes
  readonly #found = new Map<string, Span>()
  #state: WalkState = 'walking'
  /** Where the next step goes on: before a member, or within its key, its text, or its list or object. */
  #place: 'member' | 'key' | 'text' | 'container' = 'member'
  #at: number
  readonly #inside: Inside = { at: 0, depth: 0, stringStart: -1 }
  /** The latest member. */
  #keyStart = 0
  #keyEnd = 0
  #valueStart = 0

  constructor(body: Uint8Array, span: Span, names: FieldNames, notes: WalkNotes) {
    this.#body = body
    this.#end = span.end
    this.#names = names
    this.#notes = notes
    const open = skipSpace(body, span.start + markLength(body, span.start))
    this.#at = skipSpace(body, open + 1)
    if (body[open] !== OPEN_BRACE) this.#state = 'broken'
    else if (body[this.#at] === CLOSE_BRACE) this.#state = this.#close(this.#at)
  }

  /** Makes one step, of so many bytes or a few more. @returns whether there is more to walk over */
  goOn(bytes = STEP_BYTES): boolean {
    const stop = this.#at + bytes
    while (this.#state === 'walking' && this.#at < stop) this.#state = this.#step(stop)
    return this.#state === 'walking'
  }

  #step(stop: number): WalkState {
    switch (this.#place) {
      case 'member':
        return this.#enterMember(stop)
      case 'key':
        return this.#walkKey(this.#at, stop)
      case 'text':
        return this.#walkText(this.#at, stop)
      case 'container':
        return this.#walkContainer(stop)
    }
  }

  /** What was found; null if it is no object, or a broken one. Call it when the walk is over. */
  fields(): Fields | null {
    return this.#state === 'whole' ? this.#found : null
  }

  #enterMember(stop: number): WalkState {
    if (this.#body[this.#at] !== QUOTE) return 'broken'
    this.#keyStart = this.#at
    return this.#walkKey(this.#at + 1, stop)
  }

  #walkKey(from: number, stop: number): WalkState {
    const end = stringEnd(this.#body, from, stop)
    if (end < BROKEN) return this.#stopIn('key', end)
    return end === BROKEN ? 'broken' : this.#enterValue(end, stop)
  }

  #enterValue(keyEnd: number, stop: number): WalkState {
    const body = this.#body
    const colon = skipSpace(body, keyEnd)
    if (body[colon] !== COLON) return 'broken'
    const start = skipSpace(body, colon + 1)
    this.#keyEnd = keyEnd
    this.#valueStart = start
    const kind = KINDS[body[start] ?? 0]
    if (kind === STRING) return this.#walkText(start + 1, stop)
    if (kind !== OPEN) return this.#leaveMember(valueEnd(body, start, this.#notes))
    this.#notes.structure += 1
    this.#place = 'container'
    this.#at = start + 1
    this.#inside.depth = 1
    return 'walking'
  }

  #walkText(from: number, stop: number): WalkState {
    const end = stringEnd(this.#body, from, stop)
    if (end < BROKEN) return this.#stopIn('text', end)
    noteString(this.#notes, this.#valueStart, end)
    return this.#leaveMember(end)
  }

  #walkContainer(stop: number): WalkState {
    const inside = this.#inside
    inside.at = this.#at
    const isSound =
      (inside.stringStart === -1 || walkString(this.#body, inside, stop, this.#notes)) &&
      walkInside(this.#body, inside, stop, this.#notes)
    if (!isSound) return 'broken'
    this.#at = inside.at
    return inside.depth === 0 ? this.#leaveMember(inside.at) : 'walking'
  }

  /** @param stopped what `stringEnd` has returned */
  #stopIn(place: 'key' | 'text', stopped: number): WalkState {
    this.#place = place
    this.#at = ~stopped
    return 'walking'
  }

  #leaveMember(end: number): WalkState {
    const body = this.#body
    if (end === BROKEN) return 'broken'
    this.#place = 'member'
    const name = nameAt(body, this.#keyStart, this.#keyEnd, this.#names)
    if (name !== null) this.#found.set(name, { start: this.#valueStart, end })
    this.#notes.structure += 2
    const after = skipSpace(body, end)
    if (body[after] === CLOSE_BRACE) return this.#close(after)
    if (body[after] !== COMMA) return 'broken'
    this.#at = skipSpace(body, after + 1)
    return 'walking'
  }

  #close(brace: number): WalkState {
    return skipSpace(this.#body, brace + 1) >= this.#end ? 'whole' : 'broken'
  }
}

/**
 * The spans of a list's items, one by one, so that a caller may stop early.
 * @param span holds the list. Its end is not checked.
 */
export function* itemsOf(body: Uint8Array, span: Span, notes: WalkNotes): Generator<Span> {
  if (body[span.start] !== OPEN_BRACKET) return
  for (let at = span.start + 1; at < span.end; ) {
    const start = skipSpace(body, at)
    const end = valueEnd(body, start, notes)
    if (end === -1) return
    yield { start, end }
    at = skipSpace(body, end)
    if (body[at] !== COMMA) return
    at += 1
  }
}

/** The value after a field's name that ends at `nameEnd`, or null. */
export function spanAt(body: Uint8Array, nameEnd: number): Span | null {
  const colon = skipSpace(body, nameEnd)
  if (body[colon] !== COLON) return null
  const start = skipSpace(body, colon + 1)
  const end = valueEnd(body, start, createWalkNotes())
  return end === -1 ? null : { start, end }
}

/** Brackets, commas and colons in a value, outside its strings. */
export function structureOf(body: Uint8Array, { start }: Span): number {
  const notes = createWalkNotes()
  valueEnd(body, start, notes)
  return notes.structure
}

/** The end of the value that begins at `start`, or -1 if there is none, or one without an end. */
function valueEnd(body: Uint8Array, start: number, notes: WalkNotes): number {
  switch (KINDS[body[start] ?? 0]) {
    case STRING:
      return noteString(notes, start, stringEnd(body, start + 1, body.length))
    case OPEN:
      return containerEnd(body, start, notes)
    case PLAIN:
      return plainEnd(body, start)
    default:
      return -1
  }
}

function plainEnd(body: Uint8Array, start: number): number {
  let at = start
  while (KINDS[body[at] ?? 0] === PLAIN && !isSpace(body[at])) at += 1
  return at
}

function containerEnd(body: Uint8Array, start: number, notes: WalkNotes): number {
  const inside = { at: start + 1, depth: 1, stringStart: -1 }
  notes.structure += 1
  return walkInside(body, inside, body.length, notes) && inside.depth === 0 ? inside.at : -1
}

interface Inside {
  at: number
  /** Brackets are counted instead of kept on a stack: 25 million would cost as much memory. */
  depth: number
  /** Where the string begins in which it has stopped; -1 if it has stopped in none. */
  stringStart: number
}

/**
 * Walks on to the end of a list or an object, or to `stop`.
 * @returns false if there is neither
 */
function walkInside(body: Uint8Array, inside: Inside, stop: number, notes: WalkNotes): boolean {
  const end = Math.min(stop, body.length)
  let { at, depth } = inside
  let structure = 0
  while (at < end && depth > 0) {
    const kind = KINDS[body[at] ?? 0]
    if (kind === STRING) {
      inside.stringStart = at
      inside.at = at + 1
      if (!walkString(body, inside, end, notes)) return false
      at = inside.at
      continue
    }
    if (kind === NOTHING) return false
    at += 1
    if (kind === PLAIN) continue
    structure += 1
    depth += DEPTH_STEPS[kind ?? NOTHING] ?? 0
  }
  notes.structure += structure
  inside.at = at
  inside.depth = depth
  return depth === 0 || at < body.length
}

/** Walks on in the string where it is, to its end or to `stop`. @returns false if it is broken */
function walkString(body: Uint8Array, inside: Inside, stop: number, notes: WalkNotes): boolean {
  const after = stringEnd(body, inside.at, stop)
  if (after === BROKEN) return false
  inside.at = after < BROKEN ? ~after : after
  if (after < BROKEN) return true
  noteString(notes, inside.stringStart, after)
  inside.stringStart = -1
  return true
}

/** Notes a string that is long. @returns its end */
function noteString({ longStrings }: WalkNotes, start: number, end: number): number {
  if (end - start >= LONG_STRING_BYTES && longStrings.length < MAX_LONG_STRINGS) {
    longStrings.push({ start, end })
  }
  return end
}

/** Which bytes of a string are more than themselves: its end, an escape, and all beyond ASCII. */
const SIGNS = new Uint8Array(256).fill(1, 0x80)
SIGNS[QUOTE] = 1
SIGNS[BACKSLASH] = 1

/** Of a string that has no end, or is not in UTF-8. */
const BROKEN = -1

/**
 * Goes on within a string, from `from`, to its end or to `stop`. Four bytes at a time: in a megabyte of
 * prose that is as fast as a loop which looks for quotes alone. The platform's decoder, which would be
 * asked for UTF-8 otherwise, takes as long again, and four times as long for Chinese.
 * @returns the position after the closing quote; `BROKEN`; or, if it has stopped before the end, the
 *   complement (`~`) of where, which is below `BROKEN`
 */
function stringEnd(body: Uint8Array, from: number, stop: number): number {
  const { length } = body
  const end = Math.min(stop, length)
  let at = from
  while (at < end) {
    while (at + 4 <= end && isPlain(body, at)) at += 4
    const byte = body[at] ?? 0
    if (byte === QUOTE) return at + 1
    at = byte > 0x7f ? charactersEnd(body, at) : at + stepOver(byte, body[at + 1] ?? 0)
    if (at === -1) return BROKEN
  }
  return at < length ? ~at : BROKEN
}

function isPlain(body: Uint8Array, at: number): boolean {
  const signs =
    signAt(body, at) | signAt(body, at + 1) | signAt(body, at + 2) | signAt(body, at + 3)
  return signs === 0
}

function signAt(body: Uint8Array, at: number): number {
  return SIGNS[body[at] ?? 0] ?? 0
}

/** A backslash takes the next byte with it, but a character beyond ASCII has to be looked at. */
function stepOver(byte: number, next: number): number {
  return byte === BACKSLASH && next <= 0x7f ? 2 : 1
}

/** A byte order mark is let through, as by the decoder that a parser would have before it. */
function markLength(body: Uint8Array, at: number): number {
  return at === 0 && BYTE_ORDER_MARK.every((byte, index) => body[index] === byte)
    ? BYTE_ORDER_MARK.length
    : 0
}

function skipSpace(body: Uint8Array, from: number): number {
  let at = from
  while (isSpace(body[at])) at += 1
  return at
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
