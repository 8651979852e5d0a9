import { joinPieces } from './pieces.ts'

/**
 * Leaves the end mark (`data: [DONE]`) out of a stream of events. OpenRouter sends one at the end of
 * a stream of /messages. Anthropic's API has none, and Anthropic's own SDK throws on it.
 *
 * Only a mark at the very end is left out, so the filter keeps what may be a mark until it knows what
 * follows. These are some forty bytes at most, of an event that may not have ended. All other bytes
 * pass as they came, in the chunks in which they came.
 */
export interface EndMarkFilter {
  /** Takes the next bytes of the stream and returns those that may pass, in order. */
  push(chunk: Uint8Array): readonly Uint8Array[]
  /** The stream has ended: returns the kept bytes, unless they are the mark. */
  end(): readonly Uint8Array[]
}

/** A mark is a block of its own, with this event name or with none. */
const MARKS = ['', 'event: data\n', 'event:data\n'].flatMap((name) => [
  `${name}data: [DONE]`,
  `${name}data:[DONE]`,
])

/** Line ends may follow the mark: one that ends its line, and some that are blank lines. */
const LAST_LINE_ENDS = /\n{1,4}$/

/** No mark with its line ends has more bytes than this. */
const WINDOW_BYTES = 40

/** A CR LF, and the line end before it. */
const CONTEXT_BYTES = 3

const LF = 0x0a
const CR = 0x0d

const decoder = new TextDecoder()

export function createEndMarkFilter(): EndMarkFilter {
  /** The bytes that are kept: a mark, or the beginning of one. */
  let kept: Uint8Array = new Uint8Array(0)
  /** The last bytes before the kept ones. A stream begins as if after a blank line. */
  let before: Uint8Array = Uint8Array.of(LF, LF)

  /** How many bytes at the end of all that came, with `chunk` as the latest, may be a mark. */
  const candidateLength = (chunk: Uint8Array): number => {
    const isLong = chunk.length >= WINDOW_BYTES + CONTEXT_BYTES
    const recent = isLong ? chunk : joinPieces([before, kept, chunk])
    const first = isLong ? CONTEXT_BYTES : before.length
    for (let at = Math.max(first, recent.length - WINDOW_BYTES); at < recent.length; at += 1) {
      if (beginsBlock(recent, at) && mayBeMark(recent.subarray(at))) return recent.length - at
    }
    return 0
  }

  const push = (chunk: Uint8Array): readonly Uint8Array[] => {
    const length = candidateLength(chunk)
    if (length === 0 && kept.length === 0) {
      before = lastBytes(before, chunk)
      return [chunk]
    }
    // Of the kept bytes and of the chunk, what comes before the candidate passes.
    const all = [kept, chunk].map((part, i) => {
      const left = i === 0 ? Math.max(0, length - chunk.length) : Math.min(length, chunk.length)
      return { passed: part.subarray(0, part.length - left), left: part.slice(part.length - left) }
    })
    const passed = all.map((part) => part.passed).filter((part) => part.length > 0)
    kept = joinPieces(all.map(({ left }) => left))
    before = lastBytes(before, ...passed)
    return passed
  }

  return {
    push,
    end: () => (kept.length === 0 || isMark(textOf(kept)) ? [] : [kept]),
  }
}

/** Whether a block of the stream begins at `at`: before it is a blank line. */
function beginsBlock(bytes: Uint8Array, at: number): boolean {
  const isLineEnd = (byte: number | undefined) => byte === LF || byte === CR
  const last = bytes[at - 1]
  if (!isLineEnd(last) || isLineEnd(bytes[at])) return false
  const isCrLf = last === LF && bytes[at - 2] === CR
  return isLineEnd(bytes[isCrLf ? at - 3 : at - 2])
}

function mayBeMark(bytes: Uint8Array): boolean {
  const text = textOf(bytes)
  return isMark(text) || MARKS.some((mark) => mark.startsWith(text))
}

function isMark(text: string): boolean {
  return MARKS.includes(text.replace(LAST_LINE_ENDS, ''))
}

/** The bytes as text, with LF as the only line end. */
function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes).replaceAll(/\r\n?/g, '\n')
}

function lastBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const ends = parts.map((part) => part.subarray(-CONTEXT_BYTES))
  return joinPieces(ends).slice(-CONTEXT_BYTES)
}
