import { joinPieces } from '../../openrouter/pieces.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import { createSseScanner, parseSseEvent } from '../../openrouter/sse.ts'
import type { SecretRedaction } from '../answers/secret-redaction.ts'
import type { ByteFilter } from './upstream-call.ts'

const LF = 0x0a
const NOTHING = new Uint8Array(0)

/** An error event says in its first bytes what it is, in every shape. */
const ERROR_MARK = /error|failed/

const decoder = new TextDecoder('windows-1252')

/**
 * Keeps the pool's secrets out of the error events of a stream, at whatever place chunks cut them.
 * All other bytes pass as they are, and in their chunks. Of an event that has not ended the end is
 * held back, from the place where a secret may begin: without it no client can read the event anyway.
 */
export function redactErrorEvents(shape: ApiShape, redaction: SecretRedaction): ByteFilter {
  const scanner = createSseScanner()
  /** How many bytes of the event that has begun are out. */
  let sent = 0
  let isHeld = false
  let isMarked = false

  const redacted = (block: Uint8Array): Uint8Array => {
    if (!redaction.isSuspect(block)) return block
    const event = parseSseEvent(block)
    const isError = event !== null && shape.readEvent(event).error !== null
    return isError ? redaction.bytes(block) : block
  }
  const release = (block: Uint8Array): Uint8Array => {
    const rest = redacted(block).subarray(sent)
    sent = 0
    isHeld = false
    isMarked = false
    return rest
  }
  /** Passes on what of an event's next bytes can't belong to a secret. */
  const pass = (tail: Uint8Array): Uint8Array => {
    if (isHeld) return NOTHING
    // A mark, or a word, may be cut: some bytes before are looked at again.
    const from = Math.max(0, sent - MARK_BYTES)
    const recent = tail.subarray(from)
    isMarked ||= ERROR_MARK.test(decoder.decode(recent))
    const until = Math.max(sent, from + redaction.firstSuspect(recent, isMarked))
    const safe = tail.slice(sent, until)
    isHeld = redaction.isSuspect(recent)
    sent = until
    return safe
  }
  return {
    push(chunk) {
      // Nearly every chunk: whole events, and nothing like a secret in them.
      if (scanner.atBoundary() && endsEvent(chunk) && !redaction.isSuspect(chunk)) return chunk
      const blocks = scanner.push(chunk)
      const parts = blocks.map(({ bytes }) => release(bytes))
      return joinPieces([...parts, pass(scanner.tail())])
    },
    end() {
      const tail = scanner.tail()
      if (sent >= tail.length) return NOTHING
      const rest = redacted(tail).subarray(sent)
      sent = tail.length
      return rest
    },
  }
}

/** The length of the longest mark, less one. */
const MARK_BYTES = 5

/** Whether a chunk ends with the blank line of an event, as OpenRouter writes it. */
function endsEvent(chunk: Uint8Array): boolean {
  return chunk.at(-1) === LF && chunk.at(-2) === LF
}
