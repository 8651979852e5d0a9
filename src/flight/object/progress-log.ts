import type { AnswerBuffer } from '../answer-buffer.ts'
import type { AnswerHead } from '../answer-head.ts'
import type { AnswerRows, UnendedAnswer } from './answer-rows.ts'

/** The most of a durable answer that an end of its object costs: a write each time holds up its bytes. */
const EVERY_MS = 1_000
const EVERY_BYTES = 256 * 1024

/** Puts down what has come of a durable answer while it is made. */
export interface ProgressLog {
  /** Call it between two events, so that what is put down ends with a whole one. */
  note(head: AnswerHead, buffer: AnswerBuffer): void
}

/** @param about all that is known of the answer when it begins */
export function createProgressLog(
  rows: Pick<AnswerRows, 'begin' | 'append'>,
  id: string,
  about: Omit<UnendedAnswer, 'head'>,
  nowMs: () => number,
): ProgressLog {
  let length = 0
  let atMs: number | null = null
  let part = 0
  return {
    note(head, buffer) {
      const isDue = atMs === null || nowMs() - atMs >= EVERY_MS
      if (!isDue && buffer.length - length < EVERY_BYTES) return
      if (atMs === null) part = rows.begin(id, { ...about, head })
      while (length < buffer.length) {
        const piece = buffer.viewFrom(length)
        part = rows.append(id, part, piece)
        length += piece.length
      }
      atMs = nowMs()
    },
  }
}
