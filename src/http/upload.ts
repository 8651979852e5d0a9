import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import { type ByteBudget, type HeldBytes, OVERLOADED_RETRY_MS } from '../gateway/byte-budget.ts'
import type { Ports } from '../gateway/ports.ts'
import { forgetFrames } from '../openrouter/error-frames.ts'

export type Upload =
  | { readonly ok: true; readonly bytes: Uint8Array; readonly held: HeldBytes }
  | { readonly ok: false; readonly error: GatewayError }

export interface UploadLimits {
  readonly maxBytes: number
  /** The longest pause between two pieces, in milliseconds. */
  readonly idleMs: number
  /** The longest time for the whole upload, in milliseconds. */
  readonly totalMs: number
}

/** The memory for a body whose length is not known, at first. It doubles when it is full. */
const FIRST_BYTES = 64 * 1024

/**
 * Each piece costs a turn, and for 1 MB these were most of the cost. So where pieces of this size come, the
 * next turn waits for many of them. What comes in smaller ones comes from a slow client, who is watched
 * piece by piece: whoever waits for more sees none come, and could take him for silent.
 */
const FAST_PIECE_BYTES = 4 * 1024
const MOST_PIECES = 16
const MOST_BYTES_A_TURN = 256 * 1024

/** The slowest client that a turn of many pieces waits for, in bytes a millisecond: half a megabit a second. */
const SLOWEST_BYTES_PER_MS = 64

/**
 * Reads a request's body once. A `content-length` says how much memory it takes, and HTTP itself holds
 * a client to that header. A body without it is counted as it comes, and written by the platform right
 * into the memory in which it stays.
 *
 * @returns the bytes and their part of the budget, which the caller must release
 */
export async function readUpload(
  request: Request,
  limits: UploadLimits,
  budget: Pick<ByteBudget, 'open'>,
  ports: Ports,
): Promise<Upload> {
  const length = contentLength(request.headers)
  if (length !== null && length > limits.maxBytes) return refused(tooLarge(limits.maxBytes))
  const held = budget.open()
  try {
    const upload = await readInto(request, { length, limits, held, ports })
    if (!upload.ok) held.release()
    return upload
  } catch (bug) {
    held.release()
    throw bug
  }
}

/** As `readUpload`. What it has taken of the budget is released by its caller if it fails. */
async function readInto(
  request: Request,
  { length, limits, held, ports }: Omit<Source, 'reader'>,
): Promise<Upload> {
  if (!held.grow(length ?? 0)) return refused(overloaded())
  if (request.body === null) return { ok: true, bytes: new Uint8Array(0), held }
  const reader = byteReader(request.body)
  const result = await fill({ reader, length, limits, held, ports })
  if (result instanceof Uint8Array) {
    // A body of unknown length was read into more memory than it needs, which is free now.
    held.release()
    held.grow(result.length)
    return { ok: true, bytes: result, held }
  }
  reader.cancel().catch(() => undefined)
  return refused(result)
}

function contentLength(headers: Headers): number | null {
  const text = headers.get('content-length') ?? ''
  return /^\d+$/.test(text) ? Number(text) : null
}

/** A stream made by JavaScript has no such reader, so the platform's own goes between. */
export function byteReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader {
  try {
    return body.getReader({ mode: 'byob' })
  } catch {
    return body.pipeThrough(new IdentityTransformStream()).getReader({ mode: 'byob' })
  }
}

interface Source {
  readonly reader: ReadableStreamBYOBReader
  /** Null if the request does not tell it. */
  readonly length: number | null
  readonly limits: UploadLimits
  readonly held: HeldBytes
  readonly ports: Ports
}

/** Memory with the bytes that have come so far. */
interface Filled {
  readonly memory: Uint8Array<ArrayBuffer>
  readonly bytes: number
  /** How many of them came in the last turn. */
  readonly latestBytes: number
  readonly done: boolean
}

/** Reads the whole body into one piece of memory. */
async function fill(source: Source): Promise<Uint8Array | GatewayError> {
  const { length, limits, ports } = source
  const deadlineMs = ports.nowMs() + limits.totalMs
  const empty = new Uint8Array(length ?? 0)
  let filled: Filled = { memory: empty, bytes: 0, latestBytes: 0, done: false }
  while (filled.bytes !== length && !filled.done) {
    const further = await fillFurther(source, filled, deadlineMs)
    if ('reason' in further) return further
    filled = further
  }
  const { memory, bytes } = filled
  if (length === null) return memory.slice(0, bytes)
  return bytes === length ? memory : incomplete()
}

async function fillFurther(
  source: Source,
  { memory, bytes, latestBytes }: Filled,
  deadlineMs: number,
): Promise<Filled | GatewayError> {
  const { limits, held, ports } = source
  const { maxBytes, idleMs } = limits
  const room = bytes < memory.length ? memory : enlarged(memory, maxBytes + 1, held)
  if (room === null) return overloaded()
  const least = leastBytes(source, bytes, latestBytes)
  const waitMs = Math.min(idleMs + least / SLOWEST_BYTES_PER_MS, deadlineMs - ports.nowMs())
  const read = await inTime(readAtLeast(source, least, room.subarray(bytes)), waitMs, ports)
  if ('reason' in read) return read
  const { done, value } = read
  if (value === undefined) return incomplete()
  const filled = bytes + value.length
  if (filled > maxBytes) return tooLarge(maxBytes)
  // The platform has moved the memory into the result.
  return { memory: new Uint8Array(value.buffer), bytes: filled, latestBytes: value.length, done }
}

/** How many bytes the next turn waits for. */
function leastBytes({ length }: Source, bytes: number, latestBytes: number): number {
  if (length === null || latestBytes < FAST_PIECE_BYTES) return 1
  return Math.min(latestBytes * MOST_PIECES, MOST_BYTES_A_TURN, length - bytes)
}

function readAtLeast({ reader }: Source, least: number, view: Uint8Array<ArrayBuffer>) {
  return least === 1 ? reader.read(view) : reader.readAtLeast(least, view)
}

/** The same bytes in twice the memory; null if the budget has no room for that. */
function enlarged(
  memory: Uint8Array,
  maxBytes: number,
  held: HeldBytes,
): Uint8Array<ArrayBuffer> | null {
  const length = Math.min(Math.max(FIRST_BYTES, memory.length * 2), maxBytes)
  if (!held.grow(length - memory.length)) return null
  const larger = new Uint8Array(length)
  larger.set(memory)
  return larger
}

/** The result of a read, or the error of a request whose bytes do not come. */
function inTime<T extends object>(
  read: Promise<T>,
  waitMs: number,
  ports: Ports,
): Promise<T | GatewayError> {
  return new Promise((resolve) => {
    const cancel = ports.timer(Math.max(0, waitMs), () => resolve(late()))
    const end = (result: T | GatewayError) => {
      cancel()
      resolve(result)
    }
    read.then(end, (error) => {
      forgetFrames(error)
      end(incomplete())
    })
  })
}

const refused = (error: GatewayError) => ({ ok: false, error }) as const

function tooLarge(maxBytes: number): GatewayError {
  const message = `The request body is too large. This gateway allows ${maxBytes} bytes.`
  return gatewayError('body_too_large', message, { metadata: { max_body_bytes: maxBytes } })
}

/** The error of a request that the isolate's memory has no room for. */
export function overloaded(): GatewayError {
  const message = 'This gateway has no room for the request now. Try again.'
  return gatewayError('overloaded', message, { retryAfterMs: OVERLOADED_RETRY_MS })
}

function late(): GatewayError {
  const message = 'The request body did not arrive in time. Send the request again.'
  return gatewayError('request_timeout', message)
}

function incomplete(): GatewayError {
  const message = 'The request body ended before it was complete. Send the request again.'
  return gatewayError('invalid_request', message)
}
