import type { Ports } from '../ports.ts'

/** Comments that come before the commit are passed on as keep-alives after this long. */
const KEEP_ALIVE_AFTER_MS = 2_000

/** nginx's status for a client that left before its answer. It appears in no client's hands. */
const CLIENT_CLOSED_REQUEST = 499

/** A response of these can't be made with a body, not even an empty one. */
const BODILESS: ReadonlySet<number> = new Set([204, 205])

/** A piece of a stream that was held back until the commit, and may have gone out as a keep-alive. */
export interface HeldBlock {
  readonly bytes: Uint8Array
  sent: boolean
}

export interface StreamHead {
  readonly status: number
  readonly headers: Headers
}

/**
 * What the client gets. The response exists from the moment at which its status
 * is certain: with the whole answer, at the commit of a stream, or when the first
 * keep-alive has to go out, after which an attempt may still fail over but the
 * status can no longer change.
 */
export interface ClientReply {
  readonly response: Promise<Response>
  /** Whether a stream has begun: from then on an error can only be an event. */
  streaming(): boolean
  /** Answers at once and whole. Only before a stream has begun. */
  whole(head: StreamHead, body: Uint8Array | string): void
  /** Gives up answering: for a bug that even an error answer meets. */
  fail(bug: unknown): void
  /** Begins the stream, unless keep-alives have begun it before. */
  begin(head: StreamHead): void
  /** Passes bytes on; resolves when the client has room for more. False when it has left. */
  write(bytes: Uint8Array): Promise<boolean>
  /** Ends the stream. */
  end(): Promise<void>
  /** Offers a comment as a keep-alive, to be sent now or when it is time, or never. */
  keepAlive(block: HeldBlock, head: StreamHead): void
  /** Forgets keep-alives that were offered and not sent: their attempt is decided. */
  dropKeepAlives(): void
  /**
   * Lets go of a client that has left: a write that waits for it ends at once, and further ones
   * reach nobody. A stream's own cancellation does the same, where the platform tells of it.
   */
  abandon(): void
  /**
   * Waits for the client no more: a write that does ends at once, and what follows is only put
   * down for it to read, whenever it may.
   */
  hurry(): void
  /** Frees the timer. A client that left before it was answered gets what nobody will read. */
  close(): void
}

/**
 * @param onGone called once, when the client has stopped reading a stream
 * @param decorate adds the gateway's own headers at the moment of answering
 */
export function createClientReply(
  ports: Ports,
  decorate: (headers: Headers) => Headers,
  onGone: () => void,
): ClientReply {
  const { promise: response, resolve: settle, reject } = Promise.withResolvers<Response>()
  let writer: WritableStreamDefaultWriter<Uint8Array> | null = null
  let due = false
  let waiting: { block: HeldBlock; head: StreamHead }[] = []
  let isAbandoned = false
  let isHurried = false
  let giveUpWriting = (): void => undefined

  const begin = ({ status, headers }: StreamHead): WritableStreamDefaultWriter<Uint8Array> => {
    if (writer !== null) return writer
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    writer = writable.getWriter()
    writer.closed.catch(onGone)
    settle(new Response(readable, { status, headers: decorate(headers) }))
    return writer
  }
  const send = (block: HeldBlock, head: StreamHead) => {
    block.sent = true
    // A client that is gone is noticed through `closed`.
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
    streaming: () => writer !== null,
    whole({ status, headers }, body) {
      const content = BODILESS.has(status) ? null : body
      settle(new Response(content, { status, headers: decorate(headers) }))
    },
    fail: reject,
    begin: (head) => void begin(head),
    async write(bytes) {
      if (isAbandoned) return false
      // Not a race against one long-lived promise: that would keep a reaction for every chunk.
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
      settle(new Response(null, { status: CLIENT_CLOSED_REQUEST }))
    },
  }
}
