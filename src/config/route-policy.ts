import type { z } from 'zod'
import { accountId, keyId, modelId } from '../balancing/ids.ts'
import { isNonEmpty, type NonEmpty } from '../balancing/non-empty.ts'
import { AFFINITIES, type KeySelector, type RouteConfig } from '../balancing/routes.ts'
import { STRATEGY_NAMES } from '../balancing/strategies/strategy-registry.ts'
import { boundedInteger, listOf, oneOf, section, shown, word } from './fields.ts'
import { someTimeoutFields, type Timeouts, timeoutsOf } from './timeouts.ts'

/** How requests for some models are served, with nothing left open. */
export interface RoutePolicy extends RouteConfig {
  readonly timeouts: Timeouts
  readonly maxAttempts: number
}

const MAX_ROUTES = 100
const MAX_PATTERNS = 100
const MAX_SELECTORS = 1000
const MAX_FALLBACKS = 20
/** A public name is 64 long at most, and `account:` stands before it. */
const MAX_SELECTOR_LENGTH = 80
export const MAX_NAME_LENGTH = 256

/** The name of a model, as OpenRouter knows it. */
export const modelName = () => word(MAX_NAME_LENGTH)

/** One model and no other: what is sent has no stars. */
export const oneModel = () =>
  modelName().regex(/^[^*]*$/, {
    error: ({ input }) => `must be the name of one model, without a star, given ${shown(input)}`,
  })

const pattern = () =>
  modelName().regex(/^[^*]*\*?$/, {
    error: ({ input }) =>
      `must be the name of a model, or the beginning of one and then a star, given ${shown(input)}`,
  })

/** An id, `tag:` and a tag, or `account:` and an account. */
const selector = () =>
  word(MAX_SELECTOR_LENGTH).refine((text) => text.replace(SELECTOR_PREFIX, '') !== '', {
    error: ({ input }) => `must name something after the colon, given ${shown(input)}`,
  })

/** What makes a selector of something else than an id. No key's id may begin so. */
export const SELECTOR_PREFIX = /^(tag|account):/

/** How many upstream attempts a request may make in all. */
export const maxAttempts = () => boundedInteger(1, 10)

const route = section({
  models: listOf(pattern(), { min: 1, max: MAX_PATTERNS }),
  keys: listOf(selector(), { min: 1, max: MAX_SELECTORS }).optional(),
  strategy: oneOf(STRATEGY_NAMES).optional(),
  affinity: oneOf(AFFINITIES).optional(),
  fallback_models: listOf(oneModel(), { max: MAX_FALLBACKS }).optional(),
  timeouts: someTimeoutFields.optional(),
  max_attempts: maxAttempts().optional(),
})

export const routeFields = listOf(route, { max: MAX_ROUTES })

/** What a route takes from the pool where it says nothing itself. */
export interface PoolWide {
  readonly strategy: RouteConfig['strategy']
  readonly affinity: RouteConfig['affinity']
  readonly max_attempts: number
  readonly timeouts: Parameters<typeof timeoutsOf>[0]
}

/** Every route, and after them the pool's own way with all other models. */
export function routesOf(
  routes: z.infer<typeof routeFields>,
  pool: PoolWide,
): NonEmpty<RoutePolicy> {
  const all = [...routes, { models: ['*'] }].map((fields) => routeOf(fields, pool))
  if (!isNonEmpty(all)) throw new Error('The route for all other models is always there')
  return all
}

function routeOf(fields: z.infer<typeof route>, pool: PoolWide): RoutePolicy {
  const { models } = fields
  if (!isNonEmpty(models)) throw new Error('The schema lets no route pass without a model')
  return {
    models,
    keys: fields.keys?.map(selectorOf) ?? null,
    strategy: fields.strategy ?? pool.strategy,
    affinity: fields.affinity ?? pool.affinity,
    fallbackModels: (fields.fallback_models ?? []).map(modelId),
    timeouts: timeoutsOf(pool.timeouts, fields.timeouts),
    maxAttempts: fields.max_attempts ?? pool.max_attempts,
  }
}

function selectorOf(text: string): KeySelector {
  const name = text.replace(SELECTOR_PREFIX, '')
  if (text.startsWith('tag:')) return { kind: 'tag', tag: name }
  if (text.startsWith('account:')) return { kind: 'account', account: accountId(name) }
  return { kind: 'id', id: keyId(text) }
}

/**
 * Selectors that select nothing because no configured key has that id or tag: a
 * typo must not be a no-op. An account may be learned later.
 */
export function selectorFaults(
  routes: readonly RouteConfig[],
  keys: readonly { readonly config: { readonly id: string; readonly tags: readonly string[] } }[],
): string[] {
  const ids = new Set(keys.map(({ config }) => config.id))
  const tags = new Set(keys.flatMap(({ config }) => config.tags))
  const fault = (selector: KeySelector): string | null => {
    switch (selector.kind) {
      case 'id':
        return ids.has(selector.id) ? null : `no key has that id, given ${shown(selector.id)}`
      case 'tag':
        return tags.has(selector.tag) ? null : `no key has that tag, given ${shown(selector.tag)}`
      case 'account':
        return null
    }
  }
  return routes.flatMap(({ keys: selectors }, i) =>
    (selectors ?? []).flatMap((selector, j) => {
      const found = fault(selector)
      return found === null ? [] : [`POLICY.routes[${i}].keys[${j}]: ${found}`]
    }),
  )
}
