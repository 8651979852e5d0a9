import { type CacheReading, readCache } from '../accounting/cache-counters.ts'
import {
  addCounters,
  type Counters,
  countersOfToday,
  createCounters,
  type Tally,
} from '../accounting/ledger.ts'
import type { ClientState, GroupState } from '../clients/clients.ts'
import { type ClientView, clientView, type GroupView, groupView } from '../clients/registry.ts'
import { type AccountState, keyOfOwnAccount } from '../health/account.ts'
import { type Bench, isActive, reportedReason } from '../health/bench.ts'
import type { AccountId, ClientId, KeyId, ModelId } from '../ids.ts'
import { type KeyState, membersOf, type PoolState } from '../pool-state.ts'
import { youngestOf } from '../queue/waiting-queue.ts'
import type { Reason } from '../reasons.ts'
import type { Affinity } from '../routes.ts'
import { type PoolSnapshot, snapshot } from '../snapshot.ts'
import type { StrategyName } from '../strategies/strategy-registry.ts'

/** All that operators may want to see of the pool, bounded: some pools have ten thousand clients. */
export interface PoolOverview extends PoolSnapshot {
  readonly nowMs: number
  /** Accounts, and the groups of keys that a budget of OpenRouter's covers. */
  readonly accounts: readonly AccountOverview[]
  /** Those that use the most now and today first; at most `MAX_SHOWN`. */
  readonly clients: readonly (ClientView & Counted)[]
  readonly clientCount: number
  readonly groups: readonly (GroupView & Counted)[]
  readonly groupCount: number
  readonly queue: QueueOverview
  readonly routes: readonly RouteOverview[]
  readonly total: Counters
  /** Of the UTC day. */
  readonly today: Counters
  /** What shared and kept answers came to. An object of an earlier release does not tell it. */
  readonly cache?: CacheReading
}

/** What was counted of something. */
export interface Counted {
  readonly total: Counters
  readonly today: Counters
}

export interface AccountOverview extends Counted {
  readonly id: AccountId
  readonly kind: 'account' | 'creator' | 'workspace'
  /** Whether the account is made up for a single key, since nobody knows yet who pays for it. */
  readonly isOwn: boolean
  readonly keys: readonly KeyId[]
  readonly inFlight: number
  /** Of the whole account, of its free models, and of single models. */
  readonly benches: readonly BenchOverview[]
}

export interface BenchOverview {
  readonly of: 'account' | 'free_models' | 'model'
  /** Null unless it is of a single model. */
  readonly model: ModelId | null
  readonly reason: Reason | Bench['reason']
  readonly sinceMs: number
  /** Null if only a lookup ends it. */
  readonly untilMs: number | null
}

export interface QueueOverview {
  readonly waiting: number
  readonly maxWaiting: number
  readonly maxWaitMs: number
  /** The largest first; at most `MAX_SHOWN`. */
  readonly lanes: readonly LaneOverview[]
  readonly laneCount: number
}

/** Waiters of one client for the same models and keys. */
export interface LaneOverview {
  readonly client: ClientId
  readonly model: ModelId
  readonly waiting: number
  /** When the last of them gives up, in epoch milliseconds. */
  readonly lastDeadlineMs: number
}

export interface RouteOverview {
  readonly models: readonly string[]
  readonly strategy: StrategyName
  readonly affinity: Affinity
  readonly fallbackModels: readonly ModelId[]
  /** How many keys it selects. */
  readonly keyCount: number
}

/** More is in lists of their own. */
export const MAX_SHOWN = 100

/** Benches of single models of one account. */
const MAX_MODELS_SHOWN = 20

/** Looks at everything, and influences no decision. */
export function overview(state: PoolState, nowMs: number): PoolOverview {
  const { ledger, clients } = state
  return {
    ...snapshot(state, nowMs),
    nowMs,
    accounts: accountOverviews(state, nowMs),
    clients: busiest(clients.byId, ledger.byClient, nowMs).map(({ of, counted }) => {
      return { ...clientView(of, nowMs), ...counted }
    }),
    clientCount: clients.byId.size,
    groups: busiest(clients.groups, ledger.byGroup, nowMs).map(({ of, counted }) => {
      return { ...groupView(of, nowMs), ...counted }
    }),
    groupCount: clients.groups.size,
    queue: queueOverview(state),
    routes: state.routes.map((route) => ({
      models: route.models,
      strategy: route.config.strategy,
      affinity: route.config.affinity,
      fallbackModels: route.config.fallbackModels,
      keyCount: membersOf(state, route).length,
    })),
    ...countedOf(ledger.all, nowMs),
    cache: readCache(state.cache, nowMs),
  }
}

function countedOf(tally: Tally | undefined, nowMs: number): Counted {
  if (tally === undefined) return { total: createCounters(), today: createCounters() }
  return { total: tally.total, today: countersOfToday(tally, nowMs) }
}

/** Those that use the most: now, then today. */
function busiest<Id, Of extends ClientState | GroupState>(
  all: ReadonlyMap<Id, Of>,
  tallies: ReadonlyMap<Id, Tally>,
  nowMs: number,
) {
  const counted = [...all].map(([id, of]) => ({ of, counted: countedOf(tallies.get(id), nowMs) }))
  const byUse = counted.toSorted(
    (a, b) =>
      b.of.quota.inFlight - a.of.quota.inFlight ||
      b.counted.today.attempts - a.counted.today.attempts,
  )
  return byUse.slice(0, MAX_SHOWN)
}

function accountOverviews(state: PoolState, nowMs: number): readonly AccountOverview[] {
  const keys = [...state.keys.values()]
  const ofAccount = Map.groupBy(keys, ({ account }) => account)
  const ofCreator = Map.groupBy(keys, ({ creator }) => creator)
  const ofWorkspace = Map.groupBy(keys, ({ workspace }) => workspace)
  const views = (kind: AccountOverview['kind'], groups: Map<AccountState | null, KeyState[]>) =>
    [...groups].flatMap(([account, members]) =>
      account === null ? [] : [accountOverview(kind, account, members, nowMs)],
    )
  return [
    ...views('account', ofAccount),
    ...views('creator', ofCreator),
    ...views('workspace', ofWorkspace),
  ]
}

function accountOverview(
  kind: AccountOverview['kind'],
  account: AccountState,
  keys: readonly KeyState[],
  nowMs: number,
): AccountOverview {
  const sums = { total: createCounters(), today: createCounters() }
  let inFlight = 0
  for (const { tally, inFlight: ofKey } of keys) {
    addCounters(sums.total, tally.total)
    addCounters(sums.today, countersOfToday(tally, nowMs))
    inFlight += ofKey
  }
  return {
    id: account.id,
    kind,
    isOwn: keyOfOwnAccount(account.id) !== null,
    keys: keys.map(({ id }) => id),
    inFlight,
    benches: benchesOf(account, nowMs),
    ...sums,
  }
}

function benchesOf(account: AccountState, nowMs: number): readonly BenchOverview[] {
  const shown = (of: BenchOverview['of'], bench: Bench | null, model: ModelId | null = null) =>
    isActive(bench, nowMs)
      ? [
          {
            of,
            model,
            reason: reportedReason(bench),
            sinceMs: bench.sinceMs,
            untilMs: bench.untilMs,
          },
        ]
      : []
  const ofModels = [...account.modelBenches].flatMap(([id, bench]) => shown('model', bench, id))
  return [
    ...shown('account', account.bench),
    ...shown('free_models', account.freeBench),
    ...ofModels.slice(0, MAX_MODELS_SHOWN),
  ]
}

function queueOverview({ queue, policy }: PoolState): QueueOverview {
  const lanes = [...queue.clients].flatMap(([client, share]) =>
    [...share.lanes.values()].flatMap((lane) => {
      const last = youngestOf(lane)
      if (last === undefined) return []
      const [model] = last.request.models
      return [{ client, model, waiting: lane.size, lastDeadlineMs: last.deadlineMs }]
    }),
  )
  const bySize = lanes.toSorted((a, b) => b.waiting - a.waiting)
  return {
    waiting: queue.size,
    ...policy.queue,
    lanes: bySize.slice(0, MAX_SHOWN),
    laneCount: lanes.length,
  }
}
