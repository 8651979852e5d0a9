import type { ModelId } from '../balancing/ids.ts'
import type { HeldBytes } from './byte-budget.ts'

/** The body of a request, kept until it is certain that no further attempt needs it. */
export class OutgoingBody {
  #bytes: Uint8Array | null
  #model: ModelId
  readonly #held: HeldBytes
  readonly #withModel: (bytes: Uint8Array, model: ModelId) => Uint8Array

  /**
   * @param asked the model that the body names as it came
   * @param held what the body has of the isolate's budget
   * @param withModel replaces the model name, and keeps every other byte
   */
  constructor(
    bytes: Uint8Array,
    asked: ModelId,
    held: HeldBytes,
    withModel: (bytes: Uint8Array, model: ModelId) => Uint8Array,
  ) {
    this.#bytes = bytes
    this.#model = asked
    this.#held = held
    this.#withModel = withModel
  }

  /**
   * The body as it came, or with another model name. Only the latest form is kept: a request goes on
   * to other models and never back.
   * @throws after `letGo`
   */
  bytesFor(model: ModelId): Uint8Array {
    if (this.#bytes === null) throw new Error('The body has been let go')
    if (model !== this.#model) {
      this.#bytes = this.#withModel(this.#bytes, model)
      this.#model = model
    }
    return this.#bytes
  }

  /** Forgets the bytes and gives their part of the budget back. Safe to call twice. */
  letGo(): void {
    this.#bytes = null
    this.#held.release()
  }
}
