import { failureOf, type UpstreamFailure } from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import type { ClientReply, StreamHead } from '../answers/client-reply.ts'
import { type GatewayError, gatewayError, noticeOf } from '../answers/gateway-error.ts'
import type { HeldBytes } from '../byte-budget.ts'
import type { CommittedStream } from './attempt.ts'
import type { StreamSummary } from './stream-watch.ts'
import type { StopCause, UpstreamCall } from './upstream-call.ts'
import type { UsageTail } from './usage-tail.ts'

/** How a committed stream ended. */
export type StreamEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'client_gone' }
  /** The request has used up `total_ms`. This is no fault of the key or of upstream. */
  | { readonly kind: 'out_of_time' }
  | { readonly kind: 'failed'; readonly failure: UpstreamFailure }

/** The two sides of a relay, and its idle clock. */
export interface RelayEnds {
  readonly call: UpstreamCall
  readonly reply: ClientReply
  /** The longest pause between two chunks from upstream, in milliseconds. */
  readonly idleMs: number
  /** Counts what was held back of the answer, until it has gone out. */
  readonly held: HeldBytes
}

/** How long a complete answer is read on for its usage when the client has left, in milliseconds. */
const USAGE_AFTER_LEAVING_MS = 2_000

/**
 * Passes a committed stream through, chunk by chunk, and returns how it ended. Nothing can be
 * retried any more. A failure becomes one error event, unless upstream has sent one itself. The
 * caller must end the client's stream.
 *
 * The idle clock runs only while the gateway waits for upstream. It does not run while the gateway
 * waits for a slow client.
 *
 * A client that leaves ends the upstream call at once, unless the answer is complete and only its
 * usage is missing: else it would be free.
 */
export async function relay(
  { call, reply, idleMs, held }: RelayEnds,
  { head, watch, held: chunks, read: readNext }: CommittedStream,
  shape: ApiShape,
): Promise<StreamEnd> {
  call.onLeaving(() => (watch.awaitsUsage() ? USAGE_AFTER_LEAVING_MS : 0))
  reply.begin(head)
  await passHeld(call, reply, chunks)
  held.release()
  for (;;) {
    call.arm('idle', idleMs)
    const read = await readNext()
    call.disarm()
    if (read.kind !== 'chunk') {
      watch.end()
      const end = endOf(read, watch.summary(), head.headers)
      if (end.kind === 'failed' || end.kind === 'out_of_time') explain(end, watch, shape, reply)
      return end
    }
    watch.glance(read.bytes)
    if (!reply.hasRoom()) await awaitRoom(call, reply)
    reply.write(read.bytes)
  }
}

/** Takes the chunks out of the list one by one, so that none stays in memory during the relay. */
async function passHeld(
  call: UpstreamCall,
  reply: ClientReply,
  chunks: Uint8Array[],
): Promise<void> {
  for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) {
    await awaitRoom(call, reply)
    reply.write(chunk)
  }
}

async function awaitRoom(call: UpstreamCall, reply: ClientReply): Promise<void> {
  if (!(await reply.awaitRoom())) call.stop('client_gone')
}

/**
 * Passes an answer through that is not a stream of events. Such an answer has no place for an error
 * event. If it breaks off, the gateway also breaks the client's connection. Otherwise the client
 * would take half of the answer for the whole.
 */
export async function relayBytes(
  { call, reply, idleMs, held }: RelayEnds,
  head: StreamHead,
  first: Uint8Array[],
  tail: UsageTail | null,
): Promise<StreamEnd> {
  reply.begin(head)
  await passHeld(call, reply, first)
  held.release()
  for (;;) {
    call.arm('idle', idleMs)
    const read = await call.read()
    call.disarm()
    if (read.kind !== 'chunk') {
      const end = endOf(read, { error: null, finished: read.kind === 'end' }, head.headers)
      if (end.kind !== 'complete') reply.abandon()
      return end
    }
    tail?.push(read.bytes)
    if (!reply.hasRoom()) await awaitRoom(call, reply)
    reply.write(read.bytes)
  }
}

type Last =
  | { readonly kind: 'end' }
  | { readonly kind: 'broken' }
  | { readonly kind: 'stopped'; readonly cause: StopCause }

function endOf(
  last: Last,
  { error, finished }: Pick<StreamSummary, 'error' | 'finished'>,
  headers: Headers,
): StreamEnd {
  // The answer is whole once its final event has come. It does not matter how the connection ended
  // after that: cut, never closed, or closed by the client (SDKs hang up at `[DONE]`).
  if (finished && error === null) return { kind: 'complete' }
  if (last.kind === 'stopped' && last.cause === 'client_gone') return { kind: 'client_gone' }
  if (error !== null) return { kind: 'failed', failure: failureOf(error, headers) }
  if (last.kind !== 'stopped') return { kind: 'failed', failure: { kind: 'truncated' } }
  return last.cause === 'total' || last.cause === 'client_gone'
    ? { kind: 'out_of_time' }
    : { kind: 'failed', failure: { kind: 'timeout', clock: last.cause } }
}

/** The gateway's error about an answer that broke; null if it did not, or if upstream says why. */
export function errorOfBreak(end: StreamEnd): GatewayError | null {
  if (end.kind === 'complete' || end.kind === 'client_gone') return null
  const cause = end.kind === 'failed' ? end.failure.kind : 'timeout'
  switch (cause) {
    case 'response':
      return null
    case 'timeout':
      return gatewayError(
        'upstream_timeout',
        'The answer took too long and is incomplete. Try again.',
      )
    case 'network':
    case 'truncated':
      return gatewayError(
        'upstream_unreachable',
        'The answer from OpenRouter ended early and is incomplete. Try again.',
      )
  }
}

/** Sends the client one error event, unless upstream has already sent its own. */
function explain(
  end: Extract<StreamEnd, { kind: 'failed' | 'out_of_time' }>,
  watch: CommittedStream['watch'],
  shape: ApiShape,
  reply: ClientReply,
): void {
  const { identity, events } = watch.summary()
  const error = errorOfBreak(end)
  if (error === null) return
  const notice = noticeOf(error)
  // An event that was cut in the middle is closed first. Otherwise ours would become a part of it.
  const separator = watch.atBoundary() ? '' : '\n\n'
  const text = separator + shape.errorEvent({ ...notice, ...identity, events })
  reply.write(new TextEncoder().encode(text))
}
