import { type CacheReading, readCache } from '../accounting/cache-counters.ts'
import { addCounters, type Counters, createCounters, type Tally } from '../accounting/ledger.ts'
import type { RequestCounts } from '../accounting/request-row.ts'
import type { Alerts } from '../alerts/alerts.ts'
import type { KeyId } from '../ids.ts'
import type { PoolState } from '../pool-state.ts'
import { amountsOf, type BudgetSnapshot, type PoolSnapshot, snapshot } from '../snapshot.ts'

/** What the pool has counted, and how it stands: what one scrape of the metrics is made of. */
export interface PoolReadings {
  readonly version: 1
  readonly snapshot: PoolSnapshot
  /** As of the last checkpoint, some seconds ago. */
  readonly requests: RequestCounts
  readonly alerts: AlertReadings
  /** The live leases of batches: each is a line that runs. */
  readonly batchLines: number
  /** Totals by model; those beyond the ledger's bound are one. */
  readonly models: readonly CountedUnder[]
  /** Totals by client; those beyond `MAX_CLIENTS_TOLD` are one. */
  readonly clients: readonly CountedUnder[]
  /** The keys with `max_spend`. */
  readonly spends: readonly KeySpendReading[]
  /** What shared and kept answers came to. An object of an earlier release does not tell it. */
  readonly cache?: CacheReading
}

/** How many alerts there are, and how many messages about them are not delivered yet. */
export interface AlertReadings {
  /** By event; those without one are left out. */
  readonly active: Readonly<Record<string, number>>
  /** By the name of the address; those without one are left out. */
  readonly undelivered: Readonly<Record<string, number>>
}

/** Totals, and the name that they are counted under. */
export interface CountedUnder {
  readonly name: string
  readonly total: Counters
}

/** What a key has spent of its `max_spend`. An object of an earlier release tells less of it. */
export interface KeySpendReading
  extends Omit<BudgetSnapshot, 'owner' | 'reservedUsd' | 'lostUsd'>,
    Partial<Pick<BudgetSnapshot, 'reservedUsd' | 'lostUsd'>> {
  readonly id: KeyId
}

/**
 * Ten thousand clients would make a hundred thousand time series, and a scrape would keep the object
 * busy. Those that were counted first are told by name: what is told by the most traffic would change
 * from scrape to scrape, and a total that goes from one name to another is no total.
 */
export const MAX_CLIENTS_TOLD = 200

/** The entry for all clients beyond the bound. No client has this name. */
const OTHER_CLIENTS = '(other)'

/** Takes the pool's readings. That influences no decision. */
export function readings(state: PoolState, nowMs: number): PoolReadings {
  const { byModel, byClient } = state.ledger
  return {
    version: 1,
    snapshot: snapshot(state, nowMs),
    cache: readCache(state.cache, nowMs),
    requests: { ...state.ledger.requests },
    alerts: alertReadings(state.alerts),
    batchLines: [...state.keys.values()].reduce((sum, { batch }) => sum + batch.inFlight, 0),
    models: counted(byModel, Number.POSITIVE_INFINITY),
    clients: counted(byClient, MAX_CLIENTS_TOLD),
    spends: [...state.keys.values()].flatMap(({ id, spend }) =>
      spend === null ? [] : [{ id, ...amountsOf(spend, nowMs) }],
    ),
  }
}

function alertReadings({ active, outbox }: Alerts): AlertReadings {
  const byEvent = Map.groupBy(active.values(), ({ event }) => event)
  const sizes = (lists: ReadonlyMap<string, readonly unknown[]>) =>
    Object.fromEntries(Array.from(lists, ([name, list]) => [name, list.length]))
  return { active: sizes(byEvent), undelivered: sizes(outbox.queues) }
}

function counted(tallies: ReadonlyMap<string, Tally>, most: number): readonly CountedUnder[] {
  const told: CountedUnder[] = []
  const others = createCounters()
  for (const [name, { total }] of tallies) {
    if (told.length < most) told.push({ name, total })
    else addCounters(others, total)
  }
  return others.attempts === 0 ? told : [...told, { name: OTHER_CLIENTS, total: others }]
}
