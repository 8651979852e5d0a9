import type { PoolState } from '../balancing/pool-state.ts'
import { hasRecords, takeChanges } from '../balancing/records/changed-records.ts'
import { checkpoint } from '../balancing/records/checkpoint.ts'
import { renewBudgets } from '../balancing/serving/client-charges.ts'
import { bookFound } from '../balancing/serving/generation-booking.ts'
import { renewSpends } from '../balancing/serving/key-charges.ts'
import { type HostPorts, tellOfDrifts } from './host-ports.ts'

/** A crash loses at most what was counted in this time. */
const CHECKPOINT_MS = 5_000
/** A pool is busy if its last checkpoint is no older than this when the next one is due. */
const BUSY_MS = 2 * CHECKPOINT_MS

/** What the host does around a checkpoint. */
export interface CheckpointHost {
  /** Runs a step whose bug must not stop the others. */
  guard(step: () => void): void
  /** Called before each checkpoint. */
  before(nowMs: number): void
  /** What is written with it. What that counts has to be counted before. */
  readonly history: { settle(): void; write(nowMs: number): void }
}

/** Writes what changed in a step, and a checkpoint every few seconds while something happens. */
export class Checkpoints {
  readonly #pool: PoolState
  readonly #ports: HostPorts
  readonly #host: CheckpointHost
  #isDue = false
  /** Whether this life has marked the stored checkpoint as outdated. */
  #isOutdated = false
  #hasChanged = false
  #savedAtMs = Number.NEGATIVE_INFINITY

  constructor(pool: PoolState, ports: HostPorts, host: CheckpointHost) {
    this.#pool = pool
    this.#ports = ports
    this.#host = host
  }

  /**
   * Changes of breakers and benches are written at once. The output gate holds the answer back
   * until they are durable. Counters change with every request. A row for each change would cost
   * more than all else, so counters wait for the next checkpoint.
   * @returns whether more than counters has changed: a row was written, or a budget passed a threshold
   */
  noteChange(): boolean {
    const changed = takeChanges(this.#pool)
    tellOfDrifts(this.#pool, this.#ports)
    this.#ports.store.save(changed)
    this.#hasChanged = true
    // A checkpoint may be due of which the mark knows nothing: the one that takes a surplus back.
    if (!this.#isOutdated) this.#ports.store.outdate()
    this.#isOutdated = true
    if (!this.#isDue) this.#setTimer()
    return hasRecords(changed) || this.#pool.changes.thresholds.length > 0
  }

  /** The timer also keeps the object in memory until the checkpoint is written. */
  #setTimer(): void {
    this.#isDue = true
    this.#ports.timer(CHECKPOINT_MS, () => {
      this.#isDue = false
      this.#host.guard(() => this.#write())
      // One that failed is tried again, or nothing would be written any more.
      if (!this.#isDue && this.#isOutdated) this.#setTimer()
    })
  }

  /**
   * A busy pool goes on to the next checkpoint without taking the mark away that this one is outdated:
   * the next request would only set it again. The first checkpoint after a rest, and the one after the
   * last change, take it away. A pool that is called once a minute thus stays in memory no longer than
   * it has to.
   */
  #write(): void {
    const nowMs = this.#ports.nowMs()
    const { store } = this.#ports
    this.#host.guard(() => bookFound(this.#pool, nowMs))
    this.#host.guard(() => this.#host.before(nowMs))
    this.#host.guard(() => this.#host.history.settle())
    tellOfDrifts(this.#pool, this.#ports)
    const isKeysLeft = renewSpends(this.#pool, nowMs)
    const isSurplusLeft = renewBudgets(this.#pool, nowMs) || isKeysLeft
    store.save(takeChanges(this.#pool))
    const isBusy = this.#hasChanged && nowMs - this.#savedAtMs <= BUSY_MS
    store.saveCheckpoint(checkpoint(this.#pool, nowMs))
    this.#hasChanged = false
    this.#savedAtMs = nowMs
    if (isBusy) {
      this.#setTimer()
    } else {
      store.confirm()
      this.#isOutdated = false
      // A surplus is taken back when its key is at rest: then this timer fires once more.
      if (isSurplusLeft) this.#setTimer()
    }
    this.#host.guard(() => this.#host.history.write(nowMs))
    // The object may be evicted now. Rows that are not on disk by then would be lost.
    this.#ports.sync()
  }
}
