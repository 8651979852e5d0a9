import { type AccountLoad, createLoad } from '../affinity/account-load.ts'
import { type AccountId, accountId, type KeyId, keyId, type ModelId } from '../ids.ts'
import type { SizeNote } from '../limits/size-note.ts'
import { type Bench, isActive, later } from './bench.ts'

/** An account, with the benches that exclude all of its keys at once. */
export interface AccountState {
  readonly id: AccountId
  /** What affinity knows of it. */
  readonly load: AccountLoad
  /** How many keys belong to it. */
  keyCount: number
  bench: Bench | null
  /** Excludes the keys for `:free` models only. */
  freeBench: Bench | null
  readonly modelBenches: Map<ModelId, Bench>
  /** Keys that a lookup during the current bench showed without room. */
  readonly keysWithoutRoom: Set<KeyId>
  tooLarge: SizeNote | null
  /** When an operator last reset a key of it, in epoch milliseconds; 0 for never. */
  resetAtMs: number
}

/** An account without benches. */
export function createAccount(load: AccountLoad): AccountState {
  return {
    id: load.id,
    load,
    keyCount: 0,
    bench: null,
    freeBench: null,
    modelBenches: new Map(),
    keysWithoutRoom: new Set(),
    tooLarge: null,
    resetAtMs: 0,
  }
}

/**
 * Whether a model of the account is benched. Benches that have ended are dropped on the way, so that a
 * call costs no more than the benches that were made since the last one.
 */
export function hasBenchedModel(
  { modelBenches }: Pick<AccountState, 'modelBenches'>,
  nowMs: number,
): boolean {
  if (modelBenches.size === 0) return false
  for (const [model, bench] of modelBenches) {
    if (isActive(bench, nowMs)) return true
    modelBenches.delete(model)
  }
  return false
}

/** An account for one key alone. A configured account has no `/`, so the names cannot collide. */
export function ownAccount(key: KeyId): AccountId {
  return accountId(`own/${key}`)
}

/** The key of an account for one key alone; null for any other account. */
export function keyOfOwnAccount(id: AccountId): KeyId | null {
  return id.startsWith('own/') ? keyId(id.slice('own/'.length)) : null
}

/**
 * The keys that one budget of OpenRouter's covers: those of one creator (a member of an organization),
 * or those of one workspace. They are benched together, as the keys of an account are.
 */
export type BudgetGroup = AccountState

/** The name of a group. It collides with no account: see `ownAccount`. */
export function groupOf(kind: 'creator' | 'workspace', name: string): AccountId {
  return accountId(`${kind}/${name}`)
}

/**
 * Moves a key to another group.
 * @param from the group that it was in, or null
 * @returns the new group; null if `id` is
 */
export function regroup(
  groups: Map<AccountId, BudgetGroup>,
  from: BudgetGroup | null,
  id: AccountId | null,
): BudgetGroup | null {
  if ((from?.id ?? null) === id) return from
  if (from !== null) {
    from.keyCount -= 1
    if (from.keyCount === 0) groups.delete(from.id)
  }
  if (id === null) return null
  const into = groups.get(id) ?? createAccount(createLoad(id))
  groups.set(id, into)
  into.keyCount += 1
  return into
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
 *
 * @param configured the accounts that are configured for keys of this owner
 */
export function accountOf(key: Owned, configured: ReadonlySet<AccountId>): AccountId {
  if (key.config.account !== null) return key.config.account
  if (key.owner === null) return ownAccount(key.id)
  const [only] = configured
  return configured.size === 1 && only !== undefined ? only : key.owner
}

/**
 * Adds the benches of a key's own account to the account that the key turns out to belong to. What
 * a known account was benched for is not carried anywhere: it is that account's, not the key's.
 */
export function merge(from: AccountState, into: AccountState, nowMs: number): void {
  const latest = (a: Bench | null, b: Bench | null) => (b === null ? a : later(a, b, nowMs))
  into.bench = latest(into.bench, from.bench)
  into.freeBench = latest(into.freeBench, from.freeBench)
  into.resetAtMs = Math.max(into.resetAtMs, from.resetAtMs)
  for (const key of from.keysWithoutRoom) into.keysWithoutRoom.add(key)
  for (const [model, bench] of from.modelBenches) {
    into.modelBenches.set(model, later(into.modelBenches.get(model) ?? null, bench, nowMs))
  }
}
