import { createSseScanner, parseSseEvent, type SseBlock } from '../openrouter/sse.ts'

/** A place in a durable answer: after so many events. */
export interface EventPlace {
  readonly answerId: string
  readonly events: number
}

/** No answer's id has a dot: it is that of a request. */
const EVENT_ID = /^([\w=-]{1,255})\.(\d{1,9})$/

/** Reads the `Last-Event-ID` of a client; null if it is none of the gateway's. */
export function readEventId(value: string | null): EventPlace | null {
  const [, answerId, events] = EVENT_ID.exec(value?.trim() ?? '') ?? []
  if (answerId === undefined || events === undefined) return null
  return { answerId, events: Number(events) }
}

/** Writes the number of each event into a stream, before the event's own lines. */
export interface EventNumbering {
  /** The next bytes that go out. An event goes out when it is complete. */
  push(chunk: Uint8Array): Uint8Array[]
  /** What the stream ended with. Its last event may lack its blank line. */
  end(): Uint8Array[]
}

/** @param passed how many events the stream has had before */
export function createEventNumbering(answerId: string, passed = 0): EventNumbering {
  const scanner = createSseScanner()
  const encoder = new TextEncoder()
  let events = passed
  const numbered = ({ kind, bytes }: SseBlock): Uint8Array[] => {
    if (kind !== 'event') return [bytes]
    events += 1
    return [encoder.encode(`id: ${answerId}.${events}\n`), bytes]
  }
  return {
    push: (chunk) => scanner.push(chunk).flatMap(numbered),
    end() {
      const bytes = scanner.tail()
      if (bytes.length === 0) return []
      return numbered({ kind: parseSseEvent(bytes) === null ? 'comment' : 'event', bytes })
    },
  }
}

/** How many events the bytes of a stream hold that ends between two. */
export function countEvents(bytes: Uint8Array): number {
  return createSseScanner()
    .push(bytes)
    .filter(({ kind }) => kind === 'event').length
}

/** Where the events after some others begin in the bytes of a numbered stream. */
export function offsetAfter(bytes: Uint8Array, events: number): number {
  const scanner = createSseScanner()
  let offset = 0
  let passed = 0
  // In small steps, so that only what comes before the place is looked at.
  for (let at = 0; at < bytes.length && passed < events; at += STEP_BYTES) {
    for (const block of scanner.push(bytes.subarray(at, at + STEP_BYTES))) {
      if (passed === events) break
      offset += block.bytes.length
      if (block.kind === 'event') passed += 1
    }
  }
  return passed < events ? bytes.length : offset
}

const STEP_BYTES = 64 * 1024
