import { failureOf, type UpstreamFailure } from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import type { ClientReply, StreamHead } from '../answers/client-reply.ts'
import { gatewayError, noticeOf } from '../answers/gateway-error.ts'
import type { CommittedStream } from './attempt.ts'
import type { StreamSummary } from './stream-watch.ts'
import type { StopCause, UpstreamCall } from './upstream-call.ts'

/** How a committed stream ended. */
export type StreamEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'client_gone' }
  /** The request used up its own time: nobody's fault. */
  | { readonly kind: 'out_of_time' }
  | { readonly kind: 'failed'; readonly failure: UpstreamFailure }

/** Between whom an answer is relayed. */
export interface RelayEnds {
  readonly call: UpstreamCall
  readonly reply: ClientReply
  /** The longest pause between two chunks of upstream's, in milliseconds. */
  readonly idleMs: number
}

/**
 * Passes a committed stream through, chunk by chunk as it comes, and says how it
 * ended. Nothing can be retried any more: a failure becomes one error event, and only where
 * upstream did not send one itself. The client's own stream is left open: whoever calls this ends it.
 *
 * The idle clock runs while bytes are awaited, not while a slow client makes us
 * wait: that pause is not upstream's.
 */
export async function relay(
  { call, reply, idleMs }: RelayEnds,
  { head, watch, held }: CommittedStream,
  shape: ApiShape,
): Promise<StreamEnd> {
  reply.begin(head)
  for (const chunk of held) {
    if (!(await reply.write(chunk))) call.stop('client_gone')
  }
  for (;;) {
    call.arm('idle', idleMs)
    const read = await call.read()
    call.disarm()
    if (read.kind !== 'chunk') {
      const end = endOf(read, watch.summary(), head.headers)
      if (end.kind === 'failed' || end.kind === 'out_of_time')
        await explain(end, watch, shape, reply)
      return end
    }
    watch.glance(read.bytes)
    if (!(await reply.write(read.bytes))) call.stop('client_gone')
  }
}

/**
 * Passes an answer through that is no stream of events. If it breaks off there is no way to say
 * so in it: the client's connection is broken off, too, so that half of it is not taken for whole.
 */
export async function relayBytes(
  { call, reply, idleMs }: RelayEnds,
  head: StreamHead,
  first: Uint8Array,
): Promise<StreamEnd> {
  reply.begin(head)
  for (let bytes = first; ; ) {
    if (!(await reply.write(bytes))) call.stop('client_gone')
    call.arm('idle', idleMs)
    const read = await call.read()
    call.disarm()
    if (read.kind === 'chunk') {
      bytes = read.bytes
      continue
    }
    const end = endOf(read, { error: null, finished: read.kind === 'end' }, head.headers)
    if (end.kind !== 'complete') reply.abandon()
    return end
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
  // Cut after its last word, never closed, or left by a client that had heard it (SDKs hang up at
  // `[DONE]`): the answer is whole all the same.
  if (finished && error === null) return { kind: 'complete' }
  if (last.kind === 'stopped' && last.cause === 'client_gone') return { kind: 'client_gone' }
  if (error !== null) return { kind: 'failed', failure: failureOf(error, headers) }
  if (last.kind !== 'stopped') return { kind: 'failed', failure: { kind: 'truncated' } }
  return last.cause === 'total' || last.cause === 'client_gone'
    ? { kind: 'out_of_time' }
    : { kind: 'failed', failure: { kind: 'timeout', clock: last.cause } }
}

/** Tells the client, in the stream, what went wrong; upstream's own word for it is enough. */
async function explain(
  end: Extract<StreamEnd, { kind: 'failed' | 'out_of_time' }>,
  watch: CommittedStream['watch'],
  shape: ApiShape,
  reply: ClientReply,
): Promise<void> {
  const { error, identity, events } = watch.summary()
  if (error !== null) return
  const late = end.kind === 'out_of_time' || end.failure.kind === 'timeout'
  const notice = noticeOf(
    late
      ? gatewayError('upstream_timeout', 'The answer stopped coming. What came is incomplete.')
      : gatewayError(
          'upstream_unreachable',
          'The connection to OpenRouter broke off. What came is incomplete.',
        ),
  )
  // An event that was cut in the middle is closed first, or ours would become a part of it.
  const separator = watch.atBoundary() ? '' : '\n\n'
  const text = separator + shape.errorEvent({ ...notice, ...identity, events })
  await reply.write(new TextEncoder().encode(text))
}
