import type { ClientId } from '../balancing/ids.ts'
import type { Ports } from '../gateway/ports.ts'
import { AnswerBuffer } from './answer-buffer.ts'
import { encodeFrame, type FlightFrame } from './answer-head.ts'

/** The most that get one answer at the same time. Each more is a stream that the object has to fill. */
export const MAX_SUBSCRIBERS = 500

/** The fastest reader is waited for when it is so far behind, as a client's own journey waits for it. */
const MAX_AHEAD_BYTES = 1024 * 1024

/** Who is so far behind the others is cut: what it has not read would have to be kept for it alone. */
const MAX_BEHIND_BYTES = 8 * 1024 * 1024

/** How often it is looked who does not read. */
const LOOK_MS = 5_000

/** A longer piece would be copied at once, into the memory of one stream. */
const MAX_PIECE_BYTES = 64 * 1024

/** How an answer ended for one of those who got it. */
export type SubscriberEnd = 'read' | 'left'

interface Subscriber {
  readonly clientId: ClientId
  offset: number
  hasFrame: boolean
  isGone: boolean
  isCut: boolean
  /** Whether it waits for more bytes; else it has some that it does not take. */
  isWaiting: boolean
  servedAtMs: number
  readonly onEnd: (end: SubscriberEnd) => void
  stop: () => void
}

export interface Subscription {
  readonly seat: string
  readonly clientId: ClientId
  /** Where it begins. */
  readonly offset?: number
  /** Called once. */
  readonly onEnd?: (end: SubscriberEnd) => void
}

export interface SubscribersOptions {
  readonly ports: Pick<Ports, 'nowMs' | 'timer'>
  /** Who does not read for so long is cut, in milliseconds. */
  readonly idleMs: number
  /** Called when the last one has gone. */
  readonly onEmpty: () => void
}

/**
 * Those who get one answer. Each reads at its own pace from one buffer. One that leaves, or does not
 * read, changes nothing for the others.
 */
export class AnswerSubscribers {
  readonly buffer: AnswerBuffer
  readonly #options: SubscribersOptions
  readonly #all = new Map<string, Subscriber>()
  readonly #framed = Promise.withResolvers<void>()
  #frameFor: ((clientId: ClientId) => FlightFrame) | null = null
  #isWatched = false
  #wakeWriter: (() => void) | null = null

  constructor(options: SubscribersOptions, buffer = new AnswerBuffer()) {
    this.#options = options
    this.buffer = buffer
  }

  get size(): number {
    return this.#all.size
  }

  /** Tells what the bytes are. Nobody gets any of them before. */
  begin(frameFor: (clientId: ClientId) => FlightFrame): void {
    this.#frameFor ??= frameFor
    this.#framed.resolve()
  }

  /** A stream of the frame and then of the bytes, until the reader leaves or has it all. */
  subscribe({ seat, clientId, offset = 0, onEnd = () => undefined }: Subscription): ReadableStream {
    const { nowMs } = this.#options.ports
    const one: Subscriber = {
      ...{ clientId, offset, onEnd, hasFrame: false, isGone: false, isCut: false },
      ...{ isWaiting: false, servedAtMs: nowMs(), stop: () => undefined },
    }
    this.#all.set(seat, one)
    this.#watch()
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          one.stop = () => controller.error(new Error('The client did not read.'))
        },
        pull: async (controller) => {
          one.isWaiting = true
          const piece = await this.#next(one)
          one.isWaiting = false
          one.servedAtMs = nowMs()
          // One that has left without a word of its own is not left waiting; one that was cut is at its end.
          if (one.isGone) return one.isCut ? undefined : controller.close()
          if (piece instanceof Uint8Array) return controller.enqueue(piece)
          if (piece === 'complete') controller.close()
          else controller.error(new Error('The answer broke off.'))
          this.#remove(seat, 'read')
        },
        cancel: () => {
          one.isCut = true
          this.leave(seat)
        },
      },
      // What a reader has not asked for is in the buffer, and in no queue of its own.
      { highWaterMark: 0 },
    )
  }

  /** Safe to call twice, and for one that is not known. */
  leave(seat: string): void {
    this.#remove(seat, 'left')
  }

  /** Adds bytes. Waits for the fastest reader if even that is far behind. */
  async write(bytes: Uint8Array): Promise<void> {
    this.buffer.append(bytes)
    this.#cutWhoIsBehind()
    while (this.#all.size > 0 && this.#aheadBytes() > MAX_AHEAD_BYTES) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve
      })
      this.#cutWhoIsBehind()
    }
  }

  /** Lets go what everybody has read. Nobody can begin any more. */
  dropRead(): void {
    const offsets = [...this.#all.values()].map(({ offset }) => offset)
    this.buffer.dropBefore(Math.min(this.buffer.length, ...offsets))
  }

  async #next(one: Subscriber): Promise<Uint8Array | 'complete' | 'broken'> {
    if (!one.hasFrame) {
      if (this.#frameFor === null) await this.#framed.promise
      one.hasFrame = true
      const frame = this.#frameFor?.(one.clientId) ?? { kind: 'again' }
      // Who has to ask again gets no byte of what was another's.
      if (frame.kind === 'again') one.offset = Number.POSITIVE_INFINITY
      return encodeFrame(frame)
    }
    const { buffer } = this
    if (one.offset === Number.POSITIVE_INFINITY) return 'complete'
    while (one.offset >= buffer.length && buffer.end === null && !one.isGone) await buffer.more()
    if (one.isGone || one.offset >= buffer.length) return buffer.end ?? 'broken'
    const piece = buffer.viewFrom(one.offset).subarray(0, MAX_PIECE_BYTES)
    one.offset += piece.length
    this.#wakeWriter?.()
    return piece
  }

  #aheadBytes(): number {
    const offsets = [...this.#all.values()].map(({ offset }) => offset)
    return this.buffer.length - Math.max(...offsets)
  }

  #cutWhoIsBehind(): void {
    for (const [seat, { offset }] of this.#all) {
      if (this.buffer.length - offset > MAX_BEHIND_BYTES) this.#cut(seat)
    }
  }

  #cut(seat: string): void {
    const one = this.#all.get(seat)
    if (one === undefined) return
    one.isCut = true
    one.stop()
    this.leave(seat)
  }

  #remove(seat: string, end: SubscriberEnd): void {
    const one = this.#all.get(seat)
    if (one === undefined) return
    this.#all.delete(seat)
    one.isGone = true
    one.onEnd(end)
    this.#wakeWriter?.()
    if (this.#all.size === 0) this.#options.onEmpty()
  }

  /** Looks from time to time who has bytes that he does not read. */
  #watch(): void {
    if (this.#isWatched) return
    this.#isWatched = true
    const { ports, idleMs } = this.#options
    ports.timer(Math.min(LOOK_MS, idleMs), () => {
      this.#isWatched = false
      const deadlineMs = ports.nowMs() - idleMs
      for (const [seat, { isWaiting, servedAtMs }] of this.#all) {
        if (!isWaiting && servedAtMs <= deadlineMs) this.#cut(seat)
      }
      if (this.#all.size > 0) this.#watch()
    })
  }
}
