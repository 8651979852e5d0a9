import type { ClientId, GroupId } from '../ids.ts'
import { type KeysOfClient, matchesModel } from '../routes.ts'
import type { Clients, ClientTerms, ClientToken, GroupTerms } from './clients.ts'
import { isLimited } from './quota.ts'

/** What a Worker has to know of a client before it asks the pool. */
export interface Caller {
  readonly id: ClientId
  /** Null for none. An object of an earlier release does not tell it. */
  readonly groupId?: GroupId | null
  /** Lists of patterns; a model is allowed if each list matches it. */
  readonly models: readonly (readonly string[])[]
  /** The part of the pool that it may use; see `keysFor`. */
  readonly keys: KeysOfClient
  /** When it ends, in epoch milliseconds; null for never. */
  readonly expiresAtMs: number | null
  /** Whether the pool has to know whose a request is before it grants a lease. */
  readonly isLimited: boolean
  /** Whether its requests need an estimate of their tokens. */
  readonly hasTokenLimit: boolean
  /** Null for a client whose money nobody counts. */
  readonly budget: CallerBudget | null
}

/** What the bound of a request's cost depends on besides the request. */
export interface CallerBudget {
  /** The length of an answer that neither the request nor the model limits, in tokens. */
  readonly assumeOutputTokens: number
}

/** Anybody, where callers need no client key. */
export function callerWithoutLimits(id: ClientId): Caller {
  return {
    id,
    models: [],
    keys: [],
    expiresAtMs: null,
    isLimited: false,
    hasTokenLimit: false,
    budget: null,
  }
}

export function callerOf(client: ClientTerms, group: GroupTerms | null): Caller {
  const both = group === null ? [client] : [client, group]
  const notNull = <T>(values: readonly (T | null)[]) => values.filter((value) => value !== null)
  const keys = notNull(both.map((terms) => terms.keys))
  const ends = notNull(both.map(({ expiresAtMs }) => expiresAtMs))
  const budgets = both.flatMap((terms) => terms.budgets)
  return {
    id: client.id,
    groupId: client.groupId,
    models: notNull(both.map(({ models }) => models)),
    keys,
    expiresAtMs: ends.length === 0 ? null : Math.min(...ends),
    isLimited: keys.length > 0 || both.some(isLimited),
    hasTokenLimit: both.some(({ tpm }) => tpm !== null),
    budget:
      budgets.length === 0
        ? null
        : { assumeOutputTokens: Math.max(...budgets.map((terms) => terms.assumeOutputTokens)) },
  }
}

/**
 * Whether a client may ask for a model, by any of its names: an alias may be allowed, or the model
 * behind it.
 */
export function mayUse({ models }: Pick<Caller, 'models'>, names: readonly string[]): boolean {
  return models.every((patterns) =>
    patterns.some((pattern) => names.some((name) => matchesModel(pattern, name))),
  )
}

/** A client that was made at run time, as a Worker knows it. */
export interface DirectoryEntry {
  readonly caller: Caller
  readonly tokens: readonly ClientToken[]
}

/** The clients that were made at run time. One whose group is gone may not call. */
export function directory({ byId, groups }: Clients): readonly DirectoryEntry[] {
  return [...byId.values()].flatMap(({ terms, source, tokens }) => {
    const group = terms.groupId === null ? null : groups.get(terms.groupId)
    if (source.kind === 'configured' || group === undefined) return []
    return [{ caller: callerOf(terms, group?.terms ?? null), tokens }]
  })
}
