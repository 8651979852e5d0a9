import { DurableObject } from 'cloudflare:workers'
import { keyForGeneration } from '../balancing/accounting/generations.ts'
import { type Spending, spendingOf, tallyOf } from '../balancing/accounting/ledger.ts'
import { checkpoint, forgottenKeys, restore } from '../balancing/checkpoint.ts'
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
import { createPool, type PoolState, renewSpends } from '../balancing/pool-state.ts'
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

/** A crash loses at most what was counted in this time. */
const CHECKPOINT_MS = 5_000

/** The shortest pause between two timed checks of the queue. */
const MIN_WAKE_MS = 25

/**
 * One pool of keys. While the object lives, its memory holds the truth. SQLite holds what the
 * object needs after a restart. The object never calls OpenRouter, and no decision waits for
 * anything, so no other call can change the pool in the middle of a decision.
 */
export class KeyPool extends DurableObject<Env> {
  readonly #store: Store
  #pool: PoolState | null = null
  #checkpointTimer: ReturnType<typeof setTimeout> | null = null
  /** Whether something has happened since the last checkpoint. */
  #isOutdated = false
  /** Calls of `whenDecided` that are held until their request is decided: how to release each. */
  readonly #held = new Map<AwaitRequest, () => void>()
  #wakeTimer: ReturnType<typeof setTimeout> | null = null

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env)
    this.#store = createStore(ctx.storage)
    // This waits only for hashing and for the object's own storage, not for any other service.
    void ctx.blockConcurrencyWhile(async () => {
      const result = await readConfig({ ...env })
      if (!result.ok) return
      const nowMs = Date.now()
      const pool = createPool(poolConfig(result.config), nowMs)
      const records = await this.#store.load()
      restore(pool, records, nowMs)
      this.#store.forget(forgottenKeys(pool, records, nowMs))
      this.#pool = pool
    })
  }

  /**
   * Takes settlements, key reports and lease requests, and returns decisions. Settlements go first:
   * a key that they free serves the waiters first, and then the new lease requests.
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

  /** Which key would be chosen for a request, and why no other key. Grants nothing. */
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

  /** A key that can ask OpenRouter about one of a client's answers; null if none is known. */
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

  /** Throws without a valid configuration. A Worker with the same faults never calls the object. */
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

  /**
   * Gives free keys to waiters, releases the held calls that are decided or out of time, and sets a
   * timer for the next moment at which time alone can free a key or end a wait.
   */
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
   * Changes of breakers and benches are written at once. The output gate holds the answer back
   * until they are durable. Counters change with every request. A row for each change would cost
   * more than everything else together, so counters wait for the next checkpoint.
   */
  #write(pool: PoolState): void {
    this.#store.save(takeChanges(pool))
    if (!this.#isOutdated) this.#store.outdate()
    this.#isOutdated = true
    if (this.#checkpointTimer === null) this.#checkpointLater(pool)
  }

  #checkpointLater(pool: PoolState): void {
    // The timer also keeps the object in memory until the checkpoint is written.
    this.#checkpointTimer = setTimeout(() => {
      this.#checkpointTimer = null
      const isSurplusLeft = renewSpends(pool)
      this.#store.save(takeChanges(pool))
      if (this.#isOutdated) this.#store.saveCheckpoint(checkpoint(pool, Date.now()))
      this.#isOutdated = false
      // A surplus is taken back when its key is at rest: then this timer fires once more.
      if (isSurplusLeft) this.#checkpointLater(pool)
      // The object may be evicted now. Rows that are not on disk by then would be lost.
      this.ctx.waitUntil(this.ctx.storage.sync())
    }, CHECKPOINT_MS)
  }
}
