import * as z from 'zod/mini'
import { accountId, keyId, modelId } from '../balancing/ids.ts'
import { isNonEmpty, type NonEmpty } from '../balancing/non-empty.ts'
import { AFFINITIES, type KeySelector, type RouteConfig } from '../balancing/routes.ts'
import { STRATEGY_NAMES } from '../balancing/strategies/strategy-registry.ts'
import { type CachePolicy, cacheFields, cacheOf } from './cache-policy.ts'
import { boundedInteger, listOf, oneOf, section, shown, type Wording, word } from './fields.ts'
import { someTimeoutFields, type Timeouts, timeoutsOf } from './timeouts.ts'

/** How requests for some models are served, with a value for every setting. */
export interface RoutePolicy extends RouteConfig {
  readonly timeouts: Timeouts
  readonly maxAttempts: number
  /** Null where every request makes its own upstream call. */
  readonly cache: CachePolicy | null
}

const MAX_ROUTES = 100
const MAX_PATTERNS = 100
const MAX_SELECTORS = 1000
const MAX_FALLBACKS = 20
/** A public name has at most 64 characters, and `account:` before it has 8. */
const MAX_SELECTOR_LENGTH = 80
export const MAX_NAME_LENGTH = 256

/** The name of a model at OpenRouter. */
export const modelName = (wording?: Wording) => word(MAX_NAME_LENGTH, wording)

/** The name of one model, not a pattern: the gateway sends it upstream. */
export const oneModel = () =>
  modelName().check(
    z.regex(/^[^*]*$/, {
      error: ({ input }) => `must be the name of one model, without "*", given ${shown(input)}`,
    }),
  )

/** The name of a model, or the beginning of one. */
export const pattern = (wording: Wording = shown) =>
  modelName(wording).check(
    z.regex(/^[^*]*\*?$/, {
      error: ({ input }) =>
        `must be the name of a model, or the beginning of one with "*" after it, given ${wording(input)}`,
    }),
  )

/** A key's id, `tag:` with a tag, or `account:` with an account. */
export const selector = (wording: Wording = shown) =>
  word(MAX_SELECTOR_LENGTH, wording).check(
    z.refine((text) => text.replace(SELECTOR_PREFIX, '') !== '', {
      error: ({ input }) => `must have a name after the colon, given ${wording(input)}`,
    }),
  )

/** The prefix of a selector by tag or account. A key's id must not begin with it. */
export const SELECTOR_PREFIX = /^(tag|account):/

/** The most upstream attempts of one request. */
export const maxAttempts = () => boundedInteger(1, 10)

const route = section({
  models: listOf(pattern(), { min: 1, max: MAX_PATTERNS }),
  keys: z.optional(listOf(selector(), { min: 1, max: MAX_SELECTORS })),
  strategy: z.optional(oneOf(STRATEGY_NAMES)),
  affinity: z.optional(oneOf(AFFINITIES)),
  fallback_models: z.optional(listOf(oneModel(), { max: MAX_FALLBACKS })),
  timeouts: z.optional(someTimeoutFields),
  max_attempts: z.optional(maxAttempts()),
  cache: z.optional(cacheFields),
})

export const routeFields = listOf(route, { max: MAX_ROUTES })

/** The settings that a route takes from the pool if it does not set them itself. */
export interface PoolWide {
  readonly strategy: RouteConfig['strategy']
  readonly affinity: RouteConfig['affinity']
  readonly max_attempts: number
  readonly timeouts: Parameters<typeof timeoutsOf>[0]
  readonly cache?: Parameters<typeof cacheOf>[0]
}

/** All configured routes, and last the route for all other models, with the pool's settings. */
export function routesOf(
  routes: z.infer<typeof routeFields>,
  pool: PoolWide,
): NonEmpty<RoutePolicy> {
  const all = [...routes, { models: ['*'] }].map((fields) => routeOf(fields, pool))
  if (!isNonEmpty(all)) throw new Error('Bug: the route for all other models is missing')
  return all
}

function routeOf(fields: z.infer<typeof route>, pool: PoolWide): RoutePolicy {
  const { models } = fields
  if (!isNonEmpty(models)) throw new Error('Bug: the schema accepted a route without a model')
  return {
    models,
    keys: fields.keys?.map(selectorOf) ?? null,
    strategy: fields.strategy ?? pool.strategy,
    affinity: fields.affinity ?? pool.affinity,
    fallbackModels: (fields.fallback_models ?? []).map(modelId),
    timeouts: timeoutsOf(pool.timeouts, fields.timeouts),
    maxAttempts: fields.max_attempts ?? pool.max_attempts,
    cache: cacheOf(fields.cache ?? pool.cache),
  }
}

export function selectorOf(text: string): KeySelector {
  const name = text.replace(SELECTOR_PREFIX, '')
  if (text.startsWith('tag:')) return { kind: 'tag', tag: name }
  if (text.startsWith('account:')) return { kind: 'account', account: accountId(name) }
  return { kind: 'id', id: keyId(text) }
}

/** As much of the keys as selectors go by. */
export type SelectableKeys = readonly {
  readonly config: { readonly id: string; readonly tags: readonly string[] }
}[]

/**
 * Why a selector selects nothing: a typo must not be ignored; null if it may select something. A
 * selector by account always may, since the pool may learn a key's account later.
 */
export function selectorFault(
  selector: KeySelector,
  keys: SelectableKeys,
  wording: Wording = shown,
): string | null {
  switch (selector.kind) {
    case 'id':
      return keys.some(({ config }) => config.id === selector.id)
        ? null
        : `no key has that id, given ${wording(selector.id)}`
    case 'tag':
      return keys.some(({ config }) => config.tags.includes(selector.tag))
        ? null
        : `no key has that tag, given ${wording(selector.tag)}`
    case 'account':
      return null
  }
}

/** The faults of the selectors of some lists. */
export function selectorFaults(
  lists: readonly { readonly where: string; readonly keys: readonly KeySelector[] | null }[],
  keys: SelectableKeys,
  wording?: Wording,
): string[] {
  return lists.flatMap(({ where, keys: selectors }) =>
    (selectors ?? []).flatMap((selector, i) => {
      const found = selectorFault(selector, keys, wording)
      return found === null ? [] : [`${where}.keys[${i}]: ${found}`]
    }),
  )
}
