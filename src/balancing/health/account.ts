import { type AccountId, accountId, type KeyId, type ModelId } from '../ids.ts'
import { type Bench, later } from './bench.ts'

/** An account, with the benches that exclude all of its keys at once. */
export interface AccountState {
  readonly id: AccountId
  bench: Bench | null
  /** Excludes the keys for `:free` models only. */
  freeBench: Bench | null
  readonly modelBenches: Map<ModelId, Bench>
  /** Whether a lookup during the current bench showed a key of the account without room. */
  hadNoRoom: boolean
}

/** An account without benches. */
export function createAccount(id: AccountId): AccountState {
  return { id, bench: null, freeBench: null, modelBenches: new Map(), hadNoRoom: false }
}

/** An account for one key alone. A configured account has no `/`, so the names cannot collide. */
export function ownAccount(key: KeyId): AccountId {
  return accountId(`own/${key}`)
}

/** What shows the account of a key. */
interface Owned {
  readonly id: KeyId
  readonly config: { readonly account: AccountId | null }
  readonly owner: AccountId | null
}

/**
 * The account that a key belongs to. The first of these that exists:
 * 1. the account that is configured for the key
 * 2. the account that is configured for other keys of the same owner, if it is only one
 * 3. the key's owner
 * 4. an account for this key alone
 *
 * If the configuration divides one owner's keys into several accounts, it does so on purpose. It
 * does not say to which of them a further key belongs.
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

/** Adds the benches of one account to another, when a key turns out to belong to the other. */
export function merge(from: AccountState, into: AccountState, nowMs: number): void {
  const latest = (a: Bench | null, b: Bench | null) => (b === null ? a : later(a, b, nowMs))
  into.bench = latest(into.bench, from.bench)
  into.freeBench = latest(into.freeBench, from.freeBench)
  into.hadNoRoom ||= from.hadNoRoom
  for (const [model, bench] of from.modelBenches) {
    into.modelBenches.set(model, later(into.modelBenches.get(model) ?? null, bench, nowMs))
  }
}
