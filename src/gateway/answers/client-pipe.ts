/**
 * The pipe through which a stream reaches its client. Measured on workerd, a stream that tells when it
 * is read costs the least of those that JavaScript can fill: no promise for a piece that the client
 * takes at once, and no second stream behind it. It needs no event loop, so virtual time drives it.
 */
export interface ClientPipe {
  readonly readable: ReadableStream<Uint8Array>
  /** Hands bytes on. Those that the client has no room for wait in memory. */
  write(bytes: Uint8Array): void
  /** Whether the client has taken everything and waits for more. */
  hasRoom(): boolean
  /** Waits for room. False if the client has left. After `hurry` there always is room. */
  awaitRoom(): Promise<boolean>
  /** Ends the stream. Resolves when the client has it all or has left, or after `hurry`. */
  end(): Promise<void>
  /** Breaks the stream off. */
  abandon(): void
  /** Ends a pending wait for the client. From now on bytes are only queued. */
  hurry(): void
}

/**
 * @param onOver called once: the client has taken the whole stream, or the stream has broken
 * @param onGone called if the client stops reading before the end
 */
export function createClientPipe(onOver: () => void, onGone: () => void): ClientPipe {
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null
  let isWanted = false
  let isEnding = false
  let isHurried = false
  let wake: ((hasRoom: boolean) => void) | null = null

  const wakeUp = (hasRoom: boolean) => {
    wake?.(hasRoom)
    wake = null
  }
  const finish = (last: (open: ReadableStreamDefaultController<Uint8Array>) => void) => {
    if (controller === null) return
    last(controller)
    controller = null
    wakeUp(false)
    onOver()
  }
  const room = () =>
    // Not `Promise.race` with one long-lived promise: that would keep one reaction per piece.
    new Promise<boolean>((resolve) => {
      wake = resolve
    })
  const readable = new ReadableStream<Uint8Array>(
    {
      start(opened) {
        controller = opened
      },
      pull() {
        isWanted = true
        if (isEnding) finish((open) => open.close())
        else wakeUp(true)
      },
      cancel() {
        finish(() => undefined)
        onGone()
      },
    },
    // Nothing is asked for before the client reads.
    { highWaterMark: 0 },
  )

  return {
    readable,
    write(bytes) {
      isWanted = false
      controller?.enqueue(bytes)
    },
    hasRoom: () => controller !== null && (isWanted || isHurried),
    async awaitRoom() {
      if (controller === null) return false
      return isWanted || isHurried || (await room())
    },
    async end() {
      isEnding = true
      if (isWanted) finish((open) => open.close())
      else if (controller !== null && !isHurried) await room()
    },
    abandon: () => finish((open) => open.error(new Error('The answer broke off.'))),
    hurry() {
      isHurried = true
      wakeUp(true)
    },
  }
}
