import type { RequestRow } from '../../balancing/accounting/request-row.ts'
import type { ActiveAlert } from '../../balancing/alerts/alert.ts'
import type { PoolOverview } from '../../balancing/operators/overview.ts'
import type { Gateway } from '../../http/composition-root.ts'
import type { HistoryReply } from '../../key-pool/history/history-protocol.ts'
import { type AddressStanding, addressStandings } from '../address-standing.ts'

/** The pool as an isolate saw it last. */
export interface Sight {
  /** Null while the isolate has seen nothing. */
  readonly pool: PoolOverview | null
  /** When it was so, in epoch milliseconds. */
  readonly atMs: number
  /** Whether the pool's object has not answered since. */
  readonly isStale: boolean
  /** The last requests, the latest first. */
  readonly requests: readonly RequestRow[]
  /** The last hour; null while the isolate does not know it. */
  readonly history: HistoryReply | null
  /** What operators are told of by alerts, and is not over. */
  readonly alerts: readonly ActiveAlert[]
  /** Where they go, and whether they get there. */
  readonly addresses: readonly AddressStanding[]
}

/** What all viewers of an isolate look at: so the object is asked once a second, however many they are. */
export interface Feed {
  sight: Sight
  askedAtMs: number
  historyAskedAtMs: number
  viewers: number
}

/** A little less than the viewers' second, or each other question would come a second late. */
const ASK_EVERY_MS = 950

/** The object reads most of the hour from its disk, and a minute of it changes little. */
const ASK_FOR_HISTORY_EVERY_MS = 10_000

/** As many as a reader takes in. */
const REQUESTS_SHOWN = 20

/** A page for every operator of a large company, and few enough for one isolate's memory. */
export const MAX_VIEWERS = 50

const feeds = new WeakMap<Gateway, Feed>()

export function feedOf(gateway: Gateway): Feed {
  const known = feeds.get(gateway)
  if (known !== undefined) return known
  const feed: Feed = {
    sight: {
      ...{ pool: null, atMs: 0, isStale: false, requests: [], history: null },
      ...{ alerts: [], addresses: [] },
    },
    askedAtMs: Number.NEGATIVE_INFINITY,
    historyAskedAtMs: Number.NEGATIVE_INFINITY,
    viewers: 0,
  }
  feeds.set(gateway, feed)
  return feed
}

/**
 * The pool as it is now, or as another viewer has just seen it. A promise of one request must not be
 * awaited by another, so who finds a question asked takes what was seen before, be it nothing.
 * @param isFresh whether only what is asked for now will do
 */
export async function look(gateway: Gateway, isFresh = false): Promise<Sight> {
  const feed = feedOf(gateway)
  const nowMs = gateway.ports.nowMs()
  const isRecent = nowMs - feed.askedAtMs < ASK_EVERY_MS
  if (isRecent && !isFresh) return feed.sight
  feed.askedAtMs = nowMs
  const [overview, requests, alerts, history] = await Promise.all([
    gateway.pool.overview(),
    gateway.pool.requests({ limit: REQUESTS_SHOWN }),
    gateway.pool.alerts({ kind: 'list' }),
    historyOf(gateway, feed, nowMs),
  ])
  // The answer to a later question may have come first.
  if (nowMs < feed.sight.atMs) return feed.sight
  const { sight } = feed
  feed.sight = {
    // An object of an earlier release, which is one for a minute at most, has no overview.
    ...(overview.kind === 'answer' && overview.value !== null
      ? { pool: overview.value, atMs: nowMs, isStale: false }
      : { pool: sight.pool, atMs: sight.atMs, isStale: true }),
    requests: requests.kind === 'answer' ? requests.value.requests : sight.requests,
    history: history ?? sight.history,
    ...(alerts.kind === 'answer' && alerts.value !== null
      ? {
          alerts: alerts.value.active,
          addresses: addressStandings(gateway.config, alerts.value),
        }
      : { alerts: sight.alerts, addresses: sight.addresses }),
  }
  return feed.sight
}

/** Null if it was not asked for, or not told. */
async function historyOf(gateway: Gateway, feed: Feed, nowMs: number) {
  if (nowMs - feed.historyAskedAtMs < ASK_FOR_HISTORY_EVERY_MS) return null
  feed.historyAskedAtMs = nowMs
  const answer = await gateway.pool.history({ byKey: true })
  return answer.kind === 'answer' ? answer.value : null
}
