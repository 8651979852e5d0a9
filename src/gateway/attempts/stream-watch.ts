import type { Usage } from '../../balancing/settlement.ts'
import type { WireError } from '../../openrouter/failures/upstream-failure.ts'
import type { ApiShape, EventReading, StreamIdentity } from '../../openrouter/shapes/api-shape.ts'
import { createSseScanner, parseSseEvent, type SseBlock } from '../../openrouter/sse.ts'
import { mergeUsage } from '../../openrouter/usage.ts'

/** A block of the stream, with what it says if it was read. */
export interface WatchedBlock {
  readonly block: SseBlock
  readonly reading: EventReading | null
}

/** What a stream has said so far. */
export interface StreamSummary {
  readonly usage: Usage | null
  readonly error: WireError | null
  /** It said that its answer is whole. */
  readonly finished: boolean
  readonly identity: StreamIdentity
  /** Events passed: about as many as tokens, where nothing better is known. */
  readonly events: number
}

/**
 * Watches a stream in passing. Until the commit every event is read (`look`);
 * after it only those that may hold usage, an error or an end (`glance`), since
 * reading every token's JSON would be most of the gateway's work.
 */
export interface StreamWatch {
  look(chunk: Uint8Array): readonly WatchedBlock[]
  glance(chunk: Uint8Array): void
  /** Bytes of the block that has begun and not ended. */
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
