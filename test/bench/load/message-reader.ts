const HEAD_END = Buffer.from('\r\n\r\n')
const LINE_END = Buffer.from('\r\n')
const NOTHING = Buffer.alloc(0)

/** Told of one message after another, as they come. */
export interface MessageListener {
  /** First line and headers. */
  onHead(head: string): void
  onBody(bytes: Buffer): void
  onEnd(): void
}

/**
 * Takes HTTP/1.1 messages apart, requests or answers. Node's own parser does the same with objects
 * for each header and two streams around each body, and costs more than some of what is measured.
 * It knows bodies with a length and in chunks, which is all that a kept connection can carry.
 */
export class MessageReader {
  readonly #listener: MessageListener
  #rest: Buffer = NOTHING
  #state: 'head' | 'length' | 'chunk' | 'size' | 'trailer' = 'head'
  /** Bytes of the body, or of its chunk, that are still to come. */
  #missing = 0

  constructor(listener: MessageListener) {
    this.#listener = listener
  }

  push(bytes: Buffer): void {
    let data = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    this.#rest = NOTHING
    while (data.length > 0) {
      const used = this.#take(data)
      if (used === 0) {
        this.#rest = data
        return
      }
      data = data.subarray(used)
    }
  }

  /** @returns how many bytes were used; 0 if more are needed first */
  #take(data: Buffer): number {
    switch (this.#state) {
      case 'head':
        return this.#takeHead(data)
      case 'length':
      case 'chunk':
        return this.#takeBody(data)
      case 'size':
        return this.#takeSize(data)
      case 'trailer':
        return this.#takeTrailer(data)
    }
  }

  #takeHead(data: Buffer): number {
    const end = data.indexOf(HEAD_END)
    if (end === -1) return 0
    const head = data.toString('latin1', 0, end)
    const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? []
    const isChunked = length === undefined && /\r\ntransfer-encoding: *chunked/i.test(head)
    this.#missing = Number(length ?? 0)
    this.#state = isChunked ? 'size' : 'length'
    this.#listener.onHead(head)
    if (!isChunked && this.#missing === 0) this.#end()
    return end + HEAD_END.length
  }

  #takeBody(data: Buffer): number {
    const used = Math.min(this.#missing, data.length)
    this.#missing -= used
    this.#listener.onBody(used === data.length ? data : data.subarray(0, used))
    if (this.#missing > 0) return used
    if (this.#state === 'length') this.#end()
    else this.#state = 'size'
    return used
  }

  /** A chunk's size, and before it the line's end that closes the chunk before. */
  #takeSize(data: Buffer): number {
    const start = data[0] === LINE_END[0] ? LINE_END.length : 0
    const end = data.indexOf(LINE_END, start)
    if (end === -1) return 0
    this.#missing = Number.parseInt(data.toString('latin1', start, end), 16)
    this.#state = this.#missing === 0 ? 'trailer' : 'chunk'
    return end + LINE_END.length
  }

  #takeTrailer(data: Buffer): number {
    const end = data.indexOf(LINE_END)
    if (end === -1) return 0
    if (end === 0) this.#end()
    return end + LINE_END.length
  }

  #end(): void {
    this.#state = 'head'
    this.#listener.onEnd()
  }
}
