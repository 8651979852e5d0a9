/** What the bucket takes, and what the bucket has of memory for it. */
export interface FilePort {
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Begins a file of several parts. Nothing of it can be read before `complete`. */
  begin(key: string): Promise<PartUpload>
}

export interface PartUpload {
  part(number: number, bytes: Uint8Array): Promise<void>
  complete(): Promise<void>
  abort(): Promise<void>
}

/** The smallest that the bucket takes. All parts but the last must have one size. */
export const PART_BYTES = 5 * 1024 * 1024
const FIRST_BYTES = 64 * 1024

/**
 * Writes a file of any size in parts of one size, and holds one part. A file that is smaller than a
 * part is put at once, which costs a third.
 *
 * What is written can be read only after `end`: a Worker that dies before leaves no file.
 */
export class PartWriter {
  readonly #port: FilePort
  readonly #key: string
  readonly #partBytes: number
  #part: Uint8Array<ArrayBuffer>
  #filled = 0
  #number = 0
  #upload: PartUpload | null = null
  #bytes = 0

  constructor(port: FilePort, key: string, partBytes = PART_BYTES) {
    this.#port = port
    this.#key = key
    this.#partBytes = partBytes
    this.#part = new Uint8Array(Math.min(FIRST_BYTES, partBytes))
  }

  /** How many bytes were written. */
  get bytes(): number {
    return this.#bytes
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#bytes += bytes.length
    for (let at = 0; at < bytes.length; ) {
      const taken = Math.min(bytes.length - at, this.#partBytes - this.#filled)
      this.#makeRoom(this.#filled + taken)
      this.#part.set(bytes.subarray(at, at + taken), this.#filled)
      this.#filled += taken
      at += taken
      if (this.#filled === this.#partBytes) await this.#flush()
    }
  }

  async end(): Promise<void> {
    if (this.#upload === null) {
      return await this.#port.put(this.#key, this.#part.subarray(0, this.#filled))
    }
    if (this.#filled > 0) await this.#flush()
    await this.#upload.complete()
  }

  /** Gives up what was written. Safe to call at any time before `end`. */
  async abandon(): Promise<void> {
    await this.#upload?.abort()
  }

  async #flush(): Promise<void> {
    this.#upload ??= await this.#port.begin(this.#key)
    this.#number += 1
    await this.#upload.part(this.#number, this.#part.subarray(0, this.#filled))
    this.#filled = 0
  }

  #makeRoom(bytes: number): void {
    if (bytes <= this.#part.length) return
    const length = Math.min(this.#partBytes, Math.max(bytes, this.#part.length * 2))
    const larger = new Uint8Array(length)
    larger.set(this.#part.subarray(0, this.#filled))
    this.#part = larger
  }
}
