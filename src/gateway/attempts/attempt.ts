import type { Usage } from '../../balancing/settlement.ts'
import {
  failureOf,
  readError,
  type UpstreamFailure,
} from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import type { ClientReply, HeldBlock, StreamHead } from '../answers/client-reply.ts'
import type { HeldBytes } from '../byte-budget.ts'
import { concat, parseJson, readWhole } from './body.ts'
import { readErrorBody } from './error-body.ts'
import { createStreamWatch, type StreamWatch } from './stream-watch.ts'
import type { Opened, Read, StopCause, UpstreamCall } from './upstream-call.ts'
import { createUsageTail, type UsageTail } from './usage-tail.ts'

/** Upstream's answer as it came. It is passed on if it becomes the final answer. */
export interface Replay extends StreamHead {
  readonly body: Uint8Array
}

/** The result of an attempt, once it is certain what the client may see of it. */
export type Attempt =
  | { readonly kind: 'whole'; readonly answer: Replay; readonly usage: Usage | null }
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
  /** `usage` is known only if no call was made. */
  | { readonly kind: 'client_gone'; readonly usage: Usage | null }

/** A stream that is committed: it belongs to the client, and nothing is retried any more. */
export interface CommittedStream {
  readonly head: StreamHead
  readonly watch: StreamWatch
  /** What was held back and has not gone out: chunks as they came, or blocks after a keep-alive. */
  readonly held: Uint8Array[]
}

export interface AttemptLimits {
  readonly headersMs: number
  readonly firstOutputMs: number
  readonly idleMs: number
  /** Counts what the gateway holds of the answer. Without room it holds nothing further. */
  readonly held: HeldBytes
}

/** A longer answer is passed on unparsed. All requests of an isolate share 128 MB of memory. */
const MAX_WHOLE_BODY_BYTES = 32 * 1024 * 1024

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
  shape: ApiShape,
  reply: ClientReply,
  limits: AttemptLimits,
): Promise<Attempt> {
  call.arm('headers', limits.headersMs)
  const opened = await call.open()
  if (opened.kind !== 'response') return ended(opened)
  const { response } = opened
  const head = { status: response.status, headers: response.headers }
  if (!response.ok) return await readFailure(call, head)
  if (shape.answers === 'bytes' && !isText(response.headers)) {
    return await awaitBytes(call, head, shape)
  }
  if (!isEventStream(response.headers)) return await readAnswer(call, head, shape, limits)
  call.arm('first_output', limits.firstOutputMs)
  return await awaitOutput(call, head, { shape, reply, held: limits.held })
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
async function awaitBytes(call: UpstreamCall, head: StreamHead, shape: ApiShape): Promise<Attempt> {
  call.disarm()
  const read = await call.read()
  if (read.kind === 'chunk') return { kind: 'bytes', head, first: [read.bytes], tail: null }
  if (read.kind === 'end' && shape.mayBeEmpty) {
    return { kind: 'whole', answer: { ...head, body: new Uint8Array(0) }, usage: null }
  }
  return ended(read)
}

function ended(end: Exclude<Opened | Read, { kind: 'response' | 'chunk' }>): Attempt {
  switch (end.kind) {
    case 'network':
      return failed({ kind: 'network' })
    case 'end':
    case 'broken':
      return failed({ kind: 'truncated' })
    case 'stopped':
      return stopped(end.cause)
  }
}

function stopped(cause: StopCause): Attempt {
  return cause === 'client_gone'
    ? { kind: 'client_gone', usage: null }
    : failed({ kind: 'timeout', clock: cause })
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
async function readFailure(call: UpstreamCall, head: StreamHead): Promise<Attempt> {
  const body = await readErrorBody(call)
  if (body.kind === 'stopped') return stopped(body.cause)
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
  shape: ApiShape,
  { idleMs, held }: AttemptLimits,
): Promise<Attempt> {
  // Until the first byte only `total_ms` runs: OpenRouter sends such an answer when it is complete.
  call.disarm()
  const body = await readWhole(call, MAX_WHOLE_BODY_BYTES, held, idleMs)
  if (body.kind === 'too_long') {
    // No error is so long, so it is an answer. Where there is no room it is passed on unjudged.
    const tail = createUsageTail()
    for (const chunk of body.chunks) tail.push(chunk)
    return { kind: 'bytes', head, first: body.chunks, tail }
  }
  if (body.kind !== 'body') return ended(body)
  const answer = { ...head, body: body.bytes }
  if (body.bytes.length === 0 && shape.mayBeEmpty) return { kind: 'whole', answer, usage: null }
  const reading = shape.readWhole(parseJson(body.bytes))
  if (reading.error !== null) {
    return failed(failureOf(reading.error, head.headers), answer, reading.usage)
  }
  if (!reading.answer) {
    return failed({ kind: 'response', ...head, error: null }, answer, reading.usage)
  }
  return { kind: 'whole', answer, usage: reading.usage }
}

interface StreamSides {
  readonly shape: ApiShape
  readonly reply: ClientReply
  readonly held: HeldBytes
}

/** Holds a stream back until its first real output, passing comments on as keep-alives. */
async function awaitOutput(
  call: UpstreamCall,
  head: StreamHead,
  { shape, reply, held }: StreamSides,
): Promise<Attempt> {
  const watch = createStreamWatch(shape)
  const chunks: Uint8Array[] = []
  const blocks: HeldBlock[] = []
  for (let heldBytes = 0; ; ) {
    const read = await call.read()
    if (read.kind !== 'chunk') return ended(read)
    chunks.push(read.bytes)
    heldBytes += read.bytes.length
    const decided = look(read.bytes, watch, blocks, (block) => reply.keepAlive(block, head))
    const isFull = !held.grow(read.bytes.length) || heldBytes > MAX_HELD_BYTES
    const verdict = decided === 'undecided' && isFull ? 'commit' : decided
    // A decided stream goes out whole or not at all. None of its comments may go out separately.
    if (verdict !== 'undecided') reply.dropKeepAlives()
    switch (verdict) {
      case 'undecided':
        break
      case 'commit':
        // The held chunks are written next, at the client's pace. No clock for upstream may run.
        call.disarm()
        return { kind: 'stream', stream: { head, watch, held: unsent({ watch, chunks, blocks }) } }
      case 'empty':
        return failed({ kind: 'truncated' }, null, watch.summary().usage)
      case 'error':
        return await readErrorTail(call, head, { watch, chunks, blocks })
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
function look(
  chunk: Uint8Array,
  watch: StreamWatch,
  blocks: HeldBlock[],
  onComment: (block: HeldBlock) => void,
): Verdict {
  let verdict: Verdict = 'undecided'
  for (const { block, reading } of watch.look(chunk)) {
    const held = { bytes: block.bytes, sent: false }
    blocks.push(held)
    if (verdict !== 'undecided') continue
    if (block.kind === 'comment') onComment(held)
    // A block that is too large to parse counts as output.
    else if (block.kind === 'oversized') verdict = 'commit'
    else if (reading?.error) verdict = 'error'
    else if (reading?.output || reading?.finished) verdict = 'commit'
    else if (reading?.done) verdict = 'empty'
  }
  return verdict
}

/** What the client has not received: the chunks as they came, or all blocks but the keep-alives. */
function unsent({ watch, chunks, blocks }: HeldStream): Uint8Array[] {
  if (blocks.every((block) => !block.sent)) return [...chunks]
  const unsentBlocks = blocks.filter((block) => !block.sent).map((block) => block.bytes)
  return [...unsentBlocks, watch.tail()].filter((bytes) => bytes.length > 0)
}

/** Reads the rest of a stream that failed before its first output, so it can be passed on whole. */
async function readErrorTail(
  call: UpstreamCall,
  head: StreamHead,
  { watch, chunks, blocks }: HeldStream,
): Promise<Attempt> {
  call.arm('idle', MAX_ERROR_TAIL_MS)
  for (let read = await call.read(); read.kind === 'chunk'; read = await call.read()) {
    chunks.push(read.bytes)
    blocks.push(...watch.look(read.bytes).map(({ block: { bytes } }) => ({ bytes, sent: false })))
  }
  const { error, usage } = watch.summary()
  if (error === null) return failed({ kind: 'truncated' })
  return failed(
    failureOf(error, head.headers),
    { ...head, body: concat(unsent({ watch, chunks, blocks })) },
    usage,
  )
}
