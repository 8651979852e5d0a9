import type { ClientId } from '../ids.ts'
import type { Waiter } from './waiter.ts'
import { type ClientShare, shareOfClient, type WaitingQueue, youngestOf } from './waiting-queue.ts'

/**
 * Who gets a place in the queue. A client alone may have all of it. As soon as another one comes, no
 * client gets beyond a half, and a newcomer of one below it takes the place of the youngest of one
 * above it: the youngest has waited least. Between the lanes of one client it is the same, by halves
 * of what the client may have.
 */

export interface Newcomer {
  readonly clientId: ClientId
  readonly lane: string
}

/** A place, and who has to give it up; or no place. */
export type Admission =
  | { readonly kind: 'place'; readonly instead: Waiter | null }
  | { readonly kind: 'full' }

const FULL: Admission = { kind: 'full' }

/** Whether a newcomer gets a place. Costs as much as the client has lanes. */
export function admit(queue: WaitingQueue, newcomer: Newcomer, maxWaiting: number): Admission {
  if (maxWaiting === 0) return FULL
  const client = shareOfClient(queue, newcomer.clientId)
  const half = halfOf(maxWaiting)
  const othersWait = queue.size > client.size
  const part = othersWait ? half : maxWaiting
  const isFull = queue.size >= maxWaiting
  if (!mayGrow(client, newcomer.lane, part)) return FULL
  if (client.size >= part) return inPlaceOf(youngestOfOtherLane(client, newcomer.lane, part))
  if (!isFull) return { kind: 'place', instead: null }
  return inPlaceOf(youngestOfGreedy(queue, half))
}

function halfOf(places: number): number {
  return Math.max(1, Math.floor(places / 2))
}

/** Whether a lane may have one more, as far as the other lanes of its client are concerned. */
function mayGrow({ size, lanes }: ClientShare, lane: string, part: number): boolean {
  const own = lanes.get(lane)?.size ?? 0
  return size === own || own < halfOf(part)
}

function inPlaceOf(instead: Waiter | undefined): Admission {
  return instead === undefined ? FULL : { kind: 'place', instead }
}

/** The youngest of a lane that has more than half of what its client may have. */
function youngestOfOtherLane(
  { lanes }: ClientShare,
  lane: string,
  part: number,
): Waiter | undefined {
  for (const [name, share] of lanes) {
    if (name !== lane && share.size > halfOf(part)) return youngestOf(share)
  }
  return undefined
}

/** The youngest of the client that has more than half of the queue. There is only one such client. */
function youngestOfGreedy({ clients, largest }: WaitingQueue, half: number): Waiter | undefined {
  const share = largest === null ? undefined : clients.get(largest)
  return share !== undefined && share.size > half ? youngestOf(share) : undefined
}
