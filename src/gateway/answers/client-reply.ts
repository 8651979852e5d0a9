import type { Ports } from '../ports.ts'

/** Before the commit, comments are passed on as keep-alives, but not earlier than this. */
const KEEP_ALIVE_AFTER_MS = 2_000

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
  /**
   * Passes bytes on. Resolves when the client can take more. False if the client has left, or if
   * `abandon` or `hurry` ended the wait.
   */
  write(bytes: Uint8Array): Promise<boolean>
  /** Ends the stream. */
  end(): Promise<void>
  /** Offers a comment as a keep-alive. It is sent now, or when the time comes, or not at all. */
  keepAlive(block: HeldBlock, head: StreamHead): void
  /** Drops the keep-alives that were offered but not sent, since their attempt is decided. */
  dropKeepAlives(): void
  /**
   * Gives up a client that has left. A pending write ends at once, and later writes do nothing.
   * The journey also calls this from `onGone`, if the platform reports that the client left.
   */
  abandon(): void
  /**
   * Stops waiting for a slow client. A pending write ends at once. Later bytes are only queued, for
   * the client to read in its own time.
   */
  hurry(): void
  /** Frees the timer. If there is no response yet, the client has left: settles it with 499. */
  close(): void
}

/**
 * @param onGone called once when the stream breaks: the client stopped reading, or after `abandon`
 * @param decorate adds the gateway's own headers at the moment of answering
 */
export function createClientReply(
  ports: Ports,
  decorate: (headers: Headers) => Headers,
  onGone: () => void,
): ClientReply {
  const { promise: response, resolve: settle, reject } = Promise.withResolvers<Response>()
  const { promise: taken, resolve: take } = Promise.withResolvers<void>()
  let writer: WritableStreamDefaultWriter<Uint8Array> | null = null
  let due = false
  let waiting: { block: HeldBlock; head: StreamHead }[] = []
  let isAnswered = false
  let isAbandoned = false
  let isHurried = false
  let giveUpWriting = (): void => undefined

  const begin = ({ status, headers }: StreamHead): WritableStreamDefaultWriter<Uint8Array> => {
    if (writer !== null) return writer
    isAnswered = true
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    writer = writable.getWriter()
    writer.closed.then(take, () => {
      take()
      onGone()
    })
    settle(new Response(readable, { status, headers: decorate(headers) }))
    return writer
  }
  const send = (block: HeldBlock, head: StreamHead) => {
    block.sent = true
    // `writer.closed` reports a client that has left.
    begin(head)
      .write(block.bytes)
      .catch(() => undefined)
  }
  const cancelTimer = ports.timer(KEEP_ALIVE_AFTER_MS, () => {
    due = true
    for (const { block, head } of waiting) send(block, head)
    waiting = []
  })

  return {
    response,
    taken,
    streaming: () => writer !== null,
    whole({ status, headers }, body) {
      isAnswered = true
      settle(wholeResponse(body, { status, headers: decorate(headers) }, take))
    },
    fail(bug) {
      isAnswered = true
      reject(bug)
      take()
    },
    begin: (head) => void begin(head),
    async write(bytes) {
      if (isAbandoned) return false
      // Not `Promise.race` with one long-lived promise: that would keep one reaction per chunk.
      return await new Promise<boolean>((resolve) => {
        giveUpWriting = () => resolve(false)
        const written = writer?.write(bytes) ?? Promise.resolve()
        written.then(() => resolve(true), giveUpWriting)
        if (isHurried) resolve(true)
      })
    },
    async end() {
      if (isAbandoned) return
      const closed = writer?.close().catch(() => undefined)
      if (!isHurried) await closed
    },
    keepAlive(block, head) {
      if (due) send(block, head)
      else waiting.push({ block, head })
    },
    dropKeepAlives() {
      waiting = []
    },
    abandon() {
      isAbandoned = true
      waiting = []
      giveUpWriting()
      writer?.abort().catch(() => undefined)
    },
    hurry() {
      isHurried = true
      giveUpWriting()
    },
    close() {
      cancelTimer()
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
