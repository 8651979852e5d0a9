import { forgetFrames } from '../../openrouter/error-frames.ts'
import type { UpstreamFailure } from '../../openrouter/failures/upstream-failure.ts'
import type { Ports } from '../ports.ts'

export type Clock = Extract<UpstreamFailure, { kind: 'timeout' }>['clock']

/** Why the gateway itself ended a call. */
export type StopCause = 'client_gone' | Clock

export type Opened =
  | { readonly kind: 'response'; readonly response: Response }
  | { readonly kind: 'network' }
  | { readonly kind: 'stopped'; readonly cause: StopCause }

export type Read =
  | { readonly kind: 'chunk'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'broken' }
  | { readonly kind: 'stopped'; readonly cause: StopCause }

/**
 * One upstream call with its clocks. When a clock runs out or the client leaves, the call keeps the
 * cause, aborts the fetch and cancels its body. The platform then ends the pending read in some
 * way, and the call reports the kept cause. (A race of each read against a long-lived "gone"
 * promise would leave one reaction behind per chunk.)
 */
export interface UpstreamCall {
  /**
   * Waits for the response headers, no longer than `headersMs` from when the call goes out. Never
   * throws.
   */
  open(headersMs: number): Promise<Opened>
  /** How long the response headers took, in milliseconds; null before they came. */
  headersMs(): number | null
  /** OpenRouter's id of the answer that has begun; null before, or without one. */
  generationId(): string | null
  /** The next bytes of the body. Never throws. Call it only after `open` returned a response. */
  read(): Promise<Read>
  /**
   * The whole rest of the body at once, without a turn for each of its pieces; `end` if there is none.
   * Never throws. Call it in place of `read`, for a body that no filter changes.
   */
  readAll(): Promise<Read>
  /** Starts the given clock, in place of the one before. `total` runs besides it. */
  arm(clock: Clock, ms: number): void
  disarm(): void
  /**
   * Asked when the client has left: for how many milliseconds more the call may be read. Without it
   * a call ends at once.
   */
  onLeaving(lingerMs: () => number): void
  /**
   * Ends the call and aborts it at upstream, for `client_gone` perhaps somewhat later. Does nothing
   * to a call that is over.
   */
  stop(cause: StopCause): void
  /** Frees the timers, and aborts the call if it is not over. Safe to call twice. */
  close(): void
}

/** Changes the bytes of a body as they come. */
export interface ByteFilter {
  /** What of these bytes, and of those before, may go on now. */
  push(chunk: Uint8Array): Uint8Array
  /** What is left once the body has ended. */
  end(): Uint8Array
}

export interface CallOptions {
  /** The filter of a body with these headers; null for none. */
  filterOf(headers: Headers): ByteFilter | null
  /** How long a call may take in total, in milliseconds. */
  readonly totalMs: number
  /** Called when `totalMs` are over, unless the call is closed before. */
  onTimeUp(): void
}

export function createUpstreamCall(
  ports: Ports,
  url: string,
  init: RequestInit,
  { totalMs, onTimeUp, filterOf }: CallOptions,
): UpstreamCall {
  const controller = new AbortController()
  let over = false
  // The call lasts as long as its stream. It must not keep the request's body for so long.
  let unsent: RequestInit | null = init

  const abandon = () => {
    controller.abort()
    reading.cancel()
  }
  const ending = createEnding(ports, () => over, abandon)
  const { stop, stopped } = ending
  const cancelTotal = ports.timer(totalMs, () => {
    stop('total')
    onTimeUp()
  })
  let headersMs: number | null = null
  let generationId: string | null = null
  const clock = createClock(ports, (name) => stop(name))
  const stoppedResult = () => {
    const cause = ending.cause()
    return cause === null ? null : ({ kind: 'stopped', cause } as const)
  }

  const reading = createReading(stoppedResult, stopped, () => {
    over = true
  })

  return {
    headersMs: () => headersMs,
    generationId: () => generationId,
    async open(limitMs) {
      let beganMs = 0
      const { signal } = controller
      const request = { ...unsent, signal }
      unsent = null
      const send = () => {
        beganMs = ports.nowMs()
        clock.arm('headers', limitMs)
        return ports.fetch(url, request)
      }
      const response = (ports.inTurn === undefined ? send() : ports.inTurn(send)).then(
        (value): Opened => ({ kind: 'response', response: value }),
        (): Opened => ({ kind: 'network' }),
      )
      const opened = await Promise.race([
        response,
        stopped.then((): Opened => ({ kind: 'network' })),
      ])
      const early = stoppedResult()
      if (early !== null) {
        // A fetch that ignores the signal may still answer. Its body is cancelled unread.
        void response.then(cancelBody)
        return early
      }
      headersMs = ports.nowMs() - beganMs
      if (opened.kind === 'response') {
        generationId = opened.response.headers.get('x-generation-id')
        reading.begin(opened.response, filterOf(opened.response.headers))
      }
      return opened
    },
    read: reading.next,
    readAll: reading.all,
    arm: clock.arm,
    disarm: clock.disarm,
    onLeaving: ending.onLeaving,
    stop,
    close() {
      cancelTotal()
      ending.close()
      clock.close()
      if (!over && ending.cause() === null) abandon()
      over = true
    },
  }
}

/**
 * One clock at a time. It is armed and disarmed with each piece of a stream, so it keeps its timer: one
 * that fires too early looks again.
 */
function createClock(ports: Ports, onTimeUp: (clock: Clock) => void) {
  let armed: { readonly clock: Clock; readonly atMs: number } | null = null
  let timer: { readonly atMs: number; readonly cancel: () => void } | null = null
  const look = () => {
    timer = null
    if (armed === null) return
    const { clock, atMs } = armed
    if (atMs <= ports.nowMs()) onTimeUp(clock)
    else fireAt(atMs)
  }
  const fireAt = (atMs: number) => {
    timer?.cancel()
    timer = { atMs, cancel: ports.timer(atMs - ports.nowMs(), look) }
  }
  return {
    arm(clock: Clock, ms: number): void {
      armed = { clock, atMs: ports.nowMs() + ms }
      if (timer === null || timer.atMs > armed.atMs) fireAt(armed.atMs)
    },
    disarm(): void {
      armed = null
    },
    close(): void {
      armed = null
      timer?.cancel()
    },
  }
}

/**
 * Reads the body of an answer. One turn for each piece: a turn costs more than all that is done with
 * the piece.
 * @param stopped what to return once the gateway has ended the call
 * @param whenStopped settles when it does so
 * @param onOver called when nothing more comes
 */
function createReading(stopped: () => Read | null, whenStopped: Promise<void>, onOver: () => void) {
  let answer: Response | null = null
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null
  let filter: ByteFilter | null = null

  /** What is left in the filter comes first. The next read finds the same end again. */
  const ended = (kind: 'end' | 'broken'): Read => {
    const early = stopped()
    onOver()
    if (early !== null) return early
    const rest = filter?.end()
    return rest !== undefined && rest.length > 0 ? { kind: 'chunk', bytes: rest } : { kind }
  }
  /** What goes on of a piece; null if the filter keeps all of it. */
  const passed = (bytes: Uint8Array | undefined): Read | null => {
    const early = stopped()
    if (early !== null) return early
    if (bytes === undefined) return ended('end')
    const rest = filter?.push(bytes) ?? bytes
    return rest.length > 0 ? { kind: 'chunk', bytes: rest } : null
  }
  return {
    begin(response: Response, changes: ByteFilter | null): void {
      answer = response
      filter = changes
    },
    async next(): Promise<Read> {
      for (;;) {
        let bytes: Uint8Array | undefined
        try {
          reader ??= answer?.body?.getReader() ?? null
          bytes = (await reader?.read())?.value
        } catch (error) {
          forgetFrames(error)
          return ended('broken')
        }
        const read = passed(bytes)
        if (read !== null) return read
      }
    },
    async all(): Promise<Read> {
      if (!answer?.body) return ended('end')
      try {
        const bytes = await Promise.race([answer.arrayBuffer(), whenStopped])
        const early = stopped()
        if (early !== null || bytes === undefined) return early ?? ended('end')
        onOver()
        return { kind: 'chunk', bytes: new Uint8Array(bytes) }
      } catch (error) {
        forgetFrames(error)
        return ended('broken')
      }
    },
    cancel(): void {
      if (reader !== null) reader.cancel().catch(() => undefined)
      else if (answer?.bodyUsed === false) answer.body?.cancel().catch(() => undefined)
    },
  }
}

/**
 * How the gateway itself ends a call: once, and after a while if the client left and the answer is
 * read on.
 * @param isOver whether the call has ended by itself
 */
function createEnding(ports: Ports, isOver: () => boolean, abandon: () => void) {
  const { promise: stopped, resolve } = Promise.withResolvers<void>()
  let cause: StopCause | null = null
  let lingerMs = () => 0
  let cancelLingering: (() => void) | null = null
  const stopNow = (why: StopCause) => {
    if (isOver() || cause !== null) return
    cause = why
    resolve()
    abandon()
  }
  return {
    stopped,
    cause: () => cause,
    stop(why: StopCause): void {
      if (isOver() || cause !== null) return
      const ms = why === 'client_gone' ? lingerMs() : 0
      if (ms > 0) cancelLingering ??= ports.timer(ms, () => stopNow(why))
      else stopNow(why)
    },
    onLeaving(ask: () => number): void {
      lingerMs = ask
    },
    close: () => cancelLingering?.(),
  }
}

function cancelBody(opened: Opened): void {
  if (opened.kind === 'response') opened.response.body?.cancel().catch(() => undefined)
}
