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

/** What one holder has taken. */
interface Part {
  bytes: number
  /** What it has with those beside it. */
  readonly together: { bytes: number }
  /** Null for a request's. */
  readonly life: Life | null
}

/** One life of a Durable Object. */
interface Life {
  readonly name: string
  /** All that are not empty. */
  readonly parts: Set<Part>
}

/** How often it is looked at most which objects have died, in milliseconds. */
const LOOK_MS = 1_000

/** The most that are looked for at once: each costs a call. */
const MAX_LOOKED_FOR = 30

/**
 * Counts the bytes that an isolate holds. All of its requests share the budget, so it only counts:
 * a promise of one request must not be awaited by another.
 *
 * A Durable Object can die in an isolate that lives on. No `finally` runs then, so its parts have its name:
 * what it held is free when it lives again, here or elsewhere. A collected `WeakRef` would not tell its
 * death: the runtime keeps what listens to an abort signal of the dead.
 */
export class ByteBudget {
  readonly #maxBytes: number
  /** Those of objects that hold something, by name. */
  readonly #lives = new Map<string, Life>()
  #heldBytes = 0
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #id: string | null = null

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Tells it from those of other isolates. The platform makes no random id before the first request. */
  get id(): string {
    this.#id ??= crypto.randomUUID()
    return this.#id
  }

  /** What all requests hold now. */
  heldBytes(): number {
    return this.#heldBytes
  }

  /** The part of one holder, which is empty at first. */
  open(): HeldBytes {
    return this.#openFor({ bytes: 0 }, null)
  }

  /** For an object that begins to live. What it held in a life before is free. */
  ofObject(name: string): Pick<ByteBudget, 'open'> {
    this.releaseOf(name)
    const life: Life = { name, parts: new Set() }
    return { open: () => this.#openFor({ bytes: 0 }, life) }
  }

  /** Of an object that does not live here any more. */
  releaseOf(name: string): void {
    for (const part of this.#lives.get(name)?.parts ?? []) this.#release(part)
  }

  /** Objects that hold something, those first that have held it longest. None if it was asked just now. */
  objectsToLookAt(nowMs: number): readonly string[] {
    if (Math.abs(nowMs - this.#lookedAtMs) < LOOK_MS) return []
    this.#lookedAtMs = nowMs
    return [...this.#lives.keys()].slice(0, MAX_LOOKED_FOR)
  }

  #openFor(together: Part['together'], life: Life | null): HeldBytes {
    const part: Part = { bytes: 0, together, life }
    return {
      grow: (bytes) => {
        const others = this.#heldBytes - together.bytes
        const isSmall = part.bytes + bytes <= this.#maxBytes * ALWAYS_PART
        if (!isSmall && others > 0 && this.#heldBytes + bytes > this.#maxBytes) return false
        this.#change(part, bytes)
        if (life !== null) this.#lives.set(life.name, life)
        life?.parts.add(part)
        return true
      },
      release: () => this.#release(part),
      beside: () => this.#openFor(together, life),
    }
  }

  #release(part: Part): void {
    this.#change(part, -part.bytes)
    const { life } = part
    life?.parts.delete(part)
    if (life?.parts.size === 0) this.#lives.delete(life.name)
  }

  #change(part: Part, bytes: number): void {
    part.bytes += bytes
    part.together.bytes += bytes
    this.#heldBytes += bytes
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
