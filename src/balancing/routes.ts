import type { AccountId, KeyId, ModelId } from './ids.ts'
import type { NonEmpty } from './non-empty.ts'
import type { StrategyName } from './strategies/strategy-registry.ts'

/**
 * Which requests stay together:
 * - `none`: no requests
 * - `session`: the requests of a conversation that the caller names
 * - `conversation`: also those of an unnamed conversation, which is recognized by its beginning
 */
export const AFFINITIES = ['none', 'session', 'conversation'] as const
export type Affinity = (typeof AFFINITIES)[number]

/** Selects keys of a pool. Operators write it as `team-a`, `tag:batch` or `account:acme`. */
export type KeySelector =
  | { readonly kind: 'id'; readonly id: KeyId }
  | { readonly kind: 'tag'; readonly tag: string }
  | { readonly kind: 'account'; readonly account: AccountId }

/** How requests for some models are served, with the pool's settings already filled in. */
export interface RouteConfig {
  /** Exact names, or prefixes that end in `*`. */
  readonly models: NonEmpty<string>
  /** Which keys may serve; null for all keys. */
  readonly keys: readonly KeySelector[] | null
  readonly strategy: StrategyName
  readonly affinity: Affinity
  /** Tried in this order when the requested model is not available. */
  readonly fallbackModels: readonly ModelId[]
}

/**
 * The first route that matches one of the names. A request may have two names: an alias, and the
 * model behind the alias. A route may be written for either. The last route of a pool takes every
 * model, so there always is a route.
 */
export function routeFor<R extends Pick<RouteConfig, 'models'>>(
  routes: NonEmpty<R>,
  names: readonly string[],
): R {
  const last = routes.length - 1
  for (let i = 0; i < last; i++) {
    const route = routes[i] as R
    if (route.models.some((pattern) => names.some((name) => matchesModel(pattern, name)))) {
      return route
    }
  }
  return routes[last] as R
}

/** `anthropic/*` matches names that begin with `anthropic/`. A pattern without a star is exact. */
export function matchesModel(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern
}

/** Whether a selector selects a key. */
export function selects(
  selector: KeySelector,
  key: { readonly id: KeyId; readonly tags: readonly string[]; readonly account: AccountId },
): boolean {
  switch (selector.kind) {
    case 'id':
      return key.id === selector.id
    case 'tag':
      return key.tags.includes(selector.tag)
    case 'account':
      return key.account === selector.account
  }
}

/** Lists of selectors; a key is selected if each list selects it. */
export type KeysOfClient = readonly (readonly KeySelector[])[]
