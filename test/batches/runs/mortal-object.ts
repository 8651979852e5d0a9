import type { BatchProgress } from '../../../src/balancing/batches/batch-progress.ts'
import { Batch } from '../../../src/batches/progress/batch-object.ts'
import type { RangeMessage } from '../../../src/batches/progress/range-message.ts'
import type { createBucket } from './bucket-in-memory.ts'
import { type Dies, never } from './death-point.ts'

/** What a batch's object finds outside of itself. */
export interface Outside {
  readonly queue: RangeMessage[]
  readonly deadLetters: unknown[]
  readonly bucket: ReturnType<typeof createBucket>
  /** The ids of the files that were put on the client's list, by their names. */
  readonly kept: Map<string, string>
  /** What the list was told: whether the batch is over. */
  readonly over: boolean[]
  /** The news that the pool was told. */
  readonly alerts: string[]
  /** What the pool was told for operators. */
  readonly told: (BatchProgress & { readonly hasEnded: boolean })[]
}

/** The shipped object of a batch, over the platform's storage. It may die at each call that it makes. */
export class MortalObject {
  deaths = 0
  readonly #state: DurableObjectState
  readonly #outside: Outside
  readonly #dies: Dies
  #life = 0
  #object: Batch

  constructor(state: DurableObjectState, outside: Outside, dies: Dies) {
    this.#state = state
    this.#outside = outside
    this.#dies = dies
    this.#object = this.#born()
  }

  get now(): Batch {
    return this.#object
  }

  /** It loses its memory, as after ten seconds without a call. */
  evict(): void {
    this.#object = this.#born()
  }

  /** It dies in the middle of what it does: none of it goes on. */
  die(): void {
    this.deaths += 1
    this.#life += 1
    this.#object = this.#born()
  }

  /** Its alarm, if it is due. */
  async ring(): Promise<void> {
    const atMs = await this.#state.storage.getAlarm()
    if (atMs === null || atMs > Date.now()) return
    await this.#state.storage.deleteAlarm()
    // It may die, and is never heard of again.
    void this.#object.alarm()
  }

  async #call<T>(life: number, at: string, work: () => T | Promise<T>): Promise<T> {
    const diesNow = async (when: 'before' | 'after') => {
      if (life === this.#life && !this.#dies({ at, when, dies: 'object' })) return
      if (life === this.#life) {
        this.die()
        // The platform calls an alarm again that has not ended.
        await this.#state.storage.setAlarm(Date.now())
      }
      await never()
    }
    await diesNow('before')
    const value = await work()
    await diesNow('after')
    return value
  }

  #born(): Batch {
    const life = this.#life
    const call = <T>(at: string, work: () => T | Promise<T>) => this.#call(life, at, work)
    const { queue, deadLetters, bucket, kept, over, told } = this.#outside
    const pool = {
      // It tells operators of an end.
      alerts: ({ kind }: { readonly kind: string }) =>
        call('tell', () => void this.#outside.alerts.push(kind)),
      noteBatch: async (progress: BatchProgress, hasEnded: boolean) =>
        void told.push({ ...progress, hasEnded }),
    }
    const list = {
      keep: ({ id, filename }: { id: string; filename: string }) =>
        call('keep', () => void kept.set(filename, id)),
      addBatch: async () => true,
      setOver: (_: string, isOver: boolean) => call('over', () => void over.push(isOver)),
    }
    const bindings = {
      BATCH_LINES: {
        sendBatch: (messages: readonly { readonly body: RangeMessage }[]) =>
          call('send', () => void queue.push(...messages.map(({ body }) => body))),
      },
      DEAD_LINES: {
        send: (line: unknown) => call('send dead', () => void deadLetters.push(line)),
      },
      FILES: {
        get: (...given: Parameters<R2Bucket['get']>) => call('read', () => bucket.r2.get(...given)),
        put: (...given: Parameters<R2Bucket['put']>) => call('put', () => bucket.r2.put(...given)),
      },
      FILE_LISTS: { getByName: () => list },
      KEY_POOL: { getByName: () => pool },
    }
    return new Batch(this.#state, bindings as never)
  }
}
