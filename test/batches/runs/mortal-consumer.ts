import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import type { Batch } from '../../../src/batches/progress/batch-object.ts'
import type { RangeMessage } from '../../../src/batches/progress/range-message.ts'
import { consumeRanges } from '../../../src/batches/runs/consumer.ts'
import type { Ports } from '../../../src/gateway/ports.ts'
import type { VirtualTime } from '../../gateway/virtual-time.ts'
import { type Dies, never } from './death-point.ts'
import type { MortalObject } from './mortal-object.ts'

export interface ConsumerWorld {
  readonly time: VirtualTime
  readonly object: MortalObject
  readonly dies: Dies
  /** Whether the request of a line ends its Worker. */
  readonly isPoison: (body: string) => boolean
  readonly fetch: Ports['fetch']
  readonly r2: R2Bucket
  /** The other bindings. */
  readonly bindings: Readonly<Record<string, unknown>>
  /** Puts a message back. */
  readonly again: (message: RangeMessage) => void
}

let lives = 0

/** One invocation of the shipped consumer, in an isolate of its own. It may die at any moment. */
export class MortalConsumer {
  outcome: 'acked' | 'retried' | null = null
  isDead = false
  readonly #world: ConsumerWorld

  constructor(world: ConsumerWorld, message: RangeMessage) {
    this.#world = world
    void consumeRanges(
      { messages: [this.#given(message)] } as never,
      this.#bindings() as never,
      createExecutionContext(),
      this.#ports(),
    )
  }

  /** Whether nothing more comes from it. */
  get isOver(): boolean {
    return this.isDead || this.outcome !== null
  }

  kill(): void {
    this.isDead = true
  }

  #given(body: RangeMessage) {
    return {
      body,
      ack: () => {
        this.outcome = 'acked'
      },
      retry: ({ delaySeconds }: { readonly delaySeconds: number }) => {
        this.outcome = 'retried'
        this.#world.time.objectTimer(delaySeconds * 1000, () => this.#world.again(body))
      },
    }
  }

  async #alive<T>(work: () => T | Promise<T>): Promise<T> {
    if (this.isDead) return await never()
    const value = await work()
    return this.isDead ? await never() : value
  }

  /** A call to the batch's object. Either side may not live to see it answered. */
  async #ask<T>(at: string, work: (batch: Batch) => T): Promise<T> {
    if (this.isDead) return await never()
    await this.#pass(at, 'before')
    const value = work(this.#world.object.now)
    await this.#pass(at, 'after')
    return value
  }

  async #pass(at: string, when: 'before' | 'after'): Promise<void> {
    const { dies, object } = this.#world
    if (dies({ at, when, dies: 'consumer' })) this.kill()
    if (this.isDead) return await never()
    if (!dies({ at, when, dies: 'object' })) return
    object.die()
    throw new Error('The object was reset')
  }

  #ports(): Ports {
    const { time, fetch } = this.#world
    lives += 1
    const life = lives
    let names = 0
    return {
      fetch: (url, init) => {
        const { body } = init
        const text = body instanceof Uint8Array ? new TextDecoder().decode(body) : ''
        if (this.#world.isPoison(text)) this.kill()
        return this.#alive(() => fetch(url, init))
      },
      nowMs: time.nowMs,
      random: () => 0.5,
      timer: (ms, callback) => time.timer(ms, () => (this.isDead ? undefined : callback())),
      uniqueId: () => {
        names += 1
        return `${life}-${names}`
      },
    }
  }

  #bindings() {
    const { bindings, r2 } = this.#world
    const stub = {
      claim: (...given: Parameters<Batch['claim']>) =>
        this.#ask('claim', (batch) => batch.claim(...given)),
      renew: (...given: Parameters<Batch['renew']>) =>
        this.#ask('renew', (batch) => batch.renew(...given)),
      record: (...given: Parameters<Batch['record']>) =>
        this.#ask('record', (batch) => batch.record(...given)),
      giveBack: (...given: Parameters<Batch['giveBack']>) =>
        this.#ask('give back', (batch) => batch.giveBack(...given)),
    }
    return {
      ...env,
      ...bindings,
      BATCHES: { getByName: () => stub },
      FILES: {
        get: (...given: Parameters<R2Bucket['get']>) => this.#alive(() => r2.get(...given)),
      },
      ...{ FILE_LISTS: {}, BATCH_LINES: {}, DEAD_LINES: {} },
    }
  }
}
