import type { Ask } from '../pool-driver.ts'

/** How long the pool keeps a waiter whose Worker does not ask again. */
const ABANDONED_MS = 5_000

/** A request that the pool answered with `waiting`. */
export interface Waiter {
  readonly lease: string
  readonly request: Ask
  readonly deadlineMs: number
  /** Whether its Worker is gone and never asks again. */
  readonly silent: boolean
  lastPolledAtMs: number
  /** Whether another has taken its place. Its Worker hears so when it next asks. */
  isDisplaced: boolean
}

/** The waiters in order of arrival, by the pool's answers and not by the pool's own queue. */
export class Waiters {
  #all: Waiter[] = []

  all(): readonly Waiter[] {
    return this.#all
  }

  add(waiter: Waiter): void {
    this.#all.push(waiter)
  }

  remove(lease: string): Waiter | undefined {
    const waiter = this.#all.find((other) => other.lease === lease)
    this.#all = this.#all.filter((other) => other.lease !== lease)
    return waiter
  }

  displace(lease: string): void {
    const waiter = this.of(lease)
    if (waiter !== undefined) waiter.isDisplaced = true
  }

  of(lease: string): Waiter | undefined {
    return this.#all.find((waiter) => waiter.lease === lease)
  }

  /** The waiters that must still be served. */
  alive(nowMs: number): readonly Waiter[] {
    return this.#all.filter(
      ({ deadlineMs, lastPolledAtMs, isDisplaced }) =>
        !isDisplaced && nowMs < deadlineMs && nowMs - lastPolledAtMs <= ABANDONED_MS,
    )
  }

  /** Those that must still be served and came before a lease, or all if it did not wait. */
  before(lease: string, nowMs: number): readonly Waiter[] {
    const place = this.#all.findIndex((waiter) => waiter.lease === lease)
    const older = place === -1 ? this.#all : this.#all.slice(0, place)
    const alive = this.alive(nowMs)
    return older.filter((waiter) => alive.includes(waiter))
  }

  /** Whether the pool may have dropped a waiter, because its Worker did not ask again in time. */
  isAbandoned({ lastPolledAtMs }: Waiter, nowMs: number): boolean {
    return nowMs - lastPolledAtMs > ABANDONED_MS
  }
}
