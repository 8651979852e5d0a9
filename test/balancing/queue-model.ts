import type { Ask } from './pool-driver.ts'

/** For how long the pool keeps the place of somebody who does not ask again. */
const ABANDONED_MS = 5_000

/** Somebody who was told to wait. */
export interface Waiter {
  readonly lease: string
  readonly request: Ask
  readonly deadlineMs: number
  /** Its Worker is gone: it never asks again. */
  readonly silent: boolean
  lastPolledAtMs: number
}

/** Those who wait, in the order in which they came, by what they were told and not by the pool's books. */
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

  of(lease: string): Waiter | undefined {
    return this.#all.find((waiter) => waiter.lease === lease)
  }

  /** Those who still have a claim to be served. */
  alive(nowMs: number): readonly Waiter[] {
    return this.#all.filter(
      ({ deadlineMs, lastPolledAtMs }) =>
        nowMs < deadlineMs && nowMs - lastPolledAtMs <= ABANDONED_MS,
    )
  }

  /**
   * Who came before a request, competes with it for the same keys in the same
   * way, and still waits. A retry may be waiting for the retry budget instead.
   */
  overtakenBy(lease: string, request: Ask, nowMs: number): Waiter | undefined {
    const place = this.#all.findIndex((waiter) => waiter.lease === lease)
    const before = place === -1 ? this.#all : this.#all.slice(0, place)
    const alive = this.alive(nowMs)
    return before.find(
      (other) =>
        alive.includes(other) &&
        other.request.attempt !== 'retry' &&
        laneOf(other.request) === laneOf(request),
    )
  }

  /** Drops those whom the pool may have forgotten, so that it is their time to begin anew. */
  isAbandoned({ lastPolledAtMs }: Waiter, nowMs: number): boolean {
    return nowMs - lastPolledAtMs > ABANDONED_MS
  }
}

function laneOf({ asked, models, tried, notAccounts }: Ask): string {
  return JSON.stringify([asked, models, tried, notAccounts])
}
