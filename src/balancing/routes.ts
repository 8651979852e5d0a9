import type { AccountId, KeyId, ModelId } from './ids.ts'
import type { NonEmpty } from './non-empty.ts'
import type { StrategyName } from './strategies/strategy-registry.ts'

/** What keeps requests together: nothing, a conversation that names itself, or any conversation. */
export const AFFINITIES = ['none', 'session', 'conversation'] as const
export type Affinity = (typeof AFFINITIES)[number]

/** Part of a pool's keys, as an operator names it: `team-a`, `tag:batch`, `account:acme`. */
export type KeySelector =
  | { readonly kind: 'id'; readonly id: KeyId }
  | { readonly kind: 'tag'; readonly tag: string }
  | { readonly kind: 'account'; readonly account: AccountId }

/** How requests for some models are served. Whatever a route leaves open is the pool's. */
export interface RouteConfig {
  /** Exact names, or beginnings that end in `*`. */
  readonly models: NonEmpty<string>
  /** Which keys may serve; null for all of them. */
  readonly keys: readonly KeySelector[] | null
  readonly strategy: StrategyName
  readonly affinity: Affinity
  /** Tried in this order when the model asked for cannot be had. */
  readonly fallbackModels: readonly ModelId[]
}

/**
 * The first route that one of the names matches. A request may have two: the alias it came with
 * and the model that this stands for, and a route may be written for either. The last route of a
 * pool takes every model, so there always is one.
 */
export function routeFor<R extends Pick<RouteConfig, 'models'>>(
  routes: NonEmpty<R>,
  names: readonly string[],
): R {
  const found = routes.find(({ models }) =>
    models.some((pattern) => names.some((name) => matchesModel(pattern, name))),
  )
  return found ?? (routes[routes.length - 1] as R)
}

/** `anthropic/*` takes all that starts so; without a star the name has to be the same. */
export function matchesModel(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern
}

/** Whether a selector takes a key. */
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
