import { isJsonObject } from '../json-value.ts'
import { type EncodedString, encodedStringsOf } from './encoded-strings.ts'
import type { Span } from './span.ts'
import { textTokens } from './text-tokens.ts'
import { attachmentTokens, encodedTokens, estimatePromptTokens } from './token-estimate.ts'
import { parseSpan, type WalkedBody } from './walked-body.ts'

/** Averages of English. */
const BYTES_PER_TOKEN = 4

/**
 * A body is parsed for its estimate if it has no more bytes, without the base64 of files, and no
 * more structure: 25 MB of brackets would cost a gigabyte.
 */
const MAX_PARSED_BYTES = 64 * 1024
const MAX_PARSED_STRUCTURE = 20_000

/** Of a larger body so many pieces are counted, at random places: some 8 KB. */
const SAMPLES = 32
const SAMPLE_BYTES = 256

/**
 * Estimates the tokens of a body's prompt, by its bytes alone: a token for four of them. Base64 of
 * pictures, sounds and files counts as what a model makes of it, not by its bytes.
 */
export function roughTokens(body: WalkedBody, random: () => number): number {
  const encoded = encodedStringsOf(body.bytes, body.notes.longStrings, random)
  const rest = body.bytes.length - cutBytes(encoded)
  return Math.ceil(rest / BYTES_PER_TOKEN) + tokensOf(encoded)
}

/**
 * Estimates the tokens of a body's prompt by its language and its structure. A large body is not
 * parsed: samples of its bytes are counted. They hold some of its field names and marks, which in a
 * prompt of this size do not matter.
 */
export function promptTokens(body: WalkedBody, random: () => number): number {
  const { bytes, notes } = body
  const encoded = encodedStringsOf(bytes, notes.longStrings, random)
  const rest = bytes.length - cutBytes(encoded)
  if (rest <= MAX_PARSED_BYTES && notes.structure <= MAX_PARSED_STRUCTURE) {
    const short = withoutCuts(bytes, encoded, rest)
    const value = parseSpan(short, { start: 0, end: short.length })
    if (isJsonObject(value)) {
      const cut = encoded.reduce(
        (sum, { cut, isText }) => sum + encodedTokens(lengthOf(cut), isText),
        0,
      )
      return estimatePromptTokens(value, random) + cut
    }
  }
  return sampledTokens(bytes, encoded, rest, random) + tokensOf(encoded)
}

/** The tokens of a form: a file, as of a recording, and some fields. */
export function formTokens(bytes: number): number {
  return attachmentTokens({ length: Math.ceil((bytes * 4) / 3), isText: false })
}

function tokensOf(encoded: readonly EncodedString[]): number {
  return encoded.reduce(
    (sum, { cut, isText }) => sum + attachmentTokens({ length: lengthOf(cut), isText }),
    0,
  )
}

function cutBytes(encoded: readonly EncodedString[]): number {
  return encoded.reduce((sum, { cut }) => sum + lengthOf(cut), 0)
}

function lengthOf({ start, end }: Span): number {
  return end - start
}

function withoutCuts(
  bytes: Uint8Array,
  encoded: readonly EncodedString[],
  length: number,
): Uint8Array {
  if (encoded.length === 0) return bytes
  const short = new Uint8Array(length)
  let from = 0
  let to = 0
  for (const { cut } of [...encoded, { cut: { start: bytes.length, end: bytes.length } }]) {
    short.set(bytes.subarray(from, cut.start), to)
    to += cut.start - from
    from = cut.end
  }
  return short
}

/**
 * Counts samples, one at a random place in each of equal stretches of what is not cut: a caller who
 * knew the places could hide a text between them.
 */
function sampledTokens(
  bytes: Uint8Array,
  encoded: readonly EncodedString[],
  rest: number,
  random: () => number,
): number {
  const stretch = rest / SAMPLES
  let counted = 0
  let sampled = 0
  let passed = 0
  let next = 0
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const place = Math.floor(sample * stretch + random() * Math.max(0, stretch - SAMPLE_BYTES))
    let cut = encoded[next]?.cut
    while (cut !== undefined && place + passed >= cut.start) {
      passed += lengthOf(cut)
      next += 1
      cut = encoded[next]?.cut
    }
    const start = place + passed
    const text = textIn(bytes, start, Math.min(start + SAMPLE_BYTES, cut?.start ?? bytes.length))
    counted += textTokens(text.text)
    sampled += text.bytes
  }
  return sampled === 0 ? 0 : Math.ceil((counted / sampled) * rest)
}

const decoder = new TextDecoder()

/** What a piece of JSON says, without half characters and half escapes at its ends. */
function textIn(
  body: Uint8Array,
  start: number,
  end: number,
): { readonly text: string; readonly bytes: number } {
  let from = start
  let to = end
  while (from < to && isContinuation(body[from])) from += 1
  while (to > from && isContinuation(body[to])) to -= 1
  const raw = decoder.decode(body.subarray(from, to))
  const whole = raw.replace(/^u?[\da-f]{1,4}(?=\\u)/i, '').replace(/\\(?:u[\da-f]{0,3})?$/i, '')
  const text = whole.replace(/\\(?:u([\da-f]{4})|(.))/gis, (_, hex?: string, letter?: string) =>
    hex === undefined
      ? (ESCAPES[letter ?? ''] ?? letter ?? '')
      : String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return { text, bytes: to - from - (raw.length - whole.length) }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f' }

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80
}
