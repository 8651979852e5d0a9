import { type AccountId, accountId, type KeyId, type ModelId } from '../ids.ts'
import { type Bench, later } from './bench.ts'

/** Who pays for some keys, with what is put aside for all of them at once. */
export interface AccountState {
  readonly id: AccountId
  bench: Bench | null
  /** For `:free` models only. */
  freeBench: Bench | null
  readonly modelBenches: Map<ModelId, Bench>
  /** Whether a lookup during the present bench showed one of its keys without room. */
  hadNoRoom: boolean
}

export function createAccount(id: AccountId): AccountState {
  return { id, bench: null, freeBench: null, modelBenches: new Map(), hadNoRoom: false }
}

/** `/` is not allowed in a configured account, so that this can't be mistaken for one. */
export function ownAccount(key: KeyId): AccountId {
  return accountId(`own/${key}`)
}

/** A key, as far as it says whose it is. */
interface Owned {
  readonly id: KeyId
  readonly config: { readonly account: AccountId | null }
  readonly owner: AccountId | null
}

/**
 * The account that a key belongs to: as configured, else that of a configured key
 * with the same owner, else its owner, else its own. Where the configuration
 * divides one owner's keys into several accounts, it does so on purpose, and does
 * not say which of them a further key belongs to.
 */
export function accountOf(key: Owned, all: readonly Owned[]): AccountId {
  if (key.config.account !== null) return key.config.account
  const { owner } = key
  if (owner === null) return ownAccount(key.id)
  const configured = new Set(
    all.flatMap((other) => (other.owner === owner ? (other.config.account ?? []) : [])),
  )
  const [only] = configured
  return configured.size === 1 && only !== undefined ? only : owner
}

/** What was put aside for one account holds for the account that it turns out to be. */
export function merge(from: AccountState, into: AccountState, nowMs: number): void {
  const latest = (a: Bench | null, b: Bench | null) => (b === null ? a : later(a, b, nowMs))
  into.bench = latest(into.bench, from.bench)
  into.freeBench = latest(into.freeBench, from.freeBench)
  into.hadNoRoom ||= from.hadNoRoom
  for (const [model, bench] of from.modelBenches) {
    into.modelBenches.set(model, later(into.modelBenches.get(model) ?? null, bench, nowMs))
  }
}
