import { textOf } from '../json-value.ts'
import type { Span } from './span.ts'

interface Part {
  readonly headers: string
  readonly content: Span
}

const MAX_PARTS = 256
const MAX_HEADERS_BYTES = 16 * 1024
const MAX_MODEL_BYTES = 1024
/** RFC 2046 allows 70 characters; some clients use more. */
const MAX_BOUNDARY_LENGTH = 200

const CR = 0x0d
const DASH = 0x2d

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const LINE_END = encoder.encode('\r\n')
const BLANK_LINE = encoder.encode('\r\n\r\n')

/**
 * Reads the value of the text field `model` of a form, without touching the form's files.
 *
 * The platform's `formData()`, which Hono's `parseBody` uses too, copies every file, although the
 * body is already in memory. Neither `formData()` nor the multipart parsers on npm give the
 * position of a value, and the gateway needs the position to replace the value.
 * @param contentType the request's header, which names the boundary
 * @returns null if the field is missing or empty, or if two parsers might read different models:
 *   the form is broken, has two such fields, or more than 256 parts. Otherwise the gateway could
 *   accept a request for one model while upstream serves another.
 */
export function readFormModel(body: Uint8Array, contentType: string): string | null {
  const span = formModelSpan(body, contentType)
  if (span === null) return null
  try {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })
    return textOf(strict.decode(body.subarray(span.start, span.end)))
  } catch {
    return null
  }
}

/** The position of the value that `readFormModel` reads, or null. */
export function formModelSpan(body: Uint8Array, contentType: string): Span | null {
  const boundary = boundaryOf(contentType)
  const parts = boundary === null ? null : partsOf(body, boundary)
  if (parts === null) return null
  const fields = parts.map((part) => ({ field: textFieldOf(part.headers), content: part.content }))
  if (fields.some(({ field }) => field === null)) return null
  const [model, ...others] = fields.filter(({ field }) => field === 'model')
  if (model === undefined || others.length > 0) return null
  const length = model.content.end - model.content.start
  return length > 0 && length <= MAX_MODEL_BYTES ? model.content : null
}

/** The boundary that a form's header names; null if it names none that can be used. */
export function boundaryOf(contentType: string): string | null {
  const type = /^\s*multipart\/form-data\s*(?=;)/i.exec(contentType)
  const quoted = type && parametersOf(contentType.slice(type[0].length))?.get('boundary')
  const boundary = quoted?.replaceAll(/\\(.)/g, '$1')
  const isUsable =
    boundary && boundary.length <= MAX_BOUNDARY_LENGTH && /^[\x20-\x7e]*[\x21-\x7e]$/.test(boundary)
  return isUsable ? boundary : null
}

/**
 * The name of a part that is a text field; '' for a file.
 * @returns null if the name is missing or not certain
 */
function textFieldOf(headers: string): string | null {
  const lines = headers.split('\r\n').filter((line) => /^content-disposition\s*:/i.test(line))
  const [line] = lines
  if (line === undefined || lines.length > 1) return null
  const type = /^[^:]*:\s*form-data\s*(?=;)/i.exec(line)
  const parameters = type && parametersOf(line.slice(type[0].length))
  // RFC 7578 forbids the extended form `name*`. Parsers disagree about it, and about backslashes.
  if (!parameters || parameters.has('name*') || parameters.get('name')?.includes('\\')) return null
  const isFile = parameters.has('filename') || parameters.has('filename*')
  return isFile ? '' : (parameters.get('name') ?? null)
}

/**
 * The parameters of a header's value (`; name="model"; …`), with names in lower case.
 * @returns null if the text has anything else, or a parameter twice
 */
export function parametersOf(text: string): ReadonlyMap<string, string> | null {
  const parameters = new Map<string, string>()
  let end = 0
  for (const match of text.matchAll(/\s*;\s*([^\s;=",]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/gy)) {
    const [whole, name = '', quoted, token] = match
    if (parameters.has(name.toLowerCase())) return null
    parameters.set(name.toLowerCase(), quoted ?? token ?? '')
    end = match.index + whole.length
  }
  return /^[\s;]*$/.test(text.slice(end)) ? parameters : null
}

/**
 * The parts of a form, by RFC 2046, section 5.1.1.
 * @returns null if the form is broken, has no end, or has too many parts
 */
function partsOf(body: Uint8Array, boundary: string): readonly Part[] | null {
  const delimiter = createNeedle(`\r\n--${boundary}`)
  const parts: Part[] = []
  let before = firstDelimiter(body, delimiter.bytes)
  while (before !== null && !before.isLast) {
    // A part may have no headers: the delimiter's line end is then half of the blank line.
    const headersStart = before.end - LINE_END.length
    const headersEnd = indexOfBlankLine(body, headersStart)
    const next = nextDelimiter(body, delimiter, headersStart)
    if (headersEnd === -1 || next === null || parts.length === MAX_PARTS) return null
    const start = headersEnd + BLANK_LINE.length
    // The delimiter is inside the headers, or overlaps the blank line. Parsers disagree about both.
    if (next.start < start) return null
    parts.push({
      headers: decoder.decode(body.subarray(before.end, Math.max(before.end, headersEnd))),
      content: { start, end: next.start },
    })
    before = next
  }
  return before === null ? null : parts
}

interface Delimiter extends Span {
  /** The closing delimiter. Everything after it is ignored. */
  readonly isLast: boolean
}

/**
 * The delimiter that a form begins with, with or without a line end before it. RFC 2046 allows a
 * text before the delimiter. No client writes one, and parsers disagree about boundaries in it, so
 * such a form is refused.
 */
function firstDelimiter(body: Uint8Array, delimiter: Uint8Array): Delimiter | null {
  const start = startsWith(body, LINE_END, 0) ? 0 : -LINE_END.length
  return startsWith(body, delimiter.subarray(LINE_END.length), start + LINE_END.length)
    ? delimiterAt(body, start, start + delimiter.length)
    : null
}

/** Bytes to search for by Horspool's algorithm ("Practical fast searching in strings", 1980). */
interface Needle {
  readonly bytes: Uint8Array
  /** How far the needle can move, by the byte of the body under the needle's last byte. */
  readonly shifts: Uint8Array
}

function createNeedle(text: string): Needle {
  const bytes = encoder.encode(text)
  const shifts = new Uint8Array(256).fill(bytes.length)
  for (const [index, byte] of bytes.subarray(0, -1).entries()) {
    shifts[byte] = bytes.length - 1 - index
  }
  return { bytes, shifts }
}

/**
 * Finds the next delimiter by Horspool's algorithm, which skips most bytes of a file. In general
 * the algorithm is not linear in the worst case. Here it is: a delimiter has its only CR at the
 * start, so the bytes that match one position cannot be the start of another.
 */
function nextDelimiter(body: Uint8Array, delimiter: Needle, from: number): Delimiter | null {
  const { bytes, shifts } = delimiter
  const last = bytes.length - 1
  for (let at = from; at + last < body.length; at += shifts[body[at + last] ?? 0] ?? 1) {
    if (body[at] !== CR || !startsWith(body, bytes, at)) continue
    const found = delimiterAt(body, at, at + bytes.length)
    if (found !== null) return found
  }
  return null
}

/**
 * The delimiter whose boundary ends at `boundaryEnd`. Two dashes must follow, or spaces and tabs up
 * to the line end.
 * @returns null if something else follows: then it is content that only begins like a delimiter
 */
function delimiterAt(body: Uint8Array, start: number, boundaryEnd: number): Delimiter | null {
  if (body[boundaryEnd] === DASH && body[boundaryEnd + 1] === DASH) {
    return { start, end: boundaryEnd + 2, isLast: true }
  }
  let at = boundaryEnd
  while (body[at] === 0x20 || body[at] === 0x09) at += 1
  return startsWith(body, LINE_END, at) ? { start, end: at + LINE_END.length, isLast: false } : null
}

function indexOfBlankLine(body: Uint8Array, from: number): number {
  const to = Math.min(body.length, from + MAX_HEADERS_BYTES)
  for (let at = from; at < to; at += 1) {
    if (body[at] === CR && startsWith(body, BLANK_LINE, at)) return at
  }
  return -1
}

function startsWith(body: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let index = 0; index < bytes.length; index += 1) {
    if (body[at + index] !== bytes[index]) return false
  }
  return true
}
