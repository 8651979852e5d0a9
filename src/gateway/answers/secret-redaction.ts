import type { KeyId } from '../../balancing/ids.ts'
import { joinPieces } from '../../openrouter/pieces.ts'

/** A secret of the pool, and the name that stands for it in public. */
export interface NamedSecret {
  readonly secret: string
  readonly keyId: KeyId
}

/**
 * Puts the id of a key in the place of its secret, where an error of upstream repeats it. Every other
 * byte stays. Answers are never searched: they are the caller's.
 */
export interface SecretRedaction {
  /** The same bytes if they hold no secret. */
  bytes(content: Uint8Array): Uint8Array
  /** The same headers if no value holds a secret. */
  headers(headers: Headers): Headers
  /** Whether the bytes hold what may be the beginning of a secret. */
  isSuspect(content: Uint8Array): boolean
  /**
   * Where the first possible secret begins; the length if nowhere.
   * @param mayBeCutOff whether one letter at the end counts as a beginning that is cut off
   */
  firstSuspect(content: Uint8Array, mayBeCutOff: boolean): number
}

/** Each character of a secret may be written as it is, in percents, or as an escape of JSON. */
const ESCAPE = /%([0-9a-f]{2})|\\+u00([0-9a-f]{2})|\\+(["/\\])/gi

/** "sk-", with which every secret of a pool begins. */
const BEGINNING = /(?:s|%73|\\+u0073)(?:k|%6b|\\+u006b)(?:-|%2d|\\+u002d)/i

/** A part of a beginning, at the end of the bytes. */
const CUT_OFF =
  /(?:(?<![a-z\d])(?:s|%73|\\+u0073)(?:k|%6b|\\+u006b)?)?(?:%[267]?|\\+(?:u(?:0(?:0[267]?)?)?)?)?$/i

/** One character for each byte, so that positions in the text are those of the bytes. */
const decoder = new TextDecoder('windows-1252')

interface Span {
  readonly start: number
  readonly end: number
  readonly keyId: KeyId
}

export function createSecretRedaction(secrets: readonly NamedSecret[]): SecretRedaction {
  // Of two secrets that begin alike the longer one is looked for first.
  const longestFirst = secrets.toSorted((a, b) => b.secret.length - a.secret.length)

  const spansIn = (text: string): Span[] => {
    if (!BEGINNING.test(text)) return []
    const { plain, starts } = unescaped(text)
    const spans: Span[] = []
    for (const { secret, keyId } of longestFirst) {
      for (let at = plain.indexOf(secret); at !== -1; at = plain.indexOf(secret, at + 1)) {
        const span = { start: starts[at] ?? 0, end: starts[at + secret.length] ?? 0, keyId }
        const isCovered = spans.some(({ start, end }) => span.start < end && start < span.end)
        if (!isCovered) spans.push(span)
      }
    }
    return spans.toSorted((a, b) => a.start - b.start)
  }
  return {
    bytes(content) {
      const spans = spansIn(decoder.decode(content))
      return spans.length === 0 ? content : spliced(content, spans)
    },
    headers(headers) {
      const found = [...headers].filter(([, value]) => spansIn(value).length > 0)
      if (found.length === 0) return headers
      const redacted = new Headers(headers)
      for (const [name, value] of found) redacted.set(name, splicedText(value, spansIn(value)))
      return redacted
    },
    isSuspect: (content) => BEGINNING.test(decoder.decode(content)),
    firstSuspect(content, mayBeCutOff) {
      const text = decoder.decode(content)
      const at = text.search(BEGINNING)
      if (at !== -1) return at
      return mayBeCutOff ? text.search(CUT_OFF) : text.length
    },
  }
}

/** A text without its escapes, and where each of its characters stood; at last, where it ended. */
function unescaped(text: string): { readonly plain: string; readonly starts: readonly number[] } {
  const starts: number[] = []
  const parts: string[] = []
  let from = 0
  const copyTo = (end: number) => {
    parts.push(text.slice(from, end))
    for (let at = from; at < end; at++) starts.push(at)
  }
  for (const match of text.matchAll(ESCAPE)) {
    const [whole, percent, unicode, character = ''] = match
    copyTo(match.index)
    const hex = percent ?? unicode
    parts.push(hex === undefined ? character : String.fromCharCode(Number.parseInt(hex, 16)))
    starts.push(match.index)
    from = match.index + whole.length
  }
  copyTo(text.length)
  starts.push(text.length)
  return { plain: parts.join(''), starts }
}

function spliced(content: Uint8Array, spans: readonly Span[]): Uint8Array {
  const encoder = new TextEncoder()
  const parts: Uint8Array[] = []
  let from = 0
  for (const { start, end, keyId } of spans) {
    parts.push(content.subarray(from, start), encoder.encode(keyId))
    from = end
  }
  parts.push(content.subarray(from))
  return joinPieces(parts)
}

function splicedText(text: string, spans: readonly Span[]): string {
  let from = 0
  let joined = ''
  for (const { start, end, keyId } of spans) {
    joined += text.slice(from, start) + keyId
    from = end
  }
  return joined + text.slice(from)
}
