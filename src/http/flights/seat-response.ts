import type { AnswerHead, FlightFrame } from '../../flight/answer-head.ts'
import { brokenOffEvents } from '../../flight/broken-off.ts'
import { CACHE_HEADER } from '../../flight/cache-directive.ts'
import type { FlightClient } from '../../flight/flight-client.ts'
import type { FlightReply, FlightRole } from '../../flight/flight-protocol.ts'
import { takeFrame } from '../../flight/frame-reader.ts'
import { createTimings, serverTiming } from '../../gateway/answers/timings.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'

/** A request at its place in a flight. */
export interface Seated {
  readonly flights: FlightClient
  /** The name of the flight. */
  readonly name: string
  readonly seat: string
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
  readonly shape: ApiShape
  readonly authMs: number
}

export interface SeatResponse {
  readonly response: Response
  /** Settles when the client has the answer, or has left. Never rejects. */
  readonly finished: Promise<void>
}

const BLANK_LINE = new TextEncoder().encode('\n\n')

/** With these statuses, `Response` accepts no body. */
const BODILESS: ReadonlySet<number> = new Set([204, 205])

/** The response of an answer that is there. */
export function keptResponse(
  { head, body, ageMs }: Extract<FlightReply, { kind: 'kept' }>,
  authMs: number,
): SeatResponse {
  const headers = headersOf(head, 'hit', ageMs, authMs)
  const { status } = head
  const response = new Response(BODILESS.has(status) ? null : body, { status, headers })
  return { response, finished: Promise.resolve() }
}

/**
 * The response of an answer that comes. The bytes pass through without a turn of this isolate.
 * @returns `again` if the request has to ask anew
 * @throws if the object dies before it has said what comes
 */
export async function seatResponse(
  seated: Seated,
  { role, body, ageMs = 0 }: Extract<FlightReply, { kind: 'seat' }>,
): Promise<SeatResponse | 'again'> {
  const frame = await frameFor(seated, body)
  if (frame.kind === 'again') {
    await body.cancel().catch(() => undefined)
    return 'again'
  }
  const { status } = frame
  const headers = headersOf(frame, role, ageMs, seated.authMs)
  if (BODILESS.has(status)) {
    return { response: new Response(null, { status, headers }), finished: leave(seated) }
  }
  const { readable, writable } = new IdentityTransformStream()
  const response = new Response(readable, { status, headers })
  return { response, finished: pass(seated, frame, body, writable) }
}

/** Takes the frame off the stream. A client that leaves meanwhile gives up its seat. */
async function frameFor(seated: Seated, body: ReadableStream<Uint8Array>): Promise<FlightFrame> {
  const onGone = () => void leave(seated)
  seated.signal.addEventListener('abort', onGone)
  if (seated.signal.aborted) onGone()
  try {
    return await takeFrame(body)
  } finally {
    seated.signal.removeEventListener('abort', onGone)
  }
}

async function pass(
  seated: Seated,
  head: AnswerHead,
  body: ReadableStream<Uint8Array>,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  // Upstream may be silent for minutes, in which nothing else would tell of a client that has left.
  const onGone = () => void leave(seated)
  seated.signal.addEventListener('abort', onGone)
  try {
    await body.pipeTo(writable, { preventClose: true, preventAbort: true })
    await writable.close()
  } catch {
    await breakOff(seated, head, writable)
  } finally {
    seated.signal.removeEventListener('abort', onGone)
  }
}

/**
 * The client has left, or the object has died: then the client hears of it as of any other answer that
 * breaks off.
 */
async function breakOff(
  seated: Seated,
  { headers }: AnswerHead,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  const isStream = /^text\/event-stream\b/i.test(headers['content-type'] ?? '')
  try {
    const writer = writable.getWriter()
    if (!isStream || seated.signal.aborted) await writer.abort(new Error('The answer broke off.'))
    else {
      // An event that was cut in the middle ends here: else this one would be a part of it.
      await writer.write(BLANK_LINE)
      await writer.write(brokenOffEvents(seated.shape))
      await writer.close()
    }
  } catch {
    // The client is gone, and this is the word for it.
  }
  await leave(seated)
}

async function leave({ flights, name, seat }: Seated): Promise<void> {
  await flights.leave(name, seat)
}

/** What tells of attempts is true of the request that made them alone. */
const OF_ATTEMPTS = ['x-switchyard-attempts', 'server-timing']

function headersOf(head: AnswerHead, role: FlightRole, ageMs: number, authMs: number): Headers {
  const headers = new Headers({ ...head.headers })
  headers.set(CACHE_HEADER, role)
  if (role !== 'miss') {
    for (const name of OF_ATTEMPTS) headers.delete(name)
    headers.set('server-timing', serverTiming(createTimings(authMs)))
  }
  if (role === 'hit') headers.set('age', String(Math.max(0, Math.floor(ageMs / 1000))))
  return headers
}
