import { DurableObject } from 'cloudflare:workers'
import { acquire, observe, settle, takeChanges, takeLookups, tick } from '../balancing/pool.ts'
import { createPool, type PoolState } from '../balancing/pool-state.ts'
import { checkpoint, restore } from '../balancing/records.ts'
import { type PoolSnapshot, snapshot } from '../balancing/snapshot.ts'
import { poolConfig, readConfig } from '../config/config.ts'
import type { ExchangeReply, ExchangeRequest } from './protocol.ts'
import { createStore, type Store } from './store.ts'

/** The most that a crash may cost the counters. */
const CHECKPOINT_MS = 5_000

/**
 * One pool of keys. In memory is the truth while the object lives; SQLite is what
 * it needs to live again. It decides and remembers; it never calls OpenRouter, so
 * nothing can come between two lines of it.
 */
export class KeyPool extends DurableObject<Env> {
  readonly #store: Store
  #pool: PoolState | null = null
  #checkpointTimer: ReturnType<typeof setTimeout> | null = null

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env)
    this.#store = createStore(ctx.storage)
    // Only hashing and its own storage are waited for here, no other object or service.
    void ctx.blockConcurrencyWhile(async () => {
      const result = await readConfig({ ...env })
      if (!result.ok) return
      const nowMs = Date.now()
      const pool = createPool(poolConfig(result.config), nowMs)
      restore(pool, await this.#store.load(), nowMs)
      this.#pool = pool
    })
  }

  /**
   * Takes reports and wants, answers with decisions. Settlements go first: a key
   * that one of them frees may serve one of the wants.
   */
  exchange(request: ExchangeRequest): ExchangeReply {
    const pool = this.#open()
    const nowMs = Date.now()
    for (const settlement of request.settlements) settle(pool, settlement, nowMs, Math.random)
    for (const lookup of request.lookups) observe(pool, lookup, nowMs)
    const decisions = request.wants.map((want) => acquire(pool, want, nowMs, Math.random))
    const lookups = takeLookups(pool, nowMs)
    this.#write(pool)
    return { version: 1, decisions, lookups }
  }

  /** The pool as an operator sees it. */
  snapshot(): PoolSnapshot {
    const pool = this.#open()
    const nowMs = Date.now()
    tick(pool, nowMs)
    return snapshot(pool, nowMs)
  }

  /** A Worker with the same faulty configuration answers by itself and never asks. */
  #open(): PoolState {
    if (this.#pool === null) throw new Error('The pool has no valid configuration')
    return this.#pool
  }

  /**
   * Transitions of breakers and benches are written before the answer leaves
   * (the output gate holds it back until they are durable). Counters change with
   * every request; a row for each would cost more than everything else together,
   * so they wait for the next checkpoint.
   */
  #write(pool: PoolState): void {
    this.#store.save(takeChanges(pool))
    if (this.#checkpointTimer !== null) return
    this.#store.outdate()
    // The timer also keeps the object in memory until the checkpoint is written.
    this.#checkpointTimer = setTimeout(() => {
      this.#checkpointTimer = null
      this.#store.saveCheckpoint(checkpoint(pool))
      // Nothing else is left to do, and an object that is evicted before the rows are on disk
      // takes them with it.
      this.ctx.waitUntil(this.ctx.storage.sync())
    }, CHECKPOINT_MS)
  }
}
