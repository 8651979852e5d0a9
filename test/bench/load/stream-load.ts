import { sharedClockUs, TIME_DIGITS, TIME_MARK } from '../upstream/answers.ts'
import type { RequestCycle } from './closed-loop.ts'
import type { Connection } from './connection.ts'

/** What came of streams that ran at once. */
export interface StreamsResult {
  readonly streams: number
  /** From the request to the first event, in milliseconds, of each stream. */
  readonly firstEventsMs: number[]
  /** From where the upstream wrote an event to where it was read, in milliseconds, of every later one. */
  readonly delaysMs: number[]
}

/**
 * Runs a stream on each connection. They begin one after another: what begins at once is served in
 * turn, and would measure the queue that it makes itself.
 * @param spreadMs within which all have begun, in milliseconds
 */
export async function runStreams(
  connections: readonly Connection[],
  requests: RequestCycle,
  spreadMs: number,
): Promise<StreamsResult> {
  const firstEventsMs: number[] = []
  const delaysMs: number[] = []
  const work = async (connection: Connection, i: number): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, (i / connections.length) * spreadMs))
    const sentUs = sharedClockUs()
    let isFirst = true
    const clock = new EventClock((writtenUs, readUs) => {
      if (isFirst) firstEventsMs.push((readUs - sentUs) / 1000)
      else delaysMs.push((readUs - writtenUs) / 1000)
      isFirst = false
    })
    const answer = await connection.send(requests.next(), (bytes) => clock.push(bytes))
    if (answer.status !== 200 || isFirst) {
      throw new Error(`A stream failed: ${answer.status} ${answer.excerpt}`)
    }
  }
  await Promise.all(connections.map(work))
  return { streams: connections.length, firstEventsMs, delaysMs }
}

/** Finds the times that the upstream has put into its events, wherever the pieces are cut. */
export class EventClock {
  readonly #onEvent: (writtenUs: number, readUs: number) => void
  #rest = ''

  constructor(onEvent: (writtenUs: number, readUs: number) => void) {
    this.#onEvent = onEvent
  }

  push(bytes: Buffer): void {
    const readUs = sharedClockUs()
    const text = this.#rest + bytes.toString('latin1')
    let from = 0
    for (;;) {
      const mark = text.indexOf(TIME_MARK, from)
      if (mark === -1) {
        this.#rest = ''
        return
      }
      const end = mark + TIME_MARK.length + TIME_DIGITS
      if (end > text.length) {
        this.#rest = text.slice(mark)
        return
      }
      this.#onEvent(Number(text.slice(mark + TIME_MARK.length, end)), readUs)
      from = end
    }
  }
}
