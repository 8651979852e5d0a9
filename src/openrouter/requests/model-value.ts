import { formModelSpan, type Span } from './multipart-model.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b
const CLOSE_BRACE = 0x7d
const CLOSE_BRACKET = 0x5d
/** A byte order mark. The gateway's reader of bodies accepts it too. */
const MARK = [0xef, 0xbb, 0xbf]

/** The longest form of the field name `model`: each letter is escaped. */
const MAX_KEY_BYTES = '"\\u006d\\u006f\\u0064\\u0065\\u006c"'.length

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const KEY = encoder.encode('"model"')

/**
 * Replaces the value of the top-level field `model` in a JSON body, and keeps every other byte. Of
 * several such fields it replaces the last, which is also the one that `JSON.parse` reads.
 * @param body valid JSON: the caller must have parsed it before, since this function does not check
 * @returns the body itself if it has no such field
 */
export function withModel(body: Uint8Array, model: string): Uint8Array {
  const span = findModel(body)
  return span === null ? body : replace(body, span, encoder.encode(JSON.stringify(model)))
}

/**
 * Replaces the value of the text field `model` in a form, and keeps every other byte.
 * @returns null if `readFormModel` finds no model, or if a form cannot hold the new model
 */
export function withFormModel(
  body: Uint8Array,
  contentType: string,
  model: string,
): Uint8Array | null {
  // A value with a line end could contain a delimiter and so end its part.
  if (/[\r\n]/.test(model)) return null
  const span = formModelSpan(body, contentType)
  return span === null ? null : replace(body, span, encoder.encode(model))
}

function replace(body: Uint8Array, { start, end }: Span, value: Uint8Array): Uint8Array {
  const replaced = new Uint8Array(body.length - (end - start) + value.length)
  replaced.set(body.subarray(0, start))
  replaced.set(value, start)
  replaced.set(body.subarray(end), start + value.length)
  return replaced
}

/**
 * Finds the value of the last top-level `model`. It scans bytes, not text: the structure of JSON is
 * ASCII, and in UTF-8 no other character has ASCII bytes. A tokenizer would build the value of each
 * string that it passes. For a body of 25 MB that can take more memory than an isolate has
 * (jsonc-parser's scanner: 84 MB for source code, 420 MB for a string of escapes). This scan
 * allocates nothing for the values.
 */
function findModel(body: Uint8Array): Span | null {
  let found: Span | null = null
  const brace = skipSpace(body, hasMark(body) ? MARK.length : 0)
  if (body[brace] !== OPEN_BRACE) return null
  let at = brace + 1
  for (;;) {
    const key = skipSpace(body, at)
    if (body[key] !== QUOTE) return found
    const keyEnd = stringEnd(body, key)
    const colon = skipSpace(body, keyEnd)
    if (body[colon] !== COLON) return found
    const start = skipSpace(body, colon + 1)
    const end = valueEnd(body, start)
    if (isModel(body.subarray(key, keyEnd))) found = { start, end: trimEnd(body, start, end) }
    at = end + 1
  }
}

/**
 * The end of an object's member: its comma or the object's closing brace. Brackets are counted
 * instead of kept on a stack, so there is no limit for the depth.
 */
function valueEnd(body: Uint8Array, start: number): number {
  let depth = 0
  let at = start
  while (at < body.length) {
    const byte = body[at]
    if (byte === QUOTE) {
      at = stringEnd(body, at)
      continue
    }
    if (depth === 0 && (byte === COMMA || byte === CLOSE_BRACE)) return at
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1
    at += 1
  }
  return at
}

/** The end of the string that begins at `start`: the position after its closing quote. */
function stringEnd(body: Uint8Array, start: number): number {
  let at = start + 1
  while (at < body.length && body[at] !== QUOTE) at += body[at] === BACKSLASH ? 2 : 1
  return Math.min(at + 1, body.length)
}

function isModel(key: Uint8Array): boolean {
  if (key.length === KEY.length) return KEY.every((byte, index) => key[index] === byte)
  if (key.length > MAX_KEY_BYTES || !key.includes(BACKSLASH)) return false
  const text = decoder.decode(key)
  const unescaped = text.replaceAll(/\\u([0-9a-f]{4})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return unescaped === '"model"'
}

function hasMark(body: Uint8Array): boolean {
  return MARK.every((byte, index) => body[index] === byte)
}

function skipSpace(body: Uint8Array, from: number): number {
  let at = from
  while (isSpace(body[at])) at += 1
  return at
}

function trimEnd(body: Uint8Array, start: number, from: number): number {
  let end = from
  while (end > start && isSpace(body[end - 1])) end -= 1
  return end
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
