import type { Bench } from './bench.ts'
import type { Breaker } from './circuit-breaker.ts'
import type { AccountId, ClientId, KeyId, ModelId } from './ids.ts'
import { hurry, NOTHING_TO_LOOK_UP } from './key-lookup.ts'
import { type Lease, open } from './leases.ts'
import type { Tally } from './ledger.ts'
import type { AccountState, KeyState, PoolState } from './pool-state.ts'

/**
 * What a pool writes down to live again. Two kinds, by what losing them costs:
 * a key's and an account's records are written in the step that changed them; the
 * checkpoint every few seconds.
 */

/** A half-open breaker is recorded as an open one whose time is over: a restart probes again. */
export type BreakerRecord = Exclude<Breaker, { kind: 'half_open' }>

export interface KeyRecord {
  readonly breaker: BreakerRecord
  readonly bench: Bench | null
  readonly strikes: number
  readonly struckAtMs: number
}

export interface AccountRecord {
  readonly bench: Bench | null
  readonly freeBench: Bench | null
  readonly modelBenches: ModelsRecord
}

/** Models benched everywhere. */
export type ModelsRecord = readonly (readonly [ModelId, Bench])[]

export interface CountersRecord {
  readonly turns: number
  readonly retryTokens: number
  readonly keys: readonly {
    readonly id: KeyId
    readonly lastTurn: number
    readonly smoothedWeight: number
  }[]
  readonly byKey: readonly (readonly [KeyId, Tally])[]
  readonly byClient: readonly (readonly [ClientId, Tally])[]
}

export interface Checkpoint {
  readonly counters: CountersRecord
  readonly byModel: readonly (readonly [string, Tally])[]
  readonly leases: readonly Lease[]
}

export interface PoolRecords {
  readonly keys: ReadonlyMap<KeyId, KeyRecord>
  readonly accounts: ReadonlyMap<AccountId, AccountRecord>
  readonly models: ModelsRecord
  readonly checkpoint: Partial<Checkpoint>
  /** Whether something happened after the checkpoint, so that it is not how things stood in the end. */
  readonly outdated: boolean
}

export function keyRecord(key: KeyState): KeyRecord {
  const { breaker, bench, strikes, struckAtMs } = key
  return {
    breaker:
      breaker.kind === 'half_open'
        ? { kind: 'open', untilMs: 0, cooldownMs: breaker.cooldownMs }
        : breaker,
    bench,
    strikes,
    struckAtMs,
  }
}

/** Whether a record says nothing that a fresh key would not say: its row can go. */
export function isBlank(record: KeyRecord): boolean {
  const { breaker, bench, strikes } = record
  const closed = breaker.kind === 'closed' && breaker.failuresAtMs.length === 0
  return closed && bench === null && strikes === 0
}

export function accountRecord(account: AccountState): AccountRecord {
  const { bench, freeBench, modelBenches } = account
  return { bench, freeBench, modelBenches: [...modelBenches] }
}

export function checkpoint(state: PoolState): Checkpoint {
  return {
    counters: {
      turns: state.turns,
      retryTokens: state.retryBudget.tokens,
      keys: [...state.keys.values()].map(({ id, lastTurn, smoothedWeight }) => ({
        id,
        lastTurn,
        smoothedWeight,
      })),
      byKey: [...state.ledger.byKey],
      byClient: [...state.ledger.byClient],
    },
    byModel: [...state.ledger.byModel],
    leases: [...state.leases.live.values()],
  }
}

/**
 * Puts what was written down back into a fresh pool. Records of keys and
 * accounts that are no longer configured are passed over. Leases come back too:
 * an object that rests between two requests must not forget a stream that is
 * still running, or a key's `max_concurrent` would hold only on busy days.
 */
export function restore(state: PoolState, records: PoolRecords, nowMs: number): void {
  for (const [id, record] of records.keys) {
    const key = state.keys.get(id)
    if (key !== undefined) restoreKey(key, record, nowMs)
  }
  for (const [id, record] of records.accounts) {
    const account = state.accounts.get(id)
    if (account !== undefined) restoreAccount(account, record)
  }
  for (const [model, bench] of records.models) state.modelBenches.set(model, bench)
  const { counters, byModel, leases } = records.checkpoint
  if (counters !== undefined) restoreCounters(state, counters)
  for (const [model, tally] of byModel ?? []) state.ledger.byModel.set(model, tally)
  for (const lease of leases ?? []) {
    restoreLease(state, records.outdated ? inDoubt(lease, nowMs) : lease)
  }
}

/** A lease that may be over keeps its place for this long at least. */
const IN_DOUBT_MS = 10_000

/**
 * A lease of an outdated checkpoint may have been given back since, and nobody
 * will say so again: kept to its full term, it would hold capacity for minutes
 * after a crash under load. So it gets as long again as it has lasted: brief
 * requests are soon forgotten, and a stream that has run for long may go on.
 */
function inDoubt(lease: Lease, nowMs: number): Lease {
  const againMs = Math.max(IN_DOUBT_MS, nowMs - lease.grantedAtMs)
  return { ...lease, expiresAtMs: Math.min(lease.expiresAtMs, nowMs + againMs) }
}

function restoreKey(key: KeyState, record: KeyRecord, nowMs: number): void {
  key.breaker = record.breaker
  key.bench = record.bench
  key.strikes = record.strikes
  key.struckAtMs = record.struckAtMs
  const inDoubt = key.bench?.reason === 'key_rejected' || key.bench?.reason === 'key_spent'
  key.lookup = inDoubt ? hurry(NOTHING_TO_LOOK_UP, nowMs) : NOTHING_TO_LOOK_UP
}

function restoreAccount(account: AccountState, record: AccountRecord): void {
  account.bench = record.bench
  account.freeBench = record.freeBench
  for (const [model, bench] of record.modelBenches) account.modelBenches.set(model, bench)
}

function restoreCounters(state: PoolState, counters: CountersRecord): void {
  state.turns = counters.turns
  state.retryBudget.tokens = counters.retryTokens
  for (const { id, lastTurn, smoothedWeight } of counters.keys) {
    const key = state.keys.get(id)
    if (key === undefined) continue
    key.lastTurn = lastTurn
    key.smoothedWeight = smoothedWeight
  }
  for (const [id, tally] of counters.byKey) state.ledger.byKey.set(id, tally)
  for (const [id, tally] of counters.byClient) state.ledger.byClient.set(id, tally)
}

function restoreLease(state: PoolState, lease: Lease): void {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return
  open(state.leases, lease)
  key.inFlight += 1
}
