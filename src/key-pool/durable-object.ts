import { DurableObject } from 'cloudflare:workers'
import { keyForGeneration } from '../balancing/accounting/generations.ts'
import { type Spending, spendingOf, tallyOf } from '../balancing/accounting/ledger.ts'
import { checkpoint, restore } from '../balancing/checkpoint.ts'
import { type Explanation, explain, type Question } from '../balancing/explanation.ts'
import type { ClientId, KeyId } from '../balancing/ids.ts'
import {
  acquire,
  claim,
  report,
  serveQueue,
  settle,
  takeChanges,
  takeLookupDuties,
  tick,
  wakeAtMs,
} from '../balancing/pool.ts'
import { createPool, type PoolState } from '../balancing/pool-state.ts'
import { type PoolSnapshot, snapshot } from '../balancing/snapshot.ts'
import { poolConfig, readConfig } from '../config/config.ts'
import {
  AWAIT_MS,
  type AwaitReply,
  type AwaitRequest,
  type ExchangeReply,
  type ExchangeRequest,
} from './protocol.ts'
import { createStore, type Store } from './record-store.ts'

/** The most that a crash may cost the counters. */
const CHECKPOINT_MS = 5_000

/** The least between two looks at the queue that nothing but time has caused. */
const MIN_WAKE_MS = 25

/**
 * One pool of keys. In memory is the truth while the object lives; SQLite is what
 * it needs to live again. It decides and remembers; it never calls OpenRouter, so
 * nothing can come between two lines of it.
 */
export class KeyPool extends DurableObject<Env> {
  readonly #store: Store
  #pool: PoolState | null = null
  #checkpointTimer: ReturnType<typeof setTimeout> | null = null
  /** Those who are held until their request is decided. */
  readonly #held = new Map<AwaitRequest, () => void>()
  #wakeTimer: ReturnType<typeof setTimeout> | null = null

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
   * that one of them frees may serve one of those who wait, and then one of the wants.
   */
  exchange(request: ExchangeRequest): ExchangeReply {
    const pool = this.#open()
    const nowMs = Date.now()
    for (const settlement of request.settlements) settle(pool, settlement, nowMs, Math.random)
    for (const lookup of request.lookups) report(pool, lookup, nowMs)
    const decisions = request.wants.map((want) => acquire(pool, want, nowMs, Math.random))
    const lookups = takeLookupDuties(pool, nowMs)
    this.#serve(pool, nowMs)
    this.#write(pool)
    return { version: 1, decisions, lookups }
  }

  /** Answers as soon as a request that waits is decided. See `AwaitReply`. */
  async whenDecided(leaseId: AwaitRequest): Promise<AwaitReply> {
    const pool = this.#open()
    this.#serve(pool, Date.now())
    const early = claim(pool, leaseId, Date.now())
    if (early?.kind === 'waiting') await this.#hold(leaseId)
    const decision = early?.kind === 'waiting' ? claim(pool, leaseId, Date.now()) : early
    this.#write(pool)
    return { version: 1, decision }
  }

  /** What would be chosen for a request, and why nothing else. Changes nothing. */
  explain(question: Question): Explanation {
    const pool = this.#open()
    const nowMs = Date.now()
    tick(pool, nowMs)
    return explain(pool, question, nowMs, Math.random)
  }

  /** What a client has spent. */
  spending(clientId: ClientId): Spending {
    const pool = this.#open()
    const nowMs = Date.now()
    return spendingOf(tallyOf(pool.ledger.byClient, clientId, nowMs), nowMs)
  }

  /** A key that can ask OpenRouter about one of a client's answers; null if none is known to. */
  keyForGeneration(generationId: string, clientId: ClientId): KeyId | null {
    return keyForGeneration(this.#open(), generationId, clientId, Date.now())
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

  async #hold(leaseId: AwaitRequest): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(release, AWAIT_MS)
      function release() {
        clearTimeout(timer)
        resolve()
      }
      this.#held.set(leaseId, release)
    })
    this.#held.delete(leaseId)
  }

  /** Gives what is free to those who wait, tells them, and sees to it that time does the same. */
  #serve(pool: PoolState, nowMs: number): void {
    tick(pool, nowMs)
    serveQueue(pool, nowMs, Math.random)
    for (const [leaseId, release] of this.#held) {
      const waiter = pool.queue.get(leaseId)
      if (waiter === undefined || nowMs >= waiter.deadlineMs) release()
    }
    if (this.#wakeTimer !== null) clearTimeout(this.#wakeTimer)
    const atMs = wakeAtMs(pool)
    this.#wakeTimer =
      atMs === null
        ? null
        : setTimeout(() => this.#serve(pool, Date.now()), Math.max(MIN_WAKE_MS, atMs - nowMs))
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
