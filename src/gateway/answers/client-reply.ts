import type { Ports } from '../ports.ts'
import { type ClientPipe, createClientPipe } from './client-pipe.ts'

/** Before the commit, comments are passed on as keep-alives, but not earlier than this. */
const KEEP_ALIVE_AFTER_MS = 2_000

/** The keep-alive for pings and lifecycle events, which are not passed on before the commit. */
const SIGN_OF_LIFE = new TextEncoder().encode(': PROCESSING\n\n')

/** nginx's status for a client that left before its answer. No client receives it. */
const CLIENT_CLOSED_REQUEST = 499

/**
 * A smaller answer counts as taken at once. A larger one goes through a pipe that tells when the
 * client has read it, since until then it stays in memory.
 */
const SMALL_BYTES = 64 * 1024

/** With these statuses, `Response` accepts no body, not even an empty one. */
const BODILESS: ReadonlySet<number> = new Set([204, 205])

/** A block of a stream that is held back until the commit. A comment may go out as a keep-alive. */
export interface HeldBlock {
  readonly bytes: Uint8Array
  sent: boolean
}

export interface StreamHead {
  readonly status: number
  readonly headers: Headers
}

/**
 * What the client gets. The response exists as soon as its status is certain: with the whole
 * answer, at the commit of a stream, or when the first keep-alive goes out. After a keep-alive the
 * gateway can still try another key, but the status can no longer change.
 */
export interface ClientReply {
  readonly response: Promise<Response>
  /** Settles when the client has taken the answer to its end, or has left. Never rejects. */
  readonly taken: Promise<void>
  /** Whether a stream has begun. From then on an error can only be an event. */
  streaming(): boolean
  /** Answers at once and whole. Call it only before a stream has begun. */
  whole(head: StreamHead, body: Uint8Array | string): void
  /** Rejects the response. For a bug that breaks even the error answer. */
  fail(bug: unknown): void
  /** Begins the stream, unless a keep-alive has already begun it. */
  begin(head: StreamHead): void
  /** Passes bytes on. Ask for room first: the bytes wait in memory until the client takes them. */
  write(bytes: Uint8Array): void
  /** Whether the client has taken everything and waits for more. */
  hasRoom(): boolean
  /** Waits until the client has room. False if the client has left. */
  awaitRoom(): Promise<boolean>
  /** Ends the stream. Resolves when the client has it all, or after `abandon` or `hurry`. */
  end(): Promise<void>
  /** Writes the last bytes and ends the stream. Waits for the client no longer than `ms`. */
  endWith(bytes: Uint8Array, ms: number): Promise<void>
  /**
   * Offers a comment as a keep-alive; null for words of upstream that are no comment, for which one
   * of the gateway's own stands. It is sent now, or when the time comes, or not at all. A stream that
   * begins so has no headers of its attempt, which may yet fail.
   */
  keepAlive(block: HeldBlock | null, head: StreamHead): void
  /** Drops the keep-alives that were offered but not sent, since their attempt is decided. */
  dropKeepAlives(): void
  /**
   * Gives up a client that has left. A pending wait ends at once, and later writes do nothing.
   * The journey also calls this from `onGone`, if the platform reports that the client left.
   */
  abandon(): void
  /**
   * Stops waiting for a slow client. A pending wait ends at once. Later bytes are only queued, for
   * the client to read in its own time.
   */
  hurry(): void
  /** Frees the timer. If there is no response yet, the client has left: settles it with 499. */
  close(): void
}

/**
 * @param onGone called once if the client stops reading a stream
 * @param decorate adds the gateway's own headers at the moment of answering. `provisional`: the
 *   stream begins with a keep-alive, before it is certain which attempt will answer
 */
export function createClientReply(
  ports: Ports,
  decorate: (headers: Headers, certainty: 'certain' | 'provisional') => Headers,
  onGone: () => void,
): ClientReply {
  const { promise: response, resolve: settle, reject } = Promise.withResolvers<Response>()
  const { promise: taken, resolve: take } = Promise.withResolvers<void>()
  let pipe: ClientPipe | null = null
  let waiting: { block: HeldBlock | null; head: StreamHead }[] = []
  let isAnswered = false

  const begin = (
    { status, headers }: StreamHead,
    certainty: 'certain' | 'provisional' = 'certain',
  ): ClientPipe => {
    if (pipe !== null) return pipe
    isAnswered = true
    pipe = createClientPipe(take, onGone)
    settle(new Response(pipe.readable, { status, headers: decorate(headers, certainty) }))
    return pipe
  }
  const send = (block: HeldBlock | null, { status, headers }: StreamHead) => {
    if (block !== null) block.sent = true
    begin({ status, headers: ofAnyAttempt(headers) }, 'provisional').write(
      block?.bytes ?? SIGN_OF_LIFE,
    )
  }
  // Most answers need no keep-alive, so the timer is set when one has to wait.
  const dueAtMs = ports.nowMs() + KEEP_ALIVE_AFTER_MS
  let cancelTimer: (() => void) | null = null
  const sendWaiting = () => {
    for (const { block, head } of waiting) send(block, head)
    waiting = []
  }

  return {
    response,
    taken,
    streaming: () => pipe !== null,
    whole({ status, headers }, body) {
      isAnswered = true
      settle(wholeResponse(body, { status, headers: decorate(headers, 'certain') }, take))
    },
    fail(bug) {
      isAnswered = true
      reject(bug)
      take()
    },
    begin: (head) => void begin(head),
    write: (bytes) => pipe?.write(bytes),
    hasRoom: () => pipe?.hasRoom() ?? false,
    awaitRoom: async () => (await pipe?.awaitRoom()) ?? false,
    end: async () => await pipe?.end(),
    async endWith(bytes, ms) {
      const cancel = ports.timer(ms, () => pipe?.hurry())
      pipe?.write(bytes)
      await pipe?.end()
      cancel()
    },
    keepAlive(block, head) {
      const waitMs = dueAtMs - ports.nowMs()
      if (waitMs <= 0) return send(block, head)
      // Of the gateway's own, one is enough.
      if (block !== null || waiting.length === 0) waiting.push({ block, head })
      cancelTimer ??= ports.timer(waitMs, sendWaiting)
    },
    dropKeepAlives() {
      waiting = []
    },
    abandon() {
      waiting = []
      pipe?.abandon()
    },
    hurry: () => pipe?.hurry(),
    close() {
      cancelTimer?.()
      if (isAnswered) return
      settle(new Response(null, { status: CLIENT_CLOSED_REQUEST }))
      take()
    },
  }
}

/** @param onTaken called when the client has taken the answer, or has left */
function wholeResponse(
  body: Uint8Array | string,
  init: { readonly status: number; readonly headers: Headers },
  onTaken: () => void,
): Response {
  if (typeof body === 'string' || body.length <= SMALL_BYTES) {
    onTaken()
    return new Response(BODILESS.has(init.status) ? null : body, init)
  }
  const { readable, writable } = new FixedLengthStream(body.length)
  const pipe = writable.getWriter()
  pipe.write(body).catch(() => undefined)
  pipe.close().then(onTaken, onTaken)
  return new Response(readable, init)
}

/** The headers that every attempt's stream has alike. The others name the attempt. */
const ALIKE = ['content-type', 'cache-control']

function ofAnyAttempt(headers: Headers): Headers {
  const alike = new Headers()
  for (const name of ALIKE) {
    const value = headers.get(name)
    if (value !== null) alike.set(name, value)
  }
  return alike
}
