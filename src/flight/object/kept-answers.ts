import type { Ports } from '../../gateway/ports.ts'
import { API_SHAPES } from '../../openrouter/shapes/shape-registry.ts'
import { bufferOf } from '../answer-buffer.ts'
import { endedByError } from '../broken-off.ts'
import { AnswerSubscribers } from '../subscribers.ts'
import type { AnswerRows, KeptAnswer } from './answer-rows.ts'

/** A shorter answer travels in the reply itself. */
export const SHORT_ANSWER_BYTES = 64 * 1024

/** A kept answer, and those who get it. */
export interface Kept extends KeptAnswer {
  readonly subscribers: AnswerSubscribers
  /** Nobody begins behind it: that an answer was cut, its readers are to learn. */
  readonly lastOffset: number
}

export interface KeptAnswersParts {
  readonly ports: Pick<Ports, 'nowMs' | 'timer'>
  readonly rows: AnswerRows
  /** Who does not read for so long is cut, in milliseconds. */
  readonly idleMs: number
  setAlarm(atMs: number): void
}

/** One that was cut ends as any answer that breaks off. */
function withItsEnd(id: string, stored: KeptAnswer): KeptAnswer {
  const shape = API_SHAPES.find(({ path }) => path === stored.cutPath)
  if (shape === undefined) return stored
  return { ...stored, bytes: endedByError(stored.bytes, id, shape) }
}

/** The answers of an object that are not being made any more, and those who still read them. */
export class KeptAnswers {
  readonly #parts: KeptAnswersParts
  /** Copies of what lies in the rows; null for what does not. */
  readonly #copies = new Map<string, Kept | null>()
  /** All whose bytes somebody still reads. */
  readonly #read = new Set<AnswerSubscribers>()

  constructor(parts: KeptAnswersParts) {
    this.#parts = parts
  }

  /** What is kept under a name, and not over. */
  of(id: string): Kept | null {
    const { rows, ports } = this.#parts
    let kept = this.#copies.get(id)
    if (kept === undefined) {
      const stored = rows.read(id)
      kept = stored === null ? null : this.#copyOf(id, stored)
      this.#copies.set(id, kept)
    }
    return kept === null || ports.nowMs() >= kept.expiresAtMs ? null : kept
  }

  /** @param forMs how long it is kept from now on */
  keep(
    id: string,
    answer: Pick<KeptAnswer, 'head' | 'bytes' | 'bodyKey' | 'costUsd'>,
    forMs: number,
  ): void {
    const { rows, ports } = this.#parts
    const storedAtMs = ports.nowMs()
    rows.write(id, { ...answer, cutPath: null, storedAtMs, expiresAtMs: storedAtMs + forMs })
    this.#changed(id)
  }

  /** Where an answer is put down while it is made. */
  log(): Pick<AnswerRows, 'begin' | 'append'> {
    const { rows } = this.#parts
    return {
      append: rows.append,
      begin: (id, answer) => {
        const part = rows.begin(id, answer)
        this.#changed(id)
        return part
      },
    }
  }

  drop(id: string): void {
    this.#parts.rows.drop(id)
    this.#copies.delete(id)
  }

  /** Drops what is over. @returns whether nothing is left */
  dropExpired(): boolean {
    const { rows, ports, setAlarm } = this.#parts
    const nextMs = rows.dropExpired(ports.nowMs())
    this.#copies.clear()
    if (nextMs !== null) setAlarm(nextMs)
    return nextMs === null
  }

  /** Remembers those who read an answer that nobody can join any more. */
  noteReaders(subscribers: AnswerSubscribers): void {
    this.#forgetRead()
    if (subscribers.size > 0) this.#read.add(subscribers)
  }

  leave(seat: string): void {
    for (const subscribers of this.#read) subscribers.leave(seat)
  }

  #changed(id: string): void {
    const { rows, ports, setAlarm } = this.#parts
    this.#copies.delete(id)
    const nextMs = rows.dropExpired(ports.nowMs())
    if (nextMs !== null) setAlarm(nextMs)
  }

  /** A long one is in memory only while somebody reads it: an isolate has many of these objects. */
  #copyOf(id: string, stored: KeptAnswer): Kept {
    const { ports, idleMs } = this.#parts
    const onEmpty = () => {
      this.#forgetRead()
      if (stored.bytes.length > SHORT_ANSWER_BYTES) this.#copies.delete(id)
    }
    const answer = withItsEnd(id, stored)
    const { head, bytes } = answer
    const subscribers = new AnswerSubscribers({ ports, idleMs, onEmpty }, bufferOf(bytes))
    subscribers.begin(() => ({ kind: 'answer', ...head }))
    return { ...answer, subscribers, lastOffset: stored.bytes.length }
  }

  #forgetRead(): void {
    for (const subscribers of this.#read) {
      if (subscribers.size === 0) this.#read.delete(subscribers)
    }
  }
}
