import type { Usage } from '../../balancing/settlement.ts'
import { joinPieces } from '../../openrouter/pieces.ts'
import { spanAt } from '../../openrouter/requests/json-walk.ts'
import { readUsage } from '../../openrouter/usage.ts'
import { parseJson } from './body.ts'

/** Usage comes after the content, and takes less than a kilobyte. */
const TAIL_BYTES = 16 * 1024

/** Within a string of JSON each quote has a backslash before it, so this is a field's name. */
const FIELD = '"usage"'

/** The end of an answer that passes through unparsed. */
export interface UsageTail {
  push(chunk: Uint8Array): void
  /** The usage that the end tells, or null. */
  usage(): Usage | null
}

export function createUsageTail(): UsageTail {
  let chunks: Uint8Array[] = []
  let bytes = 0
  const cut = () => {
    // A copy: the chunk itself may be much larger than the part that stays.
    const end = joinPieces(chunks).slice(-TAIL_BYTES)
    chunks = [end]
    bytes = end.length
    return end
  }

  return {
    push(chunk) {
      const end = chunk.subarray(-TAIL_BYTES)
      chunks.push(end.slice())
      bytes += end.length
      if (bytes > 4 * TAIL_BYTES) cut()
    },
    usage() {
      const end = cut()
      // In Latin-1 each byte is one character, so that a place in the text is one in the bytes.
      const at = new TextDecoder('latin1').decode(end).lastIndexOf(FIELD)
      const span = at === -1 ? null : spanAt(end, at + FIELD.length)
      return span === null ? null : readUsage(parseJson(end.subarray(span.start, span.end)))
    },
  }
}
