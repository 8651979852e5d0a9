import type { Usage } from '../../balancing/settlement.ts'
import {
  failureOf,
  readError,
  type UpstreamFailure,
} from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import type { ClientReply, HeldBlock, StreamHead } from '../answers/client-reply.ts'
import { concat, parseJson, readWhole } from './body.ts'
import { createStreamWatch, type StreamWatch } from './stream-watch.ts'
import type { Opened, Read, StopCause, UpstreamCall } from './upstream-call.ts'

/** An upstream's answer as it came, to be passed on should it become the final answer. */
export interface Replay extends StreamHead {
  readonly body: Uint8Array
}

/** How an attempt stands once it is certain what the client may see of it. */
export type Attempt =
  | { readonly kind: 'whole'; readonly answer: Replay; readonly usage: Usage | null }
  | { readonly kind: 'stream'; readonly stream: CommittedStream }
  /** Something that nobody here reads, such as sound; it has begun to come. */
  | { readonly kind: 'bytes'; readonly head: StreamHead; readonly first: Uint8Array }
  | {
      readonly kind: 'failed'
      readonly failure: UpstreamFailure
      readonly replay: Replay | null
      /** A failed answer may have cost something all the same. */
      readonly usage: Usage | null
    }
  /** `usage` is known only where no call was made. */
  | { readonly kind: 'client_gone'; readonly usage: Usage | null }

/** A stream that has shown its first real output: it is the client's from here on. */
export interface CommittedStream {
  readonly head: StreamHead
  readonly watch: StreamWatch
  /** What was held back and has not gone out yet, in the chunks in which it came. */
  readonly held: readonly Uint8Array[]
}

export interface AttemptLimits {
  readonly headersMs: number
  readonly firstOutputMs: number
  readonly idleMs: number
}

/** An error body is a few kilobytes; this bounds one that is not. */
const MAX_ERROR_BODY_BYTES = 4 * 1024 * 1024

/** Workers have 128 MB for all requests of an isolate together. */
const MAX_WHOLE_BODY_BYTES = 32 * 1024 * 1024

/** A stream that goes on for this long without any output is passed on, for want of room. */
const MAX_HELD_BYTES = 1024 * 1024

/** After an error event a stream has little left to say; more is not waited for. */
const MAX_ERROR_TAIL_MS = 250

/**
 * Makes one upstream call and looks at its answer until it is either proven good,
 * or failed while nobody has seen any of it.
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
  if (!response.ok) return await readFailure(call, head, limits)
  if (shape.answers === 'bytes' && !isText(response.headers)) {
    return await awaitBytes(call, head, shape)
  }
  if (!isEventStream(response.headers)) return await readAnswer(call, head, shape, limits)
  call.arm('first_output', limits.firstOutputMs)
  return await awaitOutput(call, head, shape, reply)
}

/** Whether a body is a stream of server-sent events. */
export function isEventStream(headers: Headers): boolean {
  return /^text\/event-stream\b/i.test(headers.get('content-type') ?? '')
}

/** Whether a body is one that can be looked into: JSON, or a stream of events. */
function isText(headers: Headers): boolean {
  const type = headers.get('content-type') ?? ''
  return isEventStream(headers) || /^application\/(?:[\w.-]+\+)?json\b/i.test(type)
}

/** An answer that cannot be judged by what it holds is good as soon as it begins to come. */
async function awaitBytes(call: UpstreamCall, head: StreamHead, shape: ApiShape): Promise<Attempt> {
  call.disarm()
  const read = await call.read()
  if (read.kind === 'chunk') return { kind: 'bytes', head, first: read.bytes }
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

/** Reads what came with a status of failure. */
async function readFailure(
  call: UpstreamCall,
  head: StreamHead,
  limits: AttemptLimits,
): Promise<Attempt> {
  call.arm('idle', limits.idleMs)
  const body = await readWhole(call, MAX_ERROR_BODY_BYTES)
  if (body.kind === 'too_long') return failed({ kind: 'truncated' })
  if (body.kind !== 'body') return ended(body)
  const error = readError(parseJson(body.bytes), head.status)
  return failed({ kind: 'response', ...head, error }, { ...head, body: body.bytes })
}

/**
 * Reads an answer that is not streamed. It is judged whole: OpenRouter sends the
 * 200 before the model has said a word, so only the body knows how it went.
 */
async function readAnswer(
  call: UpstreamCall,
  head: StreamHead,
  shape: ApiShape,
  limits: AttemptLimits,
): Promise<Attempt> {
  // Until the first byte only `total_ms` runs: an answer that is not streamed takes its time.
  call.disarm()
  const body = await readWhole(call, MAX_WHOLE_BODY_BYTES, limits.idleMs)
  // No error is so long: it is an answer, and what it says of usage is not worth the memory.
  if (body.kind === 'too_long') return { kind: 'bytes', head, first: body.bytes }
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

/** Holds a stream back until its first real output, passing comments on as keep-alives. */
async function awaitOutput(
  call: UpstreamCall,
  head: StreamHead,
  shape: ApiShape,
  reply: ClientReply,
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
    const verdict = decided === 'undecided' && heldBytes > MAX_HELD_BYTES ? 'commit' : decided
    // What is decided goes out whole, or not at all: no comment of it may go out beside it.
    if (verdict !== 'undecided') reply.dropKeepAlives()
    switch (verdict) {
      case 'undecided':
        break
      case 'commit':
        // What was held is written next, at the client's pace, which no clock of upstream's times.
        call.disarm()
        return { kind: 'stream', stream: { head, watch, held: unsent({ watch, chunks, blocks }) } }
      case 'empty':
        return failed({ kind: 'truncated' }, null, watch.summary().usage)
      case 'error':
        return await readErrorTail(call, head, { watch, chunks, blocks })
    }
  }
}

/** A stream as it was held back so far: as chunks, and the same bytes as blocks. */
interface HeldStream {
  readonly watch: StreamWatch
  readonly chunks: Uint8Array[]
  readonly blocks: HeldBlock[]
}

type Verdict = 'undecided' | 'commit' | 'empty' | 'error'

/** The first block that decides anything decides; the others of the chunk are only noted. */
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
    // What is too large to be looked into is certainly something.
    else if (block.kind === 'oversized') verdict = 'commit'
    else if (reading?.error) verdict = 'error'
    else if (reading?.output || reading?.finished) verdict = 'commit'
    else if (reading?.done) verdict = 'empty'
  }
  return verdict
}

/** What the client has not got yet: everything as it came, or all but the keep-alives. */
function unsent({ watch, chunks, blocks }: HeldStream): Uint8Array[] {
  if (blocks.every((block) => !block.sent)) return [...chunks]
  const unsentBlocks = blocks.filter((block) => !block.sent).map((block) => block.bytes)
  return [...unsentBlocks, watch.tail()].filter((bytes) => bytes.length > 0)
}

/** Takes in the rest of a stream that began with an error, so that it can be passed on whole. */
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
