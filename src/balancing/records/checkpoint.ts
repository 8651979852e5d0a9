import { type CacheTally, cacheRecord } from '../accounting/cache-counters.ts'
import type { Credit } from '../accounting/credit.ts'
import type { DayOfSpending } from '../accounting/drift.ts'
import { type Generation, youngestGenerations } from '../accounting/generations.ts'
import { isForgettable, type Tally } from '../accounting/ledger.ts'
import { type MinuteRecord, minuteRecord } from '../accounting/recent-minutes.ts'
import type { Reconciliation } from '../accounting/reconciliation.ts'
import type { RequestCounts } from '../accounting/request-row.ts'
import type { SpendRate } from '../accounting/spend-rate.ts'
import { countOf, type KeyTimes } from '../accounting/time-histogram.ts'
import type { ActiveAlert } from '../alerts/alert.ts'
import type { Delivery } from '../alerts/alert-outbox.ts'
import { type ClientsRecords, type QuotaRecord, quotaRecords } from '../clients/client-records.ts'
import type { SpendRecord } from '../clients/max-spend.ts'
import type { EpochName } from '../clients/purge-epochs.ts'
import type { AccountState } from '../health/account.ts'
import type { Bench } from '../health/bench.ts'
import type { Breaker } from '../health/circuit-breaker.ts'
import type { Halt } from '../health/halt.ts'
import { dueAtMs } from '../health/lookup-duty.ts'
import type { Reset } from '../health/reset.ts'
import type { AccountId, ClientId, GroupId, KeyId, ModelId } from '../ids.ts'
import type { Lease } from '../limits/leases.ts'
import type { Meter } from '../limits/meter.ts'
import { entriesOf } from '../limits/rotating-map.ts'
import { SLOTS_PER_RECORD, type SlidingWindow, type WindowSlot } from '../limits/sliding-window.ts'
import type { AuditEntry } from '../operators/audit.ts'
import type { KeyState, PoolState, RouteState } from '../pool-state.ts'
import { keptGaps, type LeaseGap } from './lease-gaps.ts'

/**
 * What a pool stores to survive a restart. There are two kinds, by the cost of losing them. The
 * records of keys, accounts and benched models are stored in the step that changed them. The
 * checkpoint is stored every few seconds.
 */

/** A half-open breaker is stored as an open one whose cooldown is over. A restart probes again. */
export type BreakerRecord = Exclude<Breaker, { kind: 'half_open' }>

export interface KeyRecord {
  readonly breaker: BreakerRecord
  readonly bench: Bench | null
  /** Models that the key does not serve for a while. */
  readonly modelBenches: ModelsRecord
  readonly strikes: number
  readonly struckAtMs: number
  readonly owner: AccountId | null
  /** Of the secret that all of this is known of; null in a record of the first release. */
  readonly fingerprint: string | null
  /** The groups of keys that a budget covers; null while unknown. */
  readonly creator: AccountId | null
  readonly workspace: AccountId | null
  /** Null, like `reset`, in a record of an earlier release. */
  readonly halt: Halt | null
  readonly reset: Reset | null
}

export interface AccountRecord {
  readonly bench: Bench | null
  readonly freeBench: Bench | null
  readonly modelBenches: ModelsRecord
  /** Whether there is one in the list; for the first release, which knows no list. */
  readonly hadNoRoom: boolean
  readonly keysWithoutRoom: readonly KeyId[]
  /** When an operator last reset a key of it; 0 for never. */
  readonly resetAtMs: number
}

/** Models benched everywhere. */
export type ModelsRecord = readonly (readonly [ModelId, Bench])[]

export interface CountersRecord {
  readonly turns: number
  readonly retryTokens: number
  readonly keys: readonly {
    readonly id: KeyId
    readonly lastTurn: number
    readonly credit: Credit
    readonly expiresAtMs: number | null
    /** When the next lookup of the key is due, in epoch milliseconds. */
    readonly lookupAtMs: number
    readonly epoch: number
    /** As in a key's record. */
    readonly fingerprint: string | null
    readonly spentDay: DayOfSpending | null
    readonly spendRate: SpendRate | null
  }[]
  readonly routes: readonly RouteRecord[]
  readonly meanCostUsd: number
  readonly meanTokenUsd: number
  /** When the checkpoint was made, in epoch milliseconds; null in one of the first release. */
  readonly savedAtMs: number | null
  /** Absent in a record of an earlier release. */
  readonly gaps?: readonly LeaseGap[]
  readonly all: Tally
  readonly byKey: readonly (readonly [KeyId, Tally])[]
  readonly byClient: readonly (readonly [ClientId, Tally])[]
  /** Absent in a record of an earlier release. */
  readonly requests?: Partial<RequestCounts>
  readonly byGroup?: readonly (readonly [GroupId, Tally])[]
  /** What keys' attempts took. Absent, like the next, in a record of an earlier release. */
  readonly times?: readonly (readonly [KeyId, KeyTimes])[]
  /** The minute that runs; null for none. */
  readonly minute?: MinuteRecord | null
  /** Of shared and kept answers; null while there were none. */
  readonly cache?: CacheTally | null
}

/** What the strategy of a route remembers. The route's model patterns identify the route. */
export interface RouteRecord {
  readonly models: readonly string[]
  readonly current: KeyId | null
  /** For each key: its weight, and its value in smooth weighted round-robin. */
  readonly smoothedWeights: readonly (readonly [KeyId, number, number])[]
}

/** What was taken of a key's limits within the last minute, by seconds. See `SLOTS_PER_RECORD`. */
export interface MetersRecord {
  readonly id: KeyId
  readonly rpm: readonly WindowSlot[]
  readonly tpm: readonly WindowSlot[]
  /** What of it batches have taken; absent for nothing, and in a record of an earlier release. */
  readonly batch?:
    | { readonly rpm: readonly WindowSlot[]; readonly tpm: readonly WindowSlot[] }
    | undefined
}

/**
 * A lease that is out, or has expired and still owes its settlement. An earlier release knows no `owed`:
 * it takes such a lease as one that expires at once.
 */
export type LeaseRecord = Lease & { readonly owed?: true | undefined }

/** The part of the pool that is stored every few seconds. */
export interface Checkpoint {
  readonly counters: CountersRecord
  readonly byModel: readonly (readonly [string, Tally])[]
  readonly leases: readonly LeaseRecord[]
  readonly meters: readonly MetersRecord[]
  readonly quotas: readonly QuotaRecord[]
  readonly generations: readonly (readonly [string, Generation])[]
  readonly reconciliations: readonly (readonly [string, Reconciliation])[]
}

/** All that was stored of a pool. */
export interface PoolRecords extends ClientsRecords {
  readonly keys: ReadonlyMap<KeyId, KeyRecord>
  readonly accounts: ReadonlyMap<AccountId, AccountRecord>
  readonly models: ModelsRecord
  readonly spends: ReadonlyMap<KeyId, SpendRecord>
  readonly alerts: readonly ActiveAlert[]
  readonly deliveries: readonly Delivery[]
  readonly purges: readonly (readonly [EpochName, number])[]
  readonly audit: readonly AuditEntry[]
  readonly checkpoint: Partial<Checkpoint>
  /** Whether something happened after the checkpoint, so that it is not the pool's last state. */
  readonly outdated: boolean
}

/** What is stored of a key in the step that changed it. */
export function keyRecord(key: KeyState): KeyRecord {
  const { breaker, bench, modelBenches, strikes, struckAtMs, owner, config } = key
  return {
    breaker: breaker.kind === 'half_open' ? rested(breaker.cooldownMs) : breaker,
    bench,
    modelBenches: [...modelBenches],
    strikes,
    struckAtMs,
    owner,
    fingerprint: config.fingerprint,
    creator: key.creator?.id ?? null,
    workspace: key.workspace?.id ?? null,
    halt: key.halt,
    reset: key.reset,
  }
}

function rested(cooldownMs: number): BreakerRecord {
  return { kind: 'open', untilMs: 0, cooldownMs, failuresAtMs: [], earlierCooldownMs: null }
}

/** Whether a record equals that of a fresh key, so that its row can be deleted. */
export function isBlank(record: KeyRecord): boolean {
  const { breaker, bench, modelBenches, strikes } = record
  const closed = breaker.kind === 'closed' && breaker.failuresAtMs.length === 0
  const { owner, creator, workspace, halt, reset } = record
  const isUnknown = [owner, creator, workspace, halt, reset].every((known) => known === null)
  return closed && bench === null && modelBenches.length + strikes === 0 && isUnknown
}

/** What is stored of an account in the step that changed it. */
export function accountRecord(account: AccountState): AccountRecord {
  const { bench, freeBench, modelBenches, keysWithoutRoom, resetAtMs } = account
  return {
    bench,
    freeBench,
    modelBenches: [...modelBenches],
    hadNoRoom: keysWithoutRoom.size > 0,
    keysWithoutRoom: [...keysWithoutRoom],
    resetAtMs,
  }
}

/** What is stored of the pool every few seconds. */
export function checkpoint(state: PoolState, nowMs: number): Checkpoint {
  const keys = [...state.keys.values()]
  return {
    counters: {
      turns: state.turns,
      retryTokens: state.retryBudget.ceiling.tokens,
      keys: keys.map((key) => ({
        id: key.id,
        lastTurn: key.lastTurn,
        credit: key.credit,
        expiresAtMs: key.expiresAtMs,
        lookupAtMs: dueAtMs(key.lookup),
        epoch: key.epoch,
        fingerprint: key.config.fingerprint,
        spentDay: key.spentDay,
        spendRate: key.spendRate,
      })),
      routes: state.routes.map((route) => routeRecord(route, keys)),
      meanCostUsd: state.meanCostUsd,
      meanTokenUsd: state.meanTokenUsd,
      savedAtMs: nowMs,
      gaps: keptGaps(state.gaps, nowMs),
      all: state.ledger.all,
      byKey: remembered(state.ledger.byKey, state.keys, nowMs),
      byClient: remembered(state.ledger.byClient, state.clients.byId, nowMs),
      requests: { ...state.ledger.requests },
      byGroup: remembered(state.ledger.byGroup, state.clients.groups, nowMs),
      times: keys.flatMap(timesRecord),
      minute: state.minutes.running === null ? null : minuteRecord(state.minutes.running),
      cache: cacheRecord(state.cache),
    },
    byModel: [...state.ledger.byModel],
    leases: [...state.leases.live.values(), ...owedRecords(state)],
    meters: keys.flatMap(metersRecord),
    quotas: quotaRecords(state.clients, bySeconds, nowMs),
    generations: youngestGenerations(state.generations),
    reconciliations: [...state.reconciliations.open],
  }
}

function timesRecord({ id, times }: KeyState): [KeyId, KeyTimes][] {
  return countOf(times.firstOutput) + countOf(times.answer) === 0 ? [] : [[id, times]]
}

/** The most leases that owe their settlement of which a record is written: half a megabyte. */
const MAX_OWED = 2_000

function owedRecords({ leases }: PoolState): LeaseRecord[] {
  const youngest = entriesOf(leases.owed).slice(-MAX_OWED)
  return youngest.map(([, lease]) => ({ ...lease, owed: true }))
}

/**
 * The tallies of those that still are, and of others for a while: a key may come back, and scripts make
 * clients by the thousand.
 */
function remembered<Id>(
  tallies: ReadonlyMap<Id, Tally>,
  known: ReadonlyMap<Id, unknown>,
  nowMs: number,
): [Id, Tally][] {
  return [...tallies].filter(([id, tally]) => known.has(id) || !isForgettable(tally, nowMs))
}

function routeRecord({ models, memory }: RouteState, keys: readonly KeyState[]): RouteRecord {
  const idAt = (position: number) => keys[position]?.id
  return {
    models,
    current: idAt(memory.current) ?? null,
    smoothedWeights: [...memory.smoothedWeights.entries()].flatMap(([position, smoothed]) => {
      const key = keys[position]
      return key === undefined || smoothed === undefined
        ? []
        : [[key.id, key.weight, smoothed] as const]
    }),
  }
}

function metersRecord({ id, rpm, tpm, batch }: KeyState): MetersRecord[] {
  if (rpm === null && tpm === null) return []
  const record = { id, rpm: bySeconds(rpm), tpm: bySeconds(tpm) }
  if (batch.rpm.total + batch.tpm.total === 0) return [record]
  return [{ ...record, batch: { rpm: secondsOf(batch.rpm), tpm: secondsOf(batch.tpm) } }]
}

function bySeconds(meter: Meter | null): WindowSlot[] {
  return meter === null ? [] : secondsOf(meter.window)
}

/** Merges slots into seconds. That is a tenth of the rows, but an amount counts a second longer. */
function secondsOf(window: SlidingWindow): WindowSlot[] {
  const seconds = new Map<number, number>()
  for (const { slot, amount } of window.slots) {
    const last = slot - (slot % SLOTS_PER_RECORD) + SLOTS_PER_RECORD - 1
    seconds.set(last, (seconds.get(last) ?? 0) + amount)
  }
  return [...seconds].map(([slot, amount]) => ({ slot, amount }))
}
