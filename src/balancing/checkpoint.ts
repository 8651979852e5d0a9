import type { Credit } from './accounting/credit.ts'
import {
  type Generation,
  rememberGeneration,
  youngestGenerations,
} from './accounting/generations.ts'
import { isForgettable, spendingOf, type Tally, tallyOf } from './accounting/ledger.ts'
import { restoreSpend, type SpendRecord } from './accounting/max-spend.ts'
import { type AccountState, ownAccount, regroup } from './health/account.ts'
import type { Bench } from './health/bench.ts'
import type { Breaker } from './health/circuit-breaker.ts'
import { doubt, dueAtMs } from './health/lookup-duty.ts'
import type { AccountId, ClientId, KeyId, ModelId } from './ids.ts'
import { hear } from './limits/isolates.ts'
import { type Lease, open, owe } from './limits/leases.ts'
import type { Meter } from './limits/meter.ts'
import { entriesOf } from './limits/rotating-map.ts'
import { restoreWindow, SLOTS_PER_RECORD, type WindowSlot } from './limits/sliding-window.ts'
import {
  changeInFlight,
  type KeyState,
  learnOwner,
  type PoolState,
  type RouteState,
  setLookup,
} from './pool-state.ts'

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
}

export interface AccountRecord {
  readonly bench: Bench | null
  readonly freeBench: Bench | null
  readonly modelBenches: ModelsRecord
  /** Whether there is one in the list; for the first release, which knows no list. */
  readonly hadNoRoom: boolean
  readonly keysWithoutRoom: readonly KeyId[]
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
  }[]
  readonly routes: readonly RouteRecord[]
  readonly meanCostUsd: number
  readonly meanTokenUsd: number
  /** When the checkpoint was made, in epoch milliseconds; null in one of the first release. */
  readonly savedAtMs: number | null
  readonly all: Tally
  readonly byKey: readonly (readonly [KeyId, Tally])[]
  readonly byClient: readonly (readonly [ClientId, Tally])[]
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
  readonly generations: readonly (readonly [string, Generation])[]
}

/** All that was stored of a pool. */
export interface PoolRecords {
  readonly keys: ReadonlyMap<KeyId, KeyRecord>
  readonly accounts: ReadonlyMap<AccountId, AccountRecord>
  readonly models: ModelsRecord
  readonly spends: ReadonlyMap<KeyId, SpendRecord>
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
  }
}

function rested(cooldownMs: number): BreakerRecord {
  return { kind: 'open', untilMs: 0, cooldownMs, failuresAtMs: [], earlierCooldownMs: null }
}

/** Whether a record equals that of a fresh key, so that its row can be deleted. */
export function isBlank(record: KeyRecord): boolean {
  const { breaker, bench, modelBenches, strikes } = record
  const closed = breaker.kind === 'closed' && breaker.failuresAtMs.length === 0
  const isUnowned = [record.owner, record.creator, record.workspace].every((id) => id === null)
  return closed && bench === null && modelBenches.length + strikes === 0 && isUnowned
}

/** What is stored of an account in the step that changed it. */
export function accountRecord(account: AccountState): AccountRecord {
  const { bench, freeBench, modelBenches, keysWithoutRoom } = account
  return {
    bench,
    freeBench,
    modelBenches: [...modelBenches],
    hadNoRoom: keysWithoutRoom.size > 0,
    keysWithoutRoom: [...keysWithoutRoom],
  }
}

/** What is stored of the pool every few seconds. */
export function checkpoint(state: PoolState, nowMs: number): Checkpoint {
  const keys = [...state.keys.values()]
  return {
    counters: {
      turns: state.turns,
      retryTokens: state.retryBudget.ceiling.tokens,
      keys: keys.map(({ id, lastTurn, credit, expiresAtMs, lookup, epoch, config }) => ({
        id,
        lastTurn,
        credit,
        expiresAtMs,
        lookupAtMs: dueAtMs(lookup),
        epoch,
        fingerprint: config.fingerprint,
      })),
      routes: state.routes.map((route) => routeRecord(route, keys)),
      meanCostUsd: state.meanCostUsd,
      meanTokenUsd: state.meanTokenUsd,
      savedAtMs: nowMs,
      all: state.ledger.all,
      byKey: [...state.ledger.byKey].filter(([id, tally]) => isKept(state, id, tally, nowMs)),
      byClient: [...state.ledger.byClient],
    },
    byModel: [...state.ledger.byModel],
    leases: [...state.leases.live.values(), ...owedRecords(state, nowMs)],
    meters: keys.flatMap(metersRecord),
    generations: youngestGenerations(state.generations),
  }
}

/** The most leases that owe their settlement of which a record is written: half a megabyte. */
const MAX_OWED = 2_000

function owedRecords({ leases }: PoolState, nowMs: number): LeaseRecord[] {
  const youngest = entriesOf(leases.owed).slice(-MAX_OWED)
  return youngest.map(([, lease]) => {
    return { ...lease, expiresAtMs: Math.min(lease.expiresAtMs, nowMs), owed: true }
  })
}

/** The tally of a key that is no longer configured is kept for a while: the key may come back. */
function isKept({ keys }: PoolState, id: KeyId, tally: Tally, nowMs: number): boolean {
  return keys.has(id) || !isForgettable(tally, nowMs)
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

function metersRecord({ id, rpm, tpm }: KeyState): MetersRecord[] {
  return rpm === null && tpm === null ? [] : [{ id, rpm: bySeconds(rpm), tpm: bySeconds(tpm) }]
}

/** Merges slots into seconds. That is a tenth of the rows, but an amount counts a second longer. */
function bySeconds(meter: Meter | null): WindowSlot[] {
  const seconds = new Map<number, number>()
  for (const { slot, amount } of meter?.window.slots ?? []) {
    const last = slot - (slot % SLOTS_PER_RECORD) + SLOTS_PER_RECORD - 1
    seconds.set(last, (seconds.get(last) ?? 0) + amount)
  }
  return [...seconds].map(([slot, amount]) => ({ slot, amount }))
}

/**
 * Puts the stored records into a fresh pool. Records of keys and accounts that are no longer
 * configured are skipped; see `forgottenKeys`. Leases are restored too: an idle object may be evicted between two
 * requests and must not forget a stream that is still running. Otherwise a key's `max_concurrent`
 * would hold only while traffic keeps the object in memory.
 */
export function restore(state: PoolState, records: PoolRecords, nowMs: number): void {
  for (const [id, record] of records.keys) {
    const key = state.keys.get(id)
    if (key !== undefined && isOfSecret(key, record)) restoreKey(state, key, record, nowMs)
  }
  for (const [id, record] of records.accounts) {
    const account = state.accounts.get(id) ?? state.budgets.get(id)
    if (account !== undefined) restoreAccount(account, record)
  }
  for (const [model, bench] of records.models) state.modelBenches.set(model, bench)
  restoreCheckpoint(state, records, nowMs)
  for (const { id, spend, tally } of state.keys.values()) {
    const record = records.spends.get(id) ?? null
    if (spend !== null) restoreSpend(spend, record, spendingOf(tally, nowMs), nowMs)
  }
}

/**
 * The keys that are no longer configured and were last used so long ago that their rows may be dropped,
 * with their accounts of one key. Their tallies are dropped here. A row without a tally is of a key
 * that never served: it is given a tally, and with it a day.
 */
export function forgottenKeys(
  { keys, ledger }: PoolState,
  { keys: rows, spends }: Pick<PoolRecords, 'keys' | 'spends'>,
  nowMs: number,
): { readonly keys: readonly KeyId[]; readonly accounts: readonly AccountId[] } {
  const known = new Set([...rows.keys(), ...spends.keys(), ...ledger.byKey.keys()])
  const gone = [...known].filter((id) => !keys.has(id))
  const forgotten = gone.filter((id) => isForgettable(ledger.byKey.get(id) ?? null, nowMs))
  for (const id of gone) if (!ledger.byKey.has(id)) tallyOf(ledger.byKey, id, nowMs)
  for (const id of forgotten) ledger.byKey.delete(id)
  return { keys: forgotten, accounts: forgotten.map(ownAccount) }
}

function restoreCheckpoint(
  state: PoolState,
  { checkpoint, outdated }: PoolRecords,
  nowMs: number,
): void {
  const { counters, byModel, leases, meters, generations } = checkpoint
  if (counters !== undefined) restoreCounters(state, counters, nowMs)
  for (const record of meters ?? []) restoreMeters(state, record)
  for (const [id, generation] of generations ?? []) {
    rememberGeneration(state.generations, id, generation)
  }
  for (const [model, tally] of byModel ?? []) state.ledger.byModel.set(model, tally)
  for (const lease of leases ?? []) restoreLease(state, lease, outdated, nowMs)
}

/** A lease that may have ended already holds its capacity for at least this long. */
const IN_DOUBT_MS = 10_000

/**
 * A lease of an outdated checkpoint may have been settled since, and no Worker will settle it
 * again. With its full term it would hold capacity for minutes after a crash under load. So its
 * remaining term is at most the time that it has lasted so far, or `IN_DOUBT_MS` if that is longer.
 * The lease of a short request expires soon, and a long stream may go on.
 */
function inDoubt(lease: Lease, nowMs: number): Lease {
  const againMs = Math.max(IN_DOUBT_MS, nowMs - lease.grantedAtMs)
  return { ...lease, expiresAtMs: Math.min(lease.expiresAtMs, nowMs + againMs) }
}

/**
 * Whether a record is about the secret that the key has now. Another secret under an old id is another
 * key: what the old one was benched for says nothing about it.
 */
function isOfSecret(key: KeyState, { fingerprint }: Pick<KeyRecord, 'fingerprint'>): boolean {
  return fingerprint === null || fingerprint === key.config.fingerprint
}

function restoreKey(state: PoolState, key: KeyState, record: KeyRecord, nowMs: number): void {
  key.breaker = record.breaker
  key.bench = record.bench
  for (const [model, bench] of record.modelBenches) key.modelBenches.set(model, bench)
  key.strikes = record.strikes
  key.struckAtMs = record.struckAtMs
  if (record.owner !== null) learnOwner(state, key, record.owner, nowMs)
  key.creator = regroup(state.budgets, key.creator, record.creator)
  key.workspace = regroup(state.budgets, key.workspace, record.workspace)
  const isSuspected = key.bench?.reason === 'key_rejected' && key.bench.untilMs !== null
  if (key.bench !== null && isSuspected) {
    setLookup(state, key, doubt(key.lookup, key.bench.sinceMs))
  }
}

function restoreAccount(account: AccountState, record: AccountRecord): void {
  account.bench = record.bench
  account.freeBench = record.freeBench
  for (const key of record.keysWithoutRoom) account.keysWithoutRoom.add(key)
  for (const [model, bench] of record.modelBenches) account.modelBenches.set(model, bench)
}

function restoreCounters(state: PoolState, counters: CountersRecord, nowMs: number): void {
  const { ledger } = state
  state.turns = counters.turns
  state.retryBudget.ceiling.tokens = counters.retryTokens
  state.meanCostUsd = counters.meanCostUsd
  state.meanTokenUsd = counters.meanTokenUsd
  state.restoredAtMs = counters.savedAtMs ?? Number.NEGATIVE_INFINITY
  for (const record of counters.keys) restoreCredit(state, record, nowMs)
  for (const record of counters.routes) restoreRoute(state, record)
  Object.assign(ledger.all, counters.all)
  for (const [id, tally] of counters.byKey) {
    const key = state.keys.get(id)
    // Strategies read `key.tally`, which is also the ledger's tally of this key. So it is filled
    // in place and not replaced.
    if (key === undefined) ledger.byKey.set(id, tally)
    else Object.assign(key.tally, tally)
  }
  for (const [id, tally] of counters.byClient) ledger.byClient.set(id, tally)
}

function restoreCredit(
  state: PoolState,
  record: CountersRecord['keys'][number],
  nowMs: number,
): void {
  const key = state.keys.get(record.id)
  if (key === undefined) return
  key.lastTurn = record.lastTurn
  const isSame = isOfSecret(key, record)
  key.epoch = isSame ? record.epoch : record.epoch + 1
  if (!isSame) return
  key.credit = record.credit
  key.expiresAtMs = record.expiresAtMs
  // A key in doubt is looked up at once, so its duty keeps its own time.
  if (key.lookup.doubtedAtMs !== null) return
  // By today's configuration: `refresh_s` may have been lowered since.
  const atMs = Math.min(record.lookupAtMs, nowMs + state.policy.credit.refreshMs)
  setLookup(state, key, { ...key.lookup, duty: { kind: 'due', atMs } })
}

function restoreRoute(state: PoolState, record: RouteRecord): void {
  const name = record.models.join(' ')
  const route = state.routes.find(({ models }) => models.join(' ') === name)
  if (route === undefined) return
  const positionOf = (id: KeyId | null) => (id === null ? undefined : state.keys.get(id)?.position)
  route.memory.current = positionOf(record.current) ?? 0
  // The values hold only among the same keys with the same weights. They are dropped if one of
  // these keys is gone or its weight has changed.
  const holds = record.smoothedWeights.every(
    ([id, weight]) => state.keys.get(id)?.weight === weight,
  )
  if (!holds) return
  for (const [id, , smoothed] of record.smoothedWeights) {
    const position = positionOf(id)
    if (position !== undefined) route.memory.smoothedWeights[position] = smoothed
  }
}

function restoreMeters(state: PoolState, record: MetersRecord): void {
  const key = state.keys.get(record.id)
  if (key === undefined) return
  if (key.rpm !== null) key.rpm.window = restoreWindow(record.rpm)
  if (key.tpm !== null) key.tpm.window = restoreWindow(record.tpm)
}

/** A lease of a key that is gone is known still: its settlement names a client and a model by it. */
function restoreLease(
  state: PoolState,
  { owed, ...lease }: LeaseRecord,
  outdated: boolean,
  nowMs: number,
): void {
  if (owed) {
    owe(state.leases, lease, nowMs)
    return
  }
  open(state.leases, outdated ? inDoubt(lease, nowMs) : lease)
  const key = state.keys.get(lease.keyId)
  if (key !== undefined) changeInFlight(key, 1)
  // An isolate that lived through the restart is heard of soon.
  if (lease.isolate !== null) hear(state.isolates, lease.isolate, nowMs)
}
