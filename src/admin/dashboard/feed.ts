import type { PoolOverview } from '../../balancing/operators/overview.ts'
import type { Gateway } from '../../http/composition-root.ts'

/** The pool as an isolate saw it last. */
export interface Sight {
  /** Null while the isolate has seen nothing. */
  readonly pool: PoolOverview | null
  /** When it was so, in epoch milliseconds. */
  readonly atMs: number
  /** Whether the pool's object has not answered since. */
  readonly isStale: boolean
}

/** What all viewers of an isolate look at: so the object is asked once a second, however many they are. */
export interface Feed {
  sight: Sight
  askedAtMs: number
  viewers: number
}

/** A little less than the viewers' second, or each other question would come a second late. */
const ASK_EVERY_MS = 950

/** A page for every operator of a large company, and few enough for one isolate's memory. */
export const MAX_VIEWERS = 50

const feeds = new WeakMap<Gateway, Feed>()

export function feedOf(gateway: Gateway): Feed {
  const known = feeds.get(gateway)
  if (known !== undefined) return known
  const feed: Feed = {
    sight: { pool: null, atMs: 0, isStale: false },
    askedAtMs: Number.NEGATIVE_INFINITY,
    viewers: 0,
  }
  feeds.set(gateway, feed)
  return feed
}

/**
 * The pool as it is now, or as another viewer has just seen it. A promise of one request must not be
 * awaited by another, so who finds a question asked takes what was seen before.
 */
export async function look(gateway: Gateway, feed: Feed = feedOf(gateway)): Promise<Sight> {
  const nowMs = gateway.ports.nowMs()
  if (feed.sight.pool !== null && nowMs - feed.askedAtMs < ASK_EVERY_MS) return feed.sight
  feed.askedAtMs = nowMs
  const answer = await gateway.pool.overview()
  // The answer to a later question may have come first.
  if (nowMs < feed.sight.atMs) return feed.sight
  feed.sight =
    // An object of an earlier release, which is one for a minute at most, has no overview.
    answer.kind === 'answer' && answer.value !== null
      ? { pool: answer.value, atMs: nowMs, isStale: false }
      : { ...feed.sight, isStale: true }
  return feed.sight
}
