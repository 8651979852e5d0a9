import type { Usage } from '../../balancing/settlement.ts'
import type { WireError } from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape, EventReading, StreamIdentity } from '../../openrouter/shapes/api-shape.ts'
import { isDone, parseObject } from '../../openrouter/shapes/event-data.ts'
import {
  createSseScanner,
  parseSseEvent,
  type SseBlock,
  type SseEvent,
} from '../../openrouter/sse.ts'
import { mergeUsage } from '../../openrouter/usage.ts'

/** A block of the stream, with its reading if it was parsed. */
export interface WatchedBlock {
  readonly block: SseBlock
  readonly reading: EventReading | null
}

/** What a stream has shown so far. */
export interface StreamSummary {
  readonly usage: Usage | null
  readonly error: WireError | null
  /** Whether the stream has said that its answer is complete, with all of its parts. */
  readonly finished: boolean
  readonly identity: StreamIdentity
  /** The number of events so far. It is an estimate of the tokens if no usage was reported. */
  readonly events: number
}

/**
 * Watches a stream that passes through. Until the commit it parses every event (`look`). After the
 * commit it parses only events that may hold usage, an error or an end (`glance`): to parse the
 * JSON of every token would be most of the gateway's work.
 */
export interface StreamWatch {
  look(chunk: Uint8Array): readonly WatchedBlock[]
  glance(chunk: Uint8Array): void
  /**
   * The stream has ended. Its last event counts even without the blank line after it, if it is
   * whole. Returns the reading of that event.
   */
  end(): EventReading | null
  /** The bytes of the block that has begun but not ended. */
  tail(): Uint8Array
  /** Whether an event may begin at the next byte. */
  atBoundary(): boolean
  /** Whether the answer is complete, but its usage is still to come. */
  awaitsUsage(): boolean
  summary(): StreamSummary
}

/** @param parts how many parts the answer has: choices, images */
export function createStreamWatch(shape: ApiShape, parts = 1): StreamWatch {
  const scanner = createSseScanner()
  let usage: Usage | null = null
  let error: WireError | null = null
  const ended = new Set<number>()
  let done = false
  let finished = false
  /** Whether usage came with the answer's end or after it. Before, it may be of a part. */
  let hasFinalUsage = false
  let identity: StreamIdentity = {}
  let events = 0

  const note = (event: SseEvent): EventReading => {
    const reading = shape.readEvent(event)
    usage = mergeUsage(usage, reading.usage)
    error = reading.error ?? error
    done ||= reading.done
    if (reading.finished) for (const part of reading.ended ?? [ended.size]) ended.add(part)
    finished ||= done || ended.size >= parts
    hasFinalUsage ||= finished && reading.usage !== null
    if (identity.id === undefined) identity = reading
    return reading
  }
  const read = (block: SseBlock): EventReading | null => {
    const event = parseSseEvent(block.bytes)
    return event === null ? null : note(event)
  }

  return {
    look(chunk) {
      return scanner.push(chunk).map((block) => {
        if (block.kind !== 'event') return { block, reading: null }
        events += 1
        return { block, reading: read(block) }
      })
    },
    glance(chunk) {
      for (const block of scanner.push(chunk)) {
        if (block.kind !== 'event') continue
        events += 1
        if (shape.mayMatter(block.bytes)) read(block)
      }
    },
    end() {
      const event = parseSseEvent(scanner.tail())
      if (event === null || !isWhole(event.data)) return null
      events += 1
      return note(event)
    },
    tail: () => scanner.tail(),
    atBoundary: () => scanner.atBoundary(),
    awaitsUsage: () => finished && !done && !hasFinalUsage && error === null,
    summary: () => ({ usage, error, finished, identity, events }),
  }
}

/** Whether the data of an event without a blank line after it is whole. It may have been cut. */
function isWhole(data: string): boolean {
  return isDone(data) || parseObject(data) !== null
}
