import type { LeaseId } from '../balancing/ids.ts'

/** Calls of `whenDecided` that are held back until their request is decided, or out of time. */
export interface HeldCalls {
  /** Holds a call until its request is released, or for `ms`. */
  hold(leaseId: LeaseId, ms: number): Promise<void>
  /** Lets every call go that is held for this request: a Worker that lost an answer calls again. */
  release(leaseId: LeaseId): void
  /** The requests for which a call is held. */
  leaseIds(): Iterable<LeaseId>
}

/** @param timer calls back once after a time; what it returns cancels that */
export function createHeldCalls(
  timer: (ms: number, callback: () => void) => () => void,
): HeldCalls {
  const held = new Map<LeaseId, Set<() => void>>()
  return {
    async hold(leaseId, ms) {
      const calls = held.get(leaseId) ?? new Set()
      held.set(leaseId, calls)
      await new Promise<void>((resolve) => {
        const letGo = () => {
          cancel()
          calls.delete(letGo)
          if (calls.size === 0 && held.get(leaseId) === calls) held.delete(leaseId)
          resolve()
        }
        const cancel = timer(ms, letGo)
        calls.add(letGo)
      })
    },
    release(leaseId) {
      for (const letGo of [...(held.get(leaseId) ?? [])]) letGo()
    },
    leaseIds: () => [...held.keys()],
  }
}
