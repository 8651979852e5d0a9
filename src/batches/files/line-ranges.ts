/** Lines that run together: what one message names, and one read of the file brings. */
export interface LineRange {
  /** The number of its first request in the file, from 1. Blank lines do not count. */
  readonly firstRequest: number
  readonly requests: number
  /** Where in the file it begins, in bytes. */
  readonly offset: number
  readonly bytes: number
}

/**
 * The most requests of a range. They run one after another, so in longer ranges a short batch would take
 * long; in shorter ones the messages would cost more than they carry.
 */
export const MAX_RANGE_REQUESTS = 10
export const MAX_RANGE_BYTES = 1024 * 1024

/** Cuts a file into ranges, line by line. */
export class RangeCutter {
  readonly #ranges: LineRange[] = []
  #open: { firstRequest: number; requests: number; offset: number; bytes: number } | null = null
  #offset = 0
  #nextRequest = 1

  /**
   * @param bytes of the line, with its end
   * @param isRequest whether it is not blank
   */
  add(bytes: number, isRequest: boolean): void {
    const open = this.#open
    const isFull =
      open !== null && (open.requests >= MAX_RANGE_REQUESTS || open.bytes + bytes > MAX_RANGE_BYTES)
    if (isFull) this.#close()
    this.#open ??= {
      ...{ firstRequest: this.#nextRequest, requests: 0 },
      ...{ offset: this.#offset, bytes: 0 },
    }
    this.#open.bytes += bytes
    this.#offset += bytes
    if (!isRequest) return
    this.#open.requests += 1
    this.#nextRequest += 1
  }

  end(): readonly LineRange[] {
    this.#close()
    return this.#ranges
  }

  #close(): void {
    if (this.#open !== null && this.#open.requests > 0) this.#ranges.push(this.#open)
    this.#open = null
  }
}
