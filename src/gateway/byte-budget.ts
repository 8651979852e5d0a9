/**
 * How many bytes of bodies and answers an isolate holds at most. Production gives it 128 MB, and ends
 * it with all of its requests if it takes more. Measured with workerd: a body that is held costs three
 * times its size, since the runtime holds it too while it comes and while it goes out.
 */
export const ISOLATE_BYTES = 32 * 1024 * 1024

/**
 * Every holder may have this part of the budget: an error in an answer must be read, whatever the
 * others hold. Of 32 MB it is 16 KB.
 */
const ALWAYS_PART = 1 / 2048

/** After this long a client may come again. Bodies are held for seconds. */
export const OVERLOADED_RETRY_MS = 1_000

/**
 * Counts the bytes that an isolate holds. All of its requests share the budget, so it only counts:
 * a promise of one request must not be awaited by another.
 */
export class ByteBudget {
  readonly #maxBytes: number
  #heldBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** What all requests hold now. */
  heldBytes(): number {
    return this.#heldBytes
  }

  /** The part of one holder, which is empty at first. */
  open(): HeldBytes {
    return this.#openFor({ bytes: 0 })
  }

  #openFor(holder: { bytes: number }): HeldBytes {
    let own = 0
    const change = (bytes: number) => {
      own += bytes
      holder.bytes += bytes
      this.#heldBytes += bytes
    }
    return {
      grow: (bytes) => {
        const others = this.#heldBytes - holder.bytes
        const isSmall = own + bytes <= this.#maxBytes * ALWAYS_PART
        if (!isSmall && others > 0 && this.#heldBytes + bytes > this.#maxBytes) return false
        change(bytes)
        return true
      },
      release: () => change(-own),
      beside: () => this.#openFor(holder),
    }
  }
}

/** What one holder has of the budget. */
export interface HeldBytes {
  /**
   * Takes more of the budget.
   * @returns false, and takes nothing, if that is more than there is. Who is the only holder gets
   *   all that he wants: otherwise a body that is larger than the budget could never be served.
   */
  grow(bytes: number): boolean
  /** Gives all back. Safe to call twice. */
  release(): void
  /**
   * Another part of the same holder, released by itself: a request's answer beside its body. What one
   * holder has never counts as that of others.
   */
  beside(): HeldBytes
}
