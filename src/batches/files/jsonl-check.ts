import { joinPieces } from '../../openrouter/pieces.ts'
import { BATCH_ENDPOINTS, type BatchEndpoint, batchEndpoint } from './batch-endpoint.ts'
import { type LineRange, MAX_RANGE_BYTES, RangeCutter } from './line-ranges.ts'

/** What is wrong with a line. */
export interface LineFault {
  /** From 1. */
  readonly line: number
  readonly message: string
}

/** What a file holds, or its faults. */
export interface CheckedLines {
  readonly requests: number
  /** Null only if there is a fault. */
  readonly endpoint: BatchEndpoint | null
  readonly ranges: readonly LineRange[]
  /** The first ones. */
  readonly faults: readonly LineFault[]
  /** How many there are in all. */
  readonly faultCount: number
}

export const MAX_REQUESTS = 50_000
const MAX_LINE_BYTES = MAX_RANGE_BYTES
const MAX_FAULTS = 20
const MAX_ID_LENGTH = 512

const LF = 0x0a
const CR = 0x0d

export type OnRequest = (line: Uint8Array, endpoint: BatchEndpoint) => void

/**
 * Checks the lines of a batch while its file comes. It holds one line, and of each id before it a hash.
 */
export class JsonlCheck {
  readonly #onRequest: OnRequest | null
  readonly #ids = new Map<number, number>()
  readonly #cutter = new RangeCutter()
  readonly #faults: LineFault[] = []
  #faultCount = 0
  #requests = 0
  #line = 1
  #endpoint: BatchEndpoint | null = null
  /** The line that has begun. Of one that is too long only its length is kept. */
  #pieces: Uint8Array[] = []
  #length = 0

  /** @param onRequest is shown each line that is in order */
  constructor(onRequest: OnRequest | null = null) {
    this.#onRequest = onRequest
  }

  push(bytes: Uint8Array): void {
    let start = 0
    for (let at = bytes.indexOf(LF); at !== -1; at = bytes.indexOf(LF, start)) {
      this.#add(bytes.subarray(start, at + 1))
      this.#endLine()
      start = at + 1
    }
    // The platform may use the memory of a piece again.
    if (start < bytes.length) this.#add(bytes.slice(start))
  }

  end(): CheckedLines {
    if (this.#length > 0) this.#endLine()
    if (this.#requests === 0 && this.#faultCount === 0) this.#fault('The file has no request.', 1)
    if (this.#requests > MAX_REQUESTS) {
      this.#fault(`The file has ${this.#requests} requests. A batch may have ${MAX_REQUESTS}.`)
    }
    return {
      requests: this.#requests,
      endpoint: this.#endpoint,
      ranges: this.#cutter.end(),
      faults: this.#faults,
      faultCount: this.#faultCount,
    }
  }

  #add(piece: Uint8Array): void {
    this.#length += piece.length
    if (this.#length > MAX_LINE_BYTES) this.#pieces = []
    else this.#pieces.push(piece)
  }

  #endLine(): void {
    const isRequest = this.#judge()
    this.#cutter.add(this.#length, isRequest)
    this.#requests += isRequest ? 1 : 0
    this.#line += 1
    this.#pieces = []
    this.#length = 0
  }

  /** @returns whether the line holds a request, right or wrong */
  #judge(): boolean {
    if (this.#length > MAX_LINE_BYTES) {
      this.#fault(`The line has more than ${MAX_LINE_BYTES} bytes.`)
      return true
    }
    const bytes = joinPieces(this.#pieces)
    const text = textOfLine(bytes, this.#line)
    if (text?.trim() === '') return false
    const fault = text === null ? 'The line is not UTF-8.' : this.#textFault(text)
    if (fault !== null) this.#fault(fault)
    else if (this.#endpoint !== null) this.#onRequest?.(bytes, this.#endpoint)
    return true
  }

  #textFault(text: string): string | null {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return 'The line is not JSON.'
    }
    if (!isObject(value)) return 'The line must be a JSON object.'
    return this.#idFault(value.custom_id) ?? this.#urlFault(value.url) ?? bodyFault(value)
  }

  #idFault(id: unknown): string | null {
    if (typeof id !== 'string' || id === '' || id.length > MAX_ID_LENGTH) {
      return `"custom_id" must be a string of 1 to ${MAX_ID_LENGTH} characters.`
    }
    const hash = hashOf(id)
    const earlier = this.#ids.get(hash)
    if (earlier !== undefined) return `"custom_id" is that of line ${earlier}. It must be unique.`
    // No file with more is taken, so no more are kept.
    if (this.#ids.size < MAX_REQUESTS) this.#ids.set(hash, this.#line)
    return null
  }

  #urlFault(url: unknown): string | null {
    const endpoint = batchEndpoint(url)
    if (endpoint === null) return `"url" must be one of ${BATCH_ENDPOINTS.join(', ')}.`
    this.#endpoint ??= endpoint
    if (endpoint === this.#endpoint) return null
    return `"url" must be the same in all lines: the first has ${this.#endpoint}.`
  }

  #fault(message: string, line = this.#line): void {
    this.#faultCount += 1
    if (this.#faults.length < MAX_FAULTS) this.#faults.push({ line, message })
  }
}

/**
 * 53 bits of an id, mixed at the end as MurmurHash3 mixes them. Of 50,000 ids two have the
 * same by chance once in seven million files; who makes them alike has only his own file refused.
 */
function hashOf(id: string): number {
  let low = 0xdeadbeef
  let high = 0x41c6ce57
  for (let i = 0; i < id.length; i += 1) {
    const unit = id.charCodeAt(i)
    low = Math.imul(low ^ unit, 2654435761)
    high = Math.imul(high ^ unit, 1597334677)
  }
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
  return 4294967296 * (2097151 & high) + (low >>> 0)
}

function bodyFault({ method, body }: Readonly<Record<string, unknown>>): string | null {
  if (method !== 'POST') return '"method" must be "POST".'
  if (!isObject(body)) return '"body" must be a JSON object.'
  if (body.stream === true) return '"body.stream" must not be true: nobody reads along.'
  return 'model' in body || 'models' in body ? null : '"body" must name a model, in "model".'
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The text of a line, without its end and without the mark that some editors put first. */
export function textOfLine(bytes: Uint8Array, line: number): string | null {
  let end = bytes.length
  if (bytes[end - 1] === LF) end -= 1
  if (bytes[end - 1] === CR) end -= 1
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: line !== 1 }).decode(
      bytes.subarray(0, end),
    )
  } catch {
    return null
  }
}
