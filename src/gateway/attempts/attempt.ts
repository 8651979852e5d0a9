import type { Usage } from '../../balancing/settlement.ts'
import { createEndMarkFilter } from '../../openrouter/end-mark.ts'
import {
  failureOf,
  readError,
  type UpstreamFailure,
} from '../../openrouter/failures/upstream-failure.ts'
import { joinPieces } from '../../openrouter/pieces.ts'
import type { ApiShape, EventReading } from '../../openrouter/shapes/api-shape.ts'
import type { SseBlock } from '../../openrouter/sse.ts'
import type { ClientReply, HeldBlock, StreamHead } from '../answers/client-reply.ts'
import type { HeldBytes } from '../byte-budget.ts'
import { parseJson, readWhole } from './body.ts'
import { readErrorBody } from './error-body.ts'
import { FREE, usageOf, usageOfGood, usageOfPrompt } from './estimated-usage.ts'
import { createStreamWatch, type StreamWatch } from './stream-watch.ts'
import type { Opened, Read, StopCause, UpstreamCall } from './upstream-call.ts'
import { createUsageTail, type UsageTail } from './usage-tail.ts'

/** Upstream's answer as it came. It is passed on if it becomes the final answer. */
export interface Replay extends StreamHead {
  readonly body: Uint8Array
}

/** The result of an attempt, once it is certain what the client may see of it. */
export type Attempt =
  | { readonly kind: 'whole'; readonly answer: Replay; readonly usage: Usage }
  | { readonly kind: 'stream'; readonly stream: CommittedStream }
  /** A body that the gateway does not parse, such as audio. Its first bytes have come. */
  | {
      readonly kind: 'bytes'
      readonly head: StreamHead
      readonly first: Uint8Array[]
      /** Watches the rest, if the answer may end with its usage. */
      readonly tail: UsageTail | null
    }
  | {
      readonly kind: 'failed'
      readonly failure: UpstreamFailure
      readonly replay: Replay | null
      /** A failed answer may have cost something too. */
      readonly usage: Usage | null
    }
  /** `usage` is what may have to be paid for; an error costs nothing. */
  | { readonly kind: 'client_gone'; readonly usage: Usage | null }

/** A stream that is committed: it belongs to the client, and nothing is retried any more. */
export interface CommittedStream {
  readonly head: StreamHead
  readonly watch: StreamWatch
  /** Reads on. Never throws. */
  readonly read: () => Promise<Read>
  /** What was held back and has not gone out: chunks as they came, or blocks after a keep-alive. */
  readonly held: Uint8Array[]
}

/** What the request asked for. */
export interface ExpectedAnswer {
  readonly shape: ApiShape
  /** How many parts the answer is to have, as `ApiShape.partsOf` tells. */
  readonly parts: number
  /** The estimated tokens of the prompt. They are paid for even if nothing of the answer comes. */
  readonly promptTokens: number
}

export interface AttemptLimits {
  readonly headersMs: number
  readonly firstOutputMs: number
  readonly idleMs: number
  /** Counts what the gateway holds of the answer. Without room it holds nothing further. */
  readonly held: HeldBytes
}

/**
 * A longer answer is passed on as it comes: to join and parse it would take four times its size, and
 * all requests of an isolate share 128 MB of memory.
 */
const MAX_WHOLE_BODY_BYTES = 4 * 1024 * 1024

/** A stream with more bytes than this before its first output is committed, to bound memory. */
const MAX_HELD_BYTES = 1024 * 1024

/** How long the gateway waits for the rest of a stream after an error event. */
const MAX_ERROR_TAIL_MS = 250

/**
 * Makes one upstream call and reads its answer until the answer is proven good or has failed. If
 * it has failed, the client has seen nothing of it except keep-alives.
 */
export async function attempt(
  call: UpstreamCall,
  expected: ExpectedAnswer,
  reply: ClientReply,
  limits: AttemptLimits,
): Promise<Attempt> {
  const { shape, parts, promptTokens } = expected
  const opened = await call.open(limits.headersMs)
  if (opened.kind !== 'response') return ended(opened, usageOfCut(expected))
  const { response } = opened
  const head = { status: response.status, headers: response.headers }
  if (!response.ok) return await readFailure(call, head, limits)
  if (shape.answers === 'bytes' && !isText(response.headers)) {
    return await awaitBytes(call, head, expected)
  }
  if (!isEventStream(response.headers)) return await readAnswer(call, head, expected, limits)
  call.arm('first_output', limits.firstOutputMs)
  const read = shape.endMark === 'left_out' ? withoutEndMark(call) : () => call.read()
  const watch = createStreamWatch(shape, parts)
  const { held } = limits
  const kept = { held, chunks: [], blocks: [] }
  return await awaitOutput({ call, head, reply, read, watch, promptTokens, ...kept })
}

/** Whether a body is a stream of server-sent events. */
export function isEventStream(headers: Headers): boolean {
  return /^text\/event-stream\b/i.test(headers.get('content-type') ?? '')
}

/** Whether the gateway can read a body: JSON, or a stream of events. */
function isText(headers: Headers): boolean {
  const type = headers.get('content-type') ?? ''
  return isEventStream(headers) || /^application\/(?:[\w.-]+\+)?json\b/i.test(type)
}

/** The gateway cannot judge such an answer. It counts as good as soon as its first bytes come. */
async function awaitBytes(
  call: UpstreamCall,
  head: StreamHead,
  expected: ExpectedAnswer,
): Promise<Attempt> {
  call.disarm()
  const read = await call.read()
  if (read.kind === 'chunk') return { kind: 'bytes', head, first: [read.bytes], tail: null }
  if (read.kind === 'end' && expected.shape.mayBeEmpty) {
    const usage = usageOfGood(null, expected.promptTokens, undefined)
    return { kind: 'whole', answer: { ...head, body: new Uint8Array(0) }, usage }
  }
  return ended(read, usageOfCut(expected))
}

/** What may have to be paid for if an answer ends before the gateway has read any of it. */
function usageOfCut({ shape, promptTokens }: ExpectedAnswer): Usage | null {
  return shape.isFree ? null : usageOfPrompt(promptTokens)
}

/**
 * A call that the client, a clock or the network has ended.
 * @param usage what may have to be paid for, if upstream has got the request
 */
function ended(
  end: Exclude<Opened | Read, { kind: 'response' | 'chunk' }>,
  usage: Usage | null,
): Attempt {
  switch (end.kind) {
    case 'network':
      return failed({ kind: 'network' })
    case 'end':
    case 'broken':
      return failed({ kind: 'truncated' }, null, usage)
    case 'stopped':
      return stopped(end.cause, usage)
  }
}

function stopped(cause: StopCause, usage: Usage | null): Attempt {
  return cause === 'client_gone'
    ? { kind: 'client_gone', usage }
    : failed({ kind: 'timeout', clock: cause }, null, usage)
}

function failed(
  failure: UpstreamFailure,
  replay: Replay | null = null,
  usage: Usage | null = null,
): Attempt {
  return { kind: 'failed', failure, replay, usage }
}

/**
 * Reads an answer whose status is an error. The status stays what it is, however the body ends: a 401
 * whose body hangs is still a 401.
 */
async function readFailure(
  call: UpstreamCall,
  head: StreamHead,
  { held }: AttemptLimits,
): Promise<Attempt> {
  const body = await readErrorBody(call, held)
  if (body.kind === 'stopped') return stopped(body.cause, FREE)
  const error = readError(parseJson(body.bytes), head.status)
  return failed({ kind: 'response', ...head, error }, { ...head, body: body.bytes })
}

/**
 * Reads an answer that is not streamed, and judges it whole. OpenRouter sends the 200 before the
 * model has produced anything, so only the body shows whether the request succeeded.
 */
async function readAnswer(
  call: UpstreamCall,
  head: StreamHead,
  expected: ExpectedAnswer,
  { idleMs, held }: AttemptLimits,
): Promise<Attempt> {
  const { shape } = expected
  const body = await readAnswerBody(call, head, { idleMs, held })
  if (body.kind === 'too_long') {
    // No error is so long, so it is an answer. Where there is no room it is passed on unjudged.
    const tail = createUsageTail()
    for (const chunk of body.chunks) tail.push(chunk)
    return { kind: 'bytes', head, first: body.chunks, tail }
  }
  if (body.kind !== 'body') return ended(body, usageOfCut(expected))
  const answer = { ...head, body: body.bytes }
  if (body.bytes.length === 0 && shape.mayBeEmpty) {
    return { kind: 'whole', answer, usage: usageOfGood(null, expected.promptTokens, undefined) }
  }
  const parsed = parseJson(body.bytes)
  const reading = shape.readWhole(parsed)
  if (reading.error !== null) {
    return failed(failureOf(reading.error, head.headers), answer, reading.usage)
  }
  if (!reading.answer) {
    // A page of the edge costs nothing. What has an id was made, and is charged, whatever came of it.
    const usage = reading.usage ?? (call.generationId() === null ? null : usageOfCut(expected))
    return failed({ kind: 'response', ...head, error: null }, answer, usage)
  }
  const usage = usageOfGood(reading.usage, expected.promptTokens, parsed, shape.isFree)
  return { kind: 'whole', answer, usage }
}

/** The slowest upstream that is waited for, in bytes a millisecond: half a megabit a second. */
const SLOWEST_BYTES_PER_MS = 64

/**
 * Reads the body of an answer that is not streamed. One of a known length is there, so it is read at
 * once; for a small answer the turns for its pieces would cost more than all that is done with it.
 */
async function readAnswerBody(
  call: UpstreamCall,
  { headers }: StreamHead,
  { idleMs, held }: Pick<AttemptLimits, 'idleMs' | 'held'>,
): ReturnType<typeof readWhole> {
  const length = /^\d{1,9}$/.test(headers.get('content-length') ?? '')
    ? Number(headers.get('content-length'))
    : null
  const isPlain = headers.get('content-encoding') === null
  if (!isPlain || length === null || length > MAX_WHOLE_BODY_BYTES || !held.grow(length)) {
    // Until the first byte only `total_ms` runs: OpenRouter sends such an answer when it is complete.
    call.disarm()
    return await readWhole(call, MAX_WHOLE_BODY_BYTES, held, idleMs)
  }
  call.arm('idle', idleMs + length / SLOWEST_BYTES_PER_MS)
  const read = await call.readAll()
  call.disarm()
  if (read.kind === 'end') return { kind: 'body', bytes: new Uint8Array(0) }
  return read.kind === 'chunk' ? { kind: 'body', bytes: read.bytes } : read
}

/** A stream that is not committed yet. */
interface OpenStream extends HeldStream {
  readonly call: UpstreamCall
  readonly head: StreamHead
  readonly reply: ClientReply
  readonly read: () => Promise<Read>
  readonly held: HeldBytes
  readonly promptTokens: number
}

/** Holds a stream back until its first real output. Its other words become keep-alives. */
async function awaitOutput(stream: OpenStream): Promise<Attempt> {
  const { call, head, reply, read: readNext, watch } = stream
  for (let heldBytes = 0; ; ) {
    const read = await readNext()
    if (read.kind === 'chunk') heldBytes += read.bytes.length
    const verdict =
      read.kind === 'chunk' ? hold(read.bytes, stream, heldBytes) : verdictAtEnd(read, watch)
    if (verdict === 'undecided' && read.kind !== 'chunk') {
      return ended(read, usageOf(watch.summary(), stream.promptTokens))
    }
    // A decided stream goes out whole or not at all. None of its comments may go out separately.
    if (verdict !== 'undecided') reply.dropKeepAlives()
    switch (verdict) {
      case 'undecided':
        break
      case 'commit':
        // The held chunks are written next, at the client's pace. No clock for upstream may run.
        call.disarm()
        return {
          kind: 'stream',
          stream: { head, watch, read: readNext, held: unsent(stream) },
        }
      case 'empty':
        return failed({ kind: 'truncated' }, null, usageOf(watch.summary(), stream.promptTokens))
      case 'error':
        return await readErrorTail(stream)
    }
  }
}

/** Keeps a chunk. A stream for which there is no room is committed. */
function hold(chunk: Uint8Array, stream: OpenStream, heldBytes: number): Verdict {
  stream.chunks.push(chunk)
  const isFull = !stream.held.grow(chunk.length) || heldBytes > MAX_HELD_BYTES
  const decided = look(chunk, stream)
  return decided === 'undecided' && isFull ? 'commit' : decided
}

/** Reads a stream without the end mark that its API does not have. */
function withoutEndMark(call: UpstreamCall): () => Promise<Read> {
  const filter = createEndMarkFilter()
  const passed: Uint8Array[] = []
  let last: Read | null = null
  return async () => {
    for (;;) {
      const bytes = passed.shift()
      if (bytes !== undefined) return { kind: 'chunk', bytes }
      if (last !== null) return last
      const read = await call.read()
      if (read.kind === 'chunk') passed.push(...filter.push(read.bytes))
      else {
        last = read
        passed.push(...filter.end())
      }
    }
  }
}

/** What is held back of a stream: the chunks, and the same bytes as blocks. */
interface HeldStream {
  readonly watch: StreamWatch
  readonly chunks: Uint8Array[]
  readonly blocks: HeldBlock[]
}

type Verdict = 'undecided' | 'commit' | 'empty' | 'error'

/** The first block with a verdict decides the attempt. Later blocks of a chunk are only stored. */
function look(chunk: Uint8Array, { watch, blocks, reply, head }: OpenStream): Verdict {
  let verdict: Verdict = 'undecided'
  const comments: HeldBlock[] = []
  const looked = watch.look(chunk)
  for (const { block, reading } of looked) {
    const held = { bytes: block.bytes, sent: false }
    blocks.push(held)
    if (block.kind === 'comment') comments.push(held)
    if (verdict === 'undecided') verdict = verdictOn(block.kind, reading)
  }
  if (verdict !== 'undecided' || looked.length === 0) return verdict
  for (const comment of comments) reply.keepAlive(comment, head)
  // Upstream is alive, but what it says is held back: pings, roles, the lifecycle of a response.
  if (comments.length === 0) reply.keepAlive(null, head)
  return verdict
}

function verdictOn(kind: SseBlock['kind'], reading: EventReading | null): Verdict {
  // A block that is too large to parse counts as output.
  if (kind === 'oversized') return 'commit'
  if (reading === null) return 'undecided'
  if (reading.error !== null) return 'error'
  if (reading.output || reading.finished) return 'commit'
  return reading.done ? 'empty' : 'undecided'
}

/**
 * The stream ended before it was decided. Its last event may lack its blank line. An answer that
 * began with this event and is not complete has broken off, and no client has seen any of it.
 */
function verdictAtEnd(last: Exclude<Read, { kind: 'chunk' }>, watch: StreamWatch): Verdict {
  if (last.kind === 'stopped') return 'undecided'
  const verdict = verdictOn('event', watch.end())
  return verdict === 'commit' && !watch.summary().finished ? 'undecided' : verdict
}

/** What the client has not received: the chunks as they came, or all blocks but the keep-alives. */
function unsent({ watch, chunks, blocks }: HeldStream): Uint8Array[] {
  if (blocks.every((block) => !block.sent)) return [...chunks]
  const unsentBlocks = blocks.filter((block) => !block.sent).map((block) => block.bytes)
  return [...unsentBlocks, watch.tail()].filter((bytes) => bytes.length > 0)
}

/** Reads the rest of a stream that failed before its first output, so it can be passed on whole. */
async function readErrorTail(stream: OpenStream): Promise<Attempt> {
  const { call, head, read: readNext, watch, chunks, blocks } = stream
  call.arm('idle', MAX_ERROR_TAIL_MS)
  for (let read = await readNext(); read.kind === 'chunk'; read = await readNext()) {
    chunks.push(read.bytes)
    blocks.push(...watch.look(read.bytes).map(({ block: { bytes } }) => ({ bytes, sent: false })))
  }
  watch.end()
  const { error, usage } = watch.summary()
  if (error === null) return failed({ kind: 'truncated' })
  return failed(
    failureOf(error, head.headers),
    { ...head, body: joinPieces(unsent(stream)) },
    usage,
  )
}
