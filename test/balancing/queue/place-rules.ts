import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { Waiter } from '../../../src/balancing/queue/waiter.ts'
import type { Ask } from '../pool-driver.ts'

/** Who waits, by client, in order of arrival. */
export type SharesOfQueue = ReadonlyMap<string, readonly Waiter[]>

/** Who waits by the pool's own list. */
export function sharesOfQueue({ queue }: PoolState): SharesOfQueue {
  const waiters = [...queue.waiters.values()].filter(({ state }) => state === 'waits')
  return Map.groupBy(
    waiters.toSorted((a, b) => a.arrival - b.arrival),
    ({ request }) => request.clientId,
  )
}

/** Whoever lost his place to a newcomer was the youngest of a client, or a lane, that had too much. */
export function lostPlaces(state: PoolState, before: SharesOfQueue, { client }: Ask) {
  const half = (places: number) => Math.max(1, Math.floor(places / 2))
  const { maxWaiting } = state.policy.queue
  const lost: string[] = []
  const faults: string[] = []
  const check = ({ request }: Waiter, isYoungest: boolean, hadTooMuch: boolean) => {
    lost.push(request.leaseId)
    if (!hadTooMuch) faults.push(`${request.leaseId} had no more than his share`)
    if (!isYoungest) faults.push(`${request.leaseId} was not the youngest`)
  }
  for (const [id, waiters] of before) {
    const isOwn = id === client
    // Of his own client, a newcomer takes a place from another lane.
    const fair = isOwn ? half(before.size > 1 ? half(maxWaiting) : maxWaiting) : half(maxWaiting)
    for (const waiter of waiters.filter(({ state: now }) => now === 'refused')) {
      const rivals = isOwn ? waiters.filter(({ lane }) => lane === waiter.lane) : waiters
      check(waiter, rivals.at(-1) === waiter, rivals.length > fair)
    }
  }
  return { lost, faults }
}
