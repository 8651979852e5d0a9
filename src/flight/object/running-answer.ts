import type { ClientId } from '../../balancing/ids.ts'
import type { HeldBytes } from '../../gateway/byte-budget.ts'
import type { JourneyReport } from '../../gateway/inference-request.ts'
import type { Ports } from '../../gateway/ports.ts'
import type { AnswerHead } from '../answer-head.ts'
import { createEventNumbering, type EventNumbering } from '../event-ids.ts'
import { AnswerSubscribers } from '../subscribers.ts'
import type { AnswerSink } from './flown-journey.ts'
import type { ProgressLog } from './progress-log.ts'

export interface RunningOptions {
  readonly ports: Pick<Ports, 'nowMs' | 'timer'>
  /** What the answer has of the isolate's budget. */
  readonly held: HeldBytes
  readonly idleMs: number
  /** A longer answer is not held whole: nobody can begin to read it then. */
  readonly maxBytes: number
  /** The name by which its events are numbered, for an answer that runs on without a reader. */
  readonly durableId: string | null
  readonly bodyKey: string | null
  /** Only of an answer that runs on without a reader. */
  readonly progress?: ProgressLog
  /** Called when nobody else may get it: it is given up, or it is an error about one client alone. */
  readonly onClosed: () => void
}

/** An answer that is being made, for all who get it. */
export class RunningAnswer implements AnswerSink {
  readonly subscribers: AnswerSubscribers
  readonly bodyKey: string | null
  /** Resolves when its journey has ended. */
  readonly ended: Promise<JourneyReport | null>
  readonly #options: RunningOptions
  readonly #gone = new AbortController()
  readonly #end = Promise.withResolvers<JourneyReport | null>()
  #head: AnswerHead | null = null
  #only: ClientId | null = null
  #numbering: EventNumbering | null = null
  #isTooLong = false

  constructor(options: RunningOptions) {
    this.#options = options
    this.bodyKey = options.bodyKey
    this.ended = this.#end.promise
    const { ports, idleMs } = options
    this.subscribers = new AnswerSubscribers({ ports, idleMs, onEmpty: () => this.#onEmpty() })
  }

  /** Aborted when the answer is given up. */
  get signal(): AbortSignal {
    return this.#gone.signal
  }

  /** Null until it is known. */
  get head(): AnswerHead | null {
    return this.#head
  }

  /** Whether somebody may begin to read it. */
  isWhole(): boolean {
    return !this.#isTooLong && !this.#gone.signal.aborted
  }

  /** Whether it may be kept: it came to its end, and is for everybody. */
  isKeepable(): boolean {
    return this.isWhole() && this.#only === null && this.subscribers.buffer.end === 'complete'
  }

  /** Whether it is an error that is about another client alone. */
  isNotFor(clientId: ClientId): boolean {
    return this.#only !== null && this.#only !== clientId
  }

  begin(head: AnswerHead, only: ClientId | null): void {
    const { durableId } = this.#options
    this.#head = head
    this.#only = only
    // Who is sent away asks again at once, and must not meet it once more.
    if (only !== null) this.#options.onClosed()
    const type = head.headers['content-type'] ?? ''
    if (durableId !== null && /^text\/event-stream\b/i.test(type)) {
      this.#numbering = createEventNumbering(durableId)
    }
    this.subscribers.begin((clientId) =>
      only === null || only === clientId ? { kind: 'answer', ...head } : { kind: 'again' },
    )
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (const piece of this.#numbering?.push(bytes) ?? [bytes]) await this.#add(piece)
    const { progress } = this.#options
    // What is no stream of events comes in one piece, at its end.
    if (this.#head !== null && this.#numbering !== null && this.isWhole()) {
      progress?.note(this.#head, this.subscribers.buffer)
    }
  }

  end(isWhole: boolean): void {
    const { buffer } = this.subscribers
    for (const piece of this.#numbering?.end() ?? []) buffer.append(piece)
    buffer.close(isWhole ? 'complete' : 'broken')
  }

  /** Its journey has ended, and what is to be kept of it is kept. */
  close(report: JourneyReport | null): void {
    this.#end.resolve(report)
    if (this.subscribers.size === 0) this.#options.held.release()
  }

  async #add(bytes: Uint8Array): Promise<void> {
    const { held, maxBytes } = this.#options
    const { buffer } = this.subscribers
    this.#isTooLong ||= buffer.length + bytes.length > maxBytes || !held.grow(bytes.length)
    await this.subscribers.write(bytes)
    if (!this.#isTooLong) return
    if (this.subscribers.size === 0) this.#giveUp()
    else this.subscribers.dropRead()
  }

  /** The last one has left. One that has read to the end has left too. */
  #onEmpty(): void {
    const hasEnded = this.subscribers.buffer.end !== null
    if (hasEnded) this.#options.held.release()
    else if (this.#options.durableId === null || this.#isTooLong) this.#giveUp()
  }

  #giveUp(): void {
    if (this.#gone.signal.aborted) return
    this.#gone.abort()
    this.#options.onClosed()
  }
}
