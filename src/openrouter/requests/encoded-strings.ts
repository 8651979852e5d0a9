import type { Span } from './span.ts'

/** The base64 of a picture, a recording or a file within a body. */
export interface EncodedString {
  /** What can be cut out without changing what the string looks like: all but its beginning. */
  readonly cut: Span
  /** It holds a text file, which the model reads as text. */
  readonly isText: boolean
}

/** The fields, in all API shapes, that hold a data URL or bare base64. */
const FIELDS: ReadonlySet<string> = new Set([
  ...['url', 'image_url', 'video_url', 'file_url', 'file_data', 'image', 'data', 'result'],
])
const LONGEST_FIELD = Math.max(...[...FIELDS].map((field) => field.length))

/** So much of a string stays: its media type, and enough base64 to know it by. */
const KEPT_BYTES = 160
/** How much is looked at in the middle of a string, and at how many places. */
const PROBE_BYTES = 64
const PROBES = 4

const BEGINNING = /^(?:data:([\w.+-]+\/[\w.+-]+)?[^,]*;base64,)?[\w+/=\\-]*$/i
const BASE64 = /^[\w+/=\\-]+$/

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a

const decoder = new TextDecoder('latin1')

/**
 * Those of the strings that are encoded files. The places that are looked at are random: at known
 * ones a caller could put base64, and hide a text between them.
 * @param strings long ones, with their quotes
 */
export function encodedStringsOf(
  body: Uint8Array,
  strings: readonly Span[],
  random: () => number,
): readonly EncodedString[] {
  return strings.flatMap((string) => {
    const encoded = encodedString(body, string, random)
    return encoded === null ? [] : [encoded]
  })
}

function encodedString(
  body: Uint8Array,
  { start, end }: Span,
  random: () => number,
): EncodedString | null {
  if (!FIELDS.has(fieldBefore(body, start))) return null
  const [beginning, type = ''] = BEGINNING.exec(textAt(body, start + 1, KEPT_BYTES)) ?? []
  if (beginning === undefined) return null
  // `\/` is how some clients write a slash. It must not be cut in two.
  const from = start + 1 + KEPT_BYTES + (body[start + KEPT_BYTES] === BACKSLASH ? 1 : 0)
  for (let probe = 0; probe < PROBES; probe += 1) {
    const at = from + Math.floor(random() * (end - 1 - PROBE_BYTES - from))
    if (!BASE64.test(textAt(body, at, PROBE_BYTES))) return null
  }
  return { cut: { start: from, end: end - 1 }, isText: /^text\//i.test(type) }
}

function textAt(body: Uint8Array, start: number, length: number): string {
  return decoder.decode(body.subarray(start, start + length))
}

/** The name of the field whose value begins at `start`; '' for an item of a list. */
function fieldBefore(body: Uint8Array, start: number): string {
  const colon = skipSpaceBack(body, start)
  if (body[colon - 1] !== COLON) return ''
  const end = skipSpaceBack(body, colon - 1) - 1
  if (body[end] !== QUOTE) return ''
  const open = body.subarray(Math.max(0, end - LONGEST_FIELD - 1), end).lastIndexOf(QUOTE)
  if (open === -1) return ''
  return (
    textAt(body, Math.max(0, end - LONGEST_FIELD - 1) + open + 1, LONGEST_FIELD + 1).split(
      '"',
    )[0] ?? ''
  )
}

function skipSpaceBack(body: Uint8Array, from: number): number {
  let at = from
  while (at > 0 && (body[at - 1] ?? 0) <= 0x20) at -= 1
  return at
}
