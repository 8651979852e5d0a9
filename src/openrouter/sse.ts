/**
 * Cuts a stream of server-sent events into blocks without changing a byte.
 *
 * A block ends with a blank line. An `event` has at least one field. A `comment`
 * has only comment lines, or no line at all. The scanner does not collect a block
 * of more than `maxBlockBytes`: it returns the bytes as they arrive, in one or more
 * `oversized` pieces.
 */
export interface SseBlock {
  readonly kind: 'comment' | 'event' | 'oversized'
  readonly bytes: Uint8Array
}

export interface SseScanner {
  /**
   * Takes the next bytes of the stream and returns the blocks that they complete. A block may
   * share memory with the chunk, so the caller must not change the chunk afterwards.
   */
  push(chunk: Uint8Array): SseBlock[]
  /** True between two blocks. Only there can the gateway put its own event into the stream. */
  atBoundary(): boolean
  /** The bytes of the incomplete block that `push` has not returned yet. */
  tail(): Uint8Array
}

export interface SseScannerOptions {
  /** The largest block that is collected, in bytes. The default is 8 MiB. */
  readonly maxBlockBytes?: number
}

/** An image is some megabytes of base64, and the same event reports its cost. */
const DEFAULT_MAX_BLOCK_BYTES = 8 * 1024 * 1024

const LF = 0x0a
const CR = 0x0d
const COLON = 0x3a
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

export function createSseScanner(options: SseScannerOptions = {}): SseScanner {
  const maxBlockBytes = options.maxBlockBytes ?? DEFAULT_MAX_BLOCK_BYTES
  const finder = createBlockFinder()
  const kept = createBuffer()
  let isOversized = false
  let isBoundary = true

  /** Returns a complete block whose last part is `part`. */
  const finish = (part: Uint8Array): SseBlock => {
    const kind = finder.takeKind()
    const oversized = isOversized || kept.length() + part.length > maxBlockBytes
    isOversized = false
    return { kind: oversized ? 'oversized' : kind, bytes: kept.take(part) }
  }

  /** Keeps the start of an incomplete block, or returns it at once if the block is too large. */
  const keep = (part: Uint8Array): SseBlock[] => {
    if (!isOversized && kept.length() + part.length <= maxBlockBytes) {
      kept.add(part)
      return []
    }
    isOversized = true
    return [{ kind: 'oversized', bytes: kept.take(part) }]
  }

  const push = (chunk: Uint8Array): SseBlock[] => {
    if (chunk.length === 0) return []
    const blocks: SseBlock[] = []
    const entry = finder.enter(chunk)
    let start = 0
    if (isBoundary && entry > 0 && chunk[0] === LF) {
      // The LF of a CRLF whose block has been returned already. If the scanner waited for this
      // byte, it would delay every event of a stream that ends its lines with CR alone.
      blocks.push({ kind: 'comment', bytes: chunk.subarray(0, 1) })
      start = 1
    }
    for (let end = finder.next(chunk, entry); end !== -1; end = finder.next(chunk, end)) {
      blocks.push(finish(chunk.subarray(start, end)))
      start = end
    }
    isBoundary = start === chunk.length
    if (!isBoundary) blocks.push(...keep(chunk.subarray(start)))
    return blocks
  }

  return { push, atBoundary: () => isBoundary, tail: kept.peek }
}

/** Finds where blocks end, across chunks, and the kind of each block. */
function createBlockFinder() {
  let markBytes = 0
  let kind: 'comment' | 'event' = 'comment'
  let isLineEmpty = true
  let isAfterCr = false

  const startLine = (firstByte: number | undefined) => {
    if (!isLineEmpty) return
    isLineEmpty = false
    if (firstByte !== COLON) kind = 'event'
  }

  /** A stream may begin with a byte order mark, and chunks may split the mark. */
  const skipMark = (chunk: Uint8Array): number => {
    let at = 0
    while (at < chunk.length && markBytes < BYTE_ORDER_MARK.length) {
      if (chunk[at] !== BYTE_ORDER_MARK[markBytes]) {
        // An incomplete mark is no mark: its bytes begin the name of an unknown field.
        if (markBytes > 0) startLine(BYTE_ORDER_MARK[0])
        markBytes = BYTE_ORDER_MARK.length
        return at
      }
      markBytes += 1
      at += 1
    }
    return at
  }

  /** How many bytes of the chunk come before its first line: a mark, or the LF of a CRLF. */
  const enter = (chunk: Uint8Array): number => {
    if (!isAfterCr) return skipMark(chunk)
    isAfterCr = false
    return chunk[0] === LF ? 1 : 0
  }

  /** The end of the block that contains `from`, or -1 if the block continues after the chunk. */
  const next = (chunk: Uint8Array, from: number): number => {
    let at = from
    while (at < chunk.length) {
      const end = lineEnd(chunk, at)
      if (end > at) startLine(chunk[at])
      if (end === chunk.length) return -1
      at = afterLineEnd(chunk, end)
      isAfterCr = chunk[at - 1] === CR && at === chunk.length
      const isBlank = isLineEmpty
      isLineEmpty = true
      if (isBlank) return at
    }
    return -1
  }

  const takeKind = () => {
    const found = kind
    kind = 'comment'
    return found
  }

  return { enter, next, takeKind }
}

/** The end of the line's bytes: its CR or LF, or the end of the chunk. */
function lineEnd(chunk: Uint8Array, from: number): number {
  let at = from
  while (at < chunk.length && chunk[at] !== LF && chunk[at] !== CR) at += 1
  return at
}

function afterLineEnd(chunk: Uint8Array, end: number): number {
  return chunk[end] === CR && chunk[end + 1] === LF ? end + 2 : end + 1
}

/**
 * The bytes of an incomplete block. The memory doubles when it is full, so joining
 * a block takes linear time even if it arrives in very small pieces.
 */
function createBuffer() {
  const MIN_CAPACITY = 1024
  let memory = new Uint8Array(0)
  let length = 0

  const add = (part: Uint8Array) => {
    const needed = length + part.length
    if (needed > memory.length) {
      const grown = new Uint8Array(Math.max(needed, memory.length * 2, MIN_CAPACITY))
      grown.set(memory.subarray(0, length))
      memory = grown
    }
    memory.set(part, length)
    length = needed
  }

  return {
    add,
    length: () => length,
    /** Returns the kept bytes followed by `part`, and empties the buffer. */
    take: (part: Uint8Array): Uint8Array => {
      if (length === 0) return part
      add(part)
      const bytes = memory.subarray(0, length)
      memory = new Uint8Array(0)
      length = 0
      return bytes
    },
    peek: (): Uint8Array => memory.subarray(0, length),
  }
}

/** One event of a stream, parsed by the rules of the HTML standard. */
export interface SseEvent {
  /** `message` if the stream gives no name. */
  readonly event: string
  /** The lines of data, joined by LF. */
  readonly data: string
}

const decoder = new TextDecoder()

/**
 * Parses the bytes of one block of the scanner, with or without the blank
 * line that ends it. Bytes that are not UTF-8 become U+FFFD. All fields except
 * `event` and `data` are ignored: they control reconnection, which a POST does not do.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 * @returns null for a block without data: comments, or an event that is never dispatched.
 */
export function parseSseEvent(bytes: Uint8Array): SseEvent | null {
  const data: string[] = []
  let event = ''
  for (const line of decoder.decode(bytes).split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(':')
    const name = colon === -1 ? line : line.slice(0, colon)
    if (name === 'data') data.push(valueAfter(line, colon))
    else if (name === 'event') event = valueAfter(line, colon)
  }
  return data.length === 0
    ? null
    : { event: event === '' ? 'message' : event, data: data.join('\n') }
}

/** One space after the colon belongs to the syntax. Further spaces belong to the value. */
function valueAfter(line: string, colon: number): string {
  if (colon === -1) return ''
  return line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
}
