import type { Credit } from './accounting/credit.ts'
import type { Generation } from './accounting/generations.ts'
import type { Tally } from './accounting/ledger.ts'
import { settleAccounts } from './feedback.ts'
import type { AccountState } from './health/account.ts'
import type { Bench } from './health/bench.ts'
import type { Breaker } from './health/circuit-breaker.ts'
import { doubt } from './health/lookup-duty.ts'
import type { AccountId, ClientId, KeyId, ModelId } from './ids.ts'
import { type Lease, open } from './limits/leases.ts'
import type { Meter } from './limits/meter.ts'
import { SLOTS_PER_RECORD, type WindowSlot } from './limits/sliding-window.ts'
import type { KeyState, PoolState, RouteState } from './pool-state.ts'

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
  readonly strikes: number
  readonly struckAtMs: number
  readonly owner: AccountId | null
}

export interface AccountRecord {
  readonly bench: Bench | null
  readonly freeBench: Bench | null
  readonly modelBenches: ModelsRecord
  readonly hadNoRoom: boolean
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
  }[]
  readonly routes: readonly RouteRecord[]
  readonly meanCostUsd: number
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

/** The part of the pool that is stored every few seconds. */
export interface Checkpoint {
  readonly counters: CountersRecord
  readonly byModel: readonly (readonly [string, Tally])[]
  readonly leases: readonly Lease[]
  readonly meters: readonly MetersRecord[]
  readonly generations: readonly (readonly [string, Generation])[]
}

/** All that was stored of a pool. */
export interface PoolRecords {
  readonly keys: ReadonlyMap<KeyId, KeyRecord>
  readonly accounts: ReadonlyMap<AccountId, AccountRecord>
  readonly models: ModelsRecord
  readonly checkpoint: Partial<Checkpoint>
  /** Whether something happened after the checkpoint, so that it is not the pool's last state. */
  readonly outdated: boolean
}

/** What is stored of a key in the step that changed it. */
export function keyRecord(key: KeyState): KeyRecord {
  const { breaker, bench, strikes, struckAtMs, owner } = key
  return {
    breaker:
      breaker.kind === 'half_open'
        ? { kind: 'open', untilMs: 0, cooldownMs: breaker.cooldownMs }
        : breaker,
    bench,
    strikes,
    struckAtMs,
    owner,
  }
}

/** Whether a record equals that of a fresh key, so that its row can be deleted. */
export function isBlank(record: KeyRecord): boolean {
  const { breaker, bench, strikes, owner } = record
  const closed = breaker.kind === 'closed' && breaker.failuresAtMs.length === 0
  return closed && bench === null && strikes === 0 && owner === null
}

/** What is stored of an account in the step that changed it. */
export function accountRecord(account: AccountState): AccountRecord {
  const { bench, freeBench, modelBenches, hadNoRoom } = account
  return { bench, freeBench, modelBenches: [...modelBenches], hadNoRoom }
}

/** What is stored of the pool every few seconds. */
export function checkpoint(state: PoolState): Checkpoint {
  const keys = [...state.keys.values()]
  return {
    counters: {
      turns: state.turns,
      retryTokens: state.retryBudget.tokens,
      keys: keys.map(({ id, lastTurn, credit, expiresAtMs, lookup: { duty } }) => ({
        id,
        lastTurn,
        credit,
        expiresAtMs,
        lookupAtMs: duty.kind === 'due' ? duty.atMs : duty.overdueAtMs,
      })),
      routes: state.routes.map((route) => routeRecord(route, keys)),
      meanCostUsd: state.meanCostUsd,
      all: state.ledger.all,
      byKey: [...state.ledger.byKey],
      byClient: [...state.ledger.byClient],
    },
    byModel: [...state.ledger.byModel],
    leases: [...state.leases.live.values()],
    meters: keys.flatMap(metersRecord),
    generations: [...state.generations],
  }
}

function routeRecord({ models, memory }: RouteState, keys: readonly KeyState[]): RouteRecord {
  const idAt = (position: number) => keys[position]?.id
  return {
    models,
    current: idAt(memory.current) ?? null,
    smoothedWeights: [...memory.smoothedWeights].flatMap(([position, smoothed]) => {
      const key = keys[position]
      return key === undefined ? [] : [[key.id, key.weight, smoothed] as const]
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
 * configured are skipped. Leases are restored too: an idle object may be evicted between two
 * requests and must not forget a stream that is still running. Otherwise a key's `max_concurrent`
 * would hold only while traffic keeps the object in memory.
 */
export function restore(state: PoolState, records: PoolRecords, nowMs: number): void {
  for (const [id, record] of records.keys) {
    const key = state.keys.get(id)
    if (key !== undefined) restoreKey(key, record)
  }
  settleAccounts(state, nowMs)
  for (const [id, record] of records.accounts) {
    const account = state.accounts.get(id)
    if (account !== undefined) restoreAccount(account, record)
  }
  for (const [model, bench] of records.models) state.modelBenches.set(model, bench)
  restoreCheckpoint(state, records, nowMs)
}

function restoreCheckpoint(
  state: PoolState,
  { checkpoint, outdated }: PoolRecords,
  nowMs: number,
): void {
  const { counters, byModel, leases, meters, generations } = checkpoint
  if (counters !== undefined) restoreCounters(state, counters)
  for (const record of meters ?? []) restoreMeters(state, record)
  for (const [id, generation] of generations ?? []) state.generations.set(id, generation)
  for (const [model, tally] of byModel ?? []) state.ledger.byModel.set(model, tally)
  for (const lease of leases ?? []) restoreLease(state, outdated ? inDoubt(lease, nowMs) : lease)
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

function restoreKey(key: KeyState, record: KeyRecord): void {
  key.breaker = record.breaker
  key.bench = record.bench
  key.strikes = record.strikes
  key.struckAtMs = record.struckAtMs
  key.owner = record.owner
  const isSuspected = key.bench?.reason === 'key_rejected' && key.bench.untilMs !== null
  if (key.bench !== null && isSuspected) key.lookup = doubt(key.lookup, key.bench.sinceMs)
}

function restoreAccount(account: AccountState, record: AccountRecord): void {
  account.bench = record.bench
  account.freeBench = record.freeBench
  account.hadNoRoom = record.hadNoRoom
  for (const [model, bench] of record.modelBenches) account.modelBenches.set(model, bench)
}

function restoreCounters(state: PoolState, counters: CountersRecord): void {
  const { ledger } = state
  state.turns = counters.turns
  state.retryBudget.tokens = counters.retryTokens
  state.meanCostUsd = counters.meanCostUsd
  for (const { id, lastTurn, credit, expiresAtMs, lookupAtMs } of counters.keys) {
    const key = state.keys.get(id)
    if (key === undefined) continue
    key.lastTurn = lastTurn
    key.credit = credit
    key.expiresAtMs = expiresAtMs
    // A key in doubt is looked up at once, so its duty keeps its own time.
    if (key.lookup.doubtedAtMs === null) {
      key.lookup = { ...key.lookup, duty: { kind: 'due', atMs: lookupAtMs } }
    }
  }
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
    if (position !== undefined) route.memory.smoothedWeights.set(position, smoothed)
  }
}

function restoreMeters(state: PoolState, record: MetersRecord): void {
  const key = state.keys.get(record.id)
  for (const [meter, slots] of [
    [key?.rpm, record.rpm],
    [key?.tpm, record.tpm],
  ] as const) {
    if (meter === null || meter === undefined) continue
    meter.window.slots = slots.map((slot) => ({ ...slot }))
    meter.window.total = slots.reduce((total, { amount }) => total + amount, 0)
  }
}

function restoreLease(state: PoolState, lease: Lease): void {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return
  open(state.leases, lease)
  key.inFlight += 1
}
