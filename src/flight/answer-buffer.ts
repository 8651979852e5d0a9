/** Memory of an answer that comes in small pieces: the first part of it, and then twice as much each time. */
const FIRST_BYTES = 4 * 1024
const SEGMENT_BYTES = 64 * 1024

interface Segment {
  readonly start: number
  readonly memory: Uint8Array
  used: number
}

/** How an answer has ended: `broken` is one that its reader must not take for whole. */
export type BufferEnd = 'complete' | 'broken'

/**
 * The bytes of one answer, for any number of readers. Each reads at its own offset; what it gets is a
 * view of the one memory, and no copy. Bytes are only ever added behind the views that are out.
 */
export class AnswerBuffer {
  readonly #segments: Segment[] = []
  #length = 0
  #end: BufferEnd | null = null
  readonly #waiting = new Set<() => void>()

  /** How many bytes have come. */
  get length(): number {
    return this.#length
  }

  /** The offset of the first byte that is still there. */
  get start(): number {
    return this.#segments[0]?.start ?? this.#length
  }

  /** Null while more may come. */
  get end(): BufferEnd | null {
    return this.#end
  }

  append(bytes: Uint8Array): void {
    let rest = bytes
    while (rest.length > 0) {
      const last = this.#segments.at(-1)
      const room = last === undefined ? 0 : last.memory.length - last.used
      if (last === undefined || room === 0) {
        this.#open(rest.length)
        continue
      }
      const part = rest.subarray(0, room)
      last.memory.set(part, last.used)
      last.used += part.length
      this.#length += part.length
      rest = rest.subarray(part.length)
    }
    this.#wake()
  }

  close(end: BufferEnd): void {
    this.#end ??= end
    this.#wake()
  }

  /** What lies from an offset on, in one piece; empty if nothing has come there yet. */
  viewFrom(offset: number): Uint8Array {
    // Most readers are at the end.
    const segment = this.#segments.findLast(({ start }) => start <= offset)
    if (segment === undefined) throw new Error('Bug: these bytes have been dropped')
    return segment.memory.subarray(offset - segment.start, segment.used)
  }

  /** Resolves when something has come, or the end. */
  more(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve))
  }

  /** Lets go what lies before an offset, as far as whole pieces of memory do. */
  dropBefore(offset: number): void {
    const first = this.#segments.findIndex(({ start, used }) => start + used > offset)
    this.#segments.splice(0, first === -1 ? Math.max(0, this.#segments.length - 1) : first)
  }

  /** Everything, in one new piece. */
  whole(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#length)
    for (const { start, memory, used } of this.#segments) {
      bytes.set(memory.subarray(0, used), start)
    }
    return bytes
  }

  #open(wanted: number): void {
    const last = this.#segments.at(-1)
    const usual = last === undefined ? FIRST_BYTES : Math.min(SEGMENT_BYTES, 2 * last.memory.length)
    const memory = new Uint8Array(Math.max(usual, wanted))
    this.#segments.push({ start: this.#length, memory, used: 0 })
  }

  #wake(): void {
    const woken = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of woken) wake()
  }
}

/** A buffer with all the bytes of an answer that has ended. */
export function bufferOf(bytes: Uint8Array): AnswerBuffer {
  const buffer = new AnswerBuffer()
  buffer.append(bytes)
  buffer.close('complete')
  return buffer
}
