import { loadOf } from './affinity/affinity.ts'
import { accountOf, createAccount, groupOf, merge, ownAccount, regroup } from './health/account.ts'
import type { KeyReport } from './health/key-report.ts'
import type { AccountId } from './ids.ts'
import { type KeyState, lookAgainAtSisters, type PoolState } from './pool-state.ts'

/**
 * Learns who pays for a key. Costs as much as the owner has keys only where the key's account is
 * configured, and so may be that of the owner's other keys; else it costs the same for any pool.
 */
export function learnOwner(state: PoolState, key: KeyState, owner: AccountId, nowMs: number): void {
  if (key.owner !== null) state.owners.get(key.owner)?.keys.delete(key)
  key.owner = owner
  const known = state.owners.get(owner) ?? { keys: new Set(), configured: new Set() }
  state.owners.set(owner, known)
  known.keys.add(key)
  const { account } = key.config
  if (account !== null) known.configured.add(account)
  for (const moved of account === null ? [key] : known.keys) moveToAccount(state, moved, nowMs)
}

/** Moves a key to the account that it belongs to by what is known now. */
function moveToAccount(state: PoolState, key: KeyState, nowMs: number): void {
  const configured = key.owner === null ? undefined : state.owners.get(key.owner)?.configured
  const id = accountOf(key, configured ?? new Set())
  const from = key.account
  if (id === from.id) return
  const into = state.accounts.get(id) ?? createAccount(loadOf(state.affinities, id))
  state.accounts.set(id, into)
  if (from.id === ownAccount(key.id)) merge(from, into, nowMs)
  key.account = into
  lookAgainAtSisters(state, key)
  const interactive = key.inFlight - key.batch.inFlight
  from.load.inFlight -= interactive
  into.load.inFlight += interactive
  into.keyCount += 1
  from.keyCount -= 1
  if (from.keyCount === 0) state.accounts.delete(from.id)
  state.changes.accounts.add(id)
  for (const route of state.routes) {
    route.accounts = null
    if (route.config.keys?.some(({ kind }) => kind === 'account')) route.members = null
  }
}

/** Learns which other keys are covered by the budgets of the key's creator and of its workspace. */
export function learnGroups(
  state: PoolState,
  key: KeyState,
  lookup: Extract<KeyReport, { kind: 'valid' }>,
): void {
  for (const kind of ['creator', 'workspace'] as const) {
    const name = lookup[kind]
    if (name === undefined || name === null) continue
    const group = regroup(state.budgets, key[kind], groupOf(kind, name))
    if (group !== key[kind]) state.changes.keys.add(key.id)
    key[kind] = group
  }
}
