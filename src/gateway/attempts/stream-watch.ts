import type { Usage } from '../../balancing/settlement.ts'
import type { WireError } from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape, EventReading, StreamIdentity } from '../../openrouter/shapes/api-shape.ts'
import { createSseScanner, parseSseEvent, type SseBlock } from '../../openrouter/sse.ts'
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
  /** Whether the stream has said that its answer is complete. */
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
  /** The bytes of the block that has begun but not ended. */
  tail(): Uint8Array
  /** Whether an event may begin at the next byte. */
  atBoundary(): boolean
  summary(): StreamSummary
}

export function createStreamWatch(shape: ApiShape): StreamWatch {
  const scanner = createSseScanner()
  let usage: Usage | null = null
  let error: WireError | null = null
  let finished = false
  let identity: StreamIdentity = {}
  let events = 0

  const read = (block: SseBlock): EventReading | null => {
    const event = parseSseEvent(block.bytes)
    if (event === null) return null
    const reading = shape.readEvent(event)
    usage = mergeUsage(usage, reading.usage)
    error = reading.error ?? error
    finished ||= reading.finished || reading.done
    if (identity.id === undefined) identity = reading
    return reading
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
    tail: () => scanner.tail(),
    atBoundary: () => scanner.atBoundary(),
    summary: () => ({ usage, error, finished, identity, events }),
  }
}
