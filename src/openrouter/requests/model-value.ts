import { formModelSpan, type Span } from './multipart-model.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b
const CLOSE_BRACE = 0x7d
const CLOSE_BRACKET = 0x5d
/** A byte order mark, which our own reader of bodies takes too. */
const MARK = [0xef, 0xbb, 0xbf]

/** The longest form of the key `model`: each of its letters is escaped. */
const MAX_KEY_BYTES = '"\\u006d\\u006f\\u0064\\u0065\\u006c"'.length

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const KEY = encoder.encode('"model"')

/**
 * The same JSON with another value of its top level's `model`; every other byte stays as it came.
 * Of several such keys the last one counts, as for `JSON.parse`, and is the one that is changed.
 * @param body JSON that has been parsed before: what is no JSON is not told from what is
 * @returns the body itself if it has no such key
 */
export function withModel(body: Uint8Array, model: string): Uint8Array {
  const span = findModel(body)
  return span === null ? body : replace(body, span, encoder.encode(JSON.stringify(model)))
}

/**
 * The same form with another value of its text field `model`; every other byte stays as it came.
 * @returns null where `readFormModel` reads no model, or where a form can't hold the new one
 */
export function withFormModel(
  body: Uint8Array,
  contentType: string,
  model: string,
): Uint8Array | null {
  // With a line end in it, a value could be made to end its part.
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
 * Looks at bytes, not at text: whatever gives a JSON text its structure is ASCII, and no byte of
 * another character is. A tokenizer would build the value of each string that it passes, which for
 * a body of 25 MB can take more memory than an isolate has (jsonc-parser's scanner: 84 MB for
 * source code, 420 MB for a string of nothing but escapes); this needs none.
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
 * Where an object's member ends: at its comma or the object's brace. Brackets are counted, not
 * matched, so that no depth is too deep.
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

/** Where the string that begins at `start` ends: after its closing quote. */
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
