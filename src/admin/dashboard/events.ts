import type { Context } from 'hono'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import { type Ports, sleep, withinTime } from '../../gateway/ports.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { errorResponse } from '../../http/error-response.ts'
import { type Feed, feedOf, look, MAX_VIEWERS, type Sight } from './feed.ts'

const EVERY_MS = 1_000

/** Then the browser connects again, and signs in again, so that no viewer outlives its session. */
const ENDS_AFTER_MS = 5 * 60_000

/** A viewer that takes nothing for so long does not read: its tab sleeps, or its network is gone. */
const UNREAD_MS = 10_000

/** A stream that says nothing for longer is cut by what lies between. */
const SIGN_OF_LIFE_MS = 15_000

/** What a viewer is told of a sight; it may remember what that viewer was told before. */
export type Telling = (sight: Sight) => string

/**
 * The pool once a second as server-sent events (WHATWG HTML, 9.2). While nobody watches, there is no
 * timer and no question.
 * @param endsAtMs when the viewer's credential ends; null if it does not by itself
 */
export function liveEvents(
  c: Context<HttpEnvironment>,
  tell: Telling,
  endsAtMs: number | null,
): Response {
  const { gateway } = c.var
  const feed = feedOf(gateway)
  if (feed.viewers >= MAX_VIEWERS) {
    const message = 'Too many pages watch this gateway now. Close some.'
    return errorResponse(c, gatewayError('overloaded', message, { retryAfterMs: 60_000 }))
  }
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const untilMs = Math.min(
    endsAtMs ?? Number.POSITIVE_INFINITY,
    gateway.ports.nowMs() + ENDS_AFTER_MS,
  )
  const { signal } = c.req.raw
  const viewing = { feed, untilMs, tell, signal, look: () => look(gateway) }
  const work = watch(writable.getWriter(), viewing, gateway.ports)
  c.executionCtx.waitUntil(work)
  return new Response(readable, { headers: { 'content-type': 'text/event-stream' } })
}

interface Viewing {
  readonly feed: Feed
  readonly untilMs: number
  readonly tell: Telling
  /** Aborted when the viewer has left. */
  readonly signal: AbortSignal
  look(): Promise<Sight>
}

async function watch(
  writer: WritableStreamDefaultWriter<Uint8Array>,
  { feed, untilMs, tell, signal, look }: Viewing,
  ports: Ports,
): Promise<void> {
  const encoder = new TextEncoder()
  let saidAtMs = Number.NEGATIVE_INFINITY
  feed.viewers += 1
  try {
    while (ports.nowMs() < untilMs && !signal.aborted) {
      const text = tell(await look())
      const nowMs = ports.nowMs()
      if (text !== '' || nowMs - saidAtMs >= SIGN_OF_LIFE_MS) {
        saidAtMs = nowMs
        const written = writer.write(encoder.encode(text || ': \n\n')).then(() => true)
        if ((await withinTime(ports, UNREAD_MS, written)) === null) break
      }
      await sleep(ports, EVERY_MS, signal)
    }
  } catch {
    // The viewer has left.
  } finally {
    feed.viewers -= 1
    // A viewer that does not read would never let `close` end.
    await withinTime(
      ports,
      1_000,
      writer.close().catch(() => undefined),
    )
    await writer.abort().catch(() => undefined)
  }
}

/** One event in the stream's form. A line break in the data would end its field. */
export function eventText(name: string, data: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
}
