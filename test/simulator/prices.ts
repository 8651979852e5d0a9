import { z } from 'zod'
import { isRecord } from './json-schema-sample.ts'
import type { Model } from './models.ts'
import { listOf, stringOf } from './request-fields.ts'
import type { Settings } from './world.ts'

const price = z.string()
const prices = {
  prompt: price,
  completion: price,
  request: price,
  image: price,
  web_search: price,
  internal_reasoning: price,
  input_cache_read: price,
  input_cache_write: price,
}

/** Prices in OpenRouter's own form: decimal strings of USD. */
export const pricingSchema = z
  .strictObject({
    ...prices,
    /** Of those whose conditions hold, the later one wins, price by price. */
    overrides: z.array(
      z
        .strictObject({
          ...prices,
          /** It holds for longer prompts only. */
          min_prompt_tokens: z.number(),
          /** A daily window as HHMM, the end excluded. It may go past midnight. */
          utc_start: z.number(),
          utc_end: z.number(),
        })
        .partial(),
    ),
  })
  .partial()
export type Pricing = z.infer<typeof pricingSchema>

/** One of several endpoints of a model. Those of a tier end in it: `openai/fast`, `openai/flex`. */
export const endpointSchema = z.strictObject({
  tag: z.string(),
  pricing: pricingSchema,
  maxCompletionTokens: z.number().int().positive().nullable().default(null),
})
export type Endpoint = z.infer<typeof endpointSchema>

/** What one request is charged by. In USD: per token, per unit, and at once. */
export interface Charges {
  readonly promptUsd: number
  readonly cachedUsd: number
  readonly completionUsd: number
  readonly reasoningUsd: number
  readonly unitUsd: number
  readonly fixedUsd: number
  /** The share of the price that is charged; the rest is paid with the account's own provider key. */
  readonly byokFee: number | null
}

export const NO_CHARGES: Charges = {
  promptUsd: 0,
  cachedUsd: 0,
  completionUsd: 0,
  reasoningUsd: 0,
  unitUsd: 0,
  fixedUsd: 0,
  byokFee: null,
}

/** Prices are never in scientific notation. */
const decimal = (usd: number) => usd.toFixed(12).replace(/\.?0+$/, '')

/** The list price of a model: what a test has set, else its own. A cached token costs a tenth. */
export function pricingOf(model: Model, settings: Settings): Pricing {
  const { promptUsd, completionUsd, pricing } = model
  return {
    prompt: decimal(promptUsd),
    completion: decimal(completionUsd),
    input_cache_read: decimal(promptUsd / 10),
    ...pricing,
    ...settings.prices[model.id],
  }
}

/** The endpoints of a model: those that a test has set, else one at the list price. */
export function endpointsOf(model: Model, settings: Settings): readonly Endpoint[] {
  const tag = model.provider.toLowerCase().replaceAll(' ', '-')
  const one = {
    tag,
    pricing: pricingOf(model, settings),
    maxCompletionTokens: model.maxOutputTokens,
  }
  return settings.endpoints[model.id] ?? [one]
}

const TIER = /\/(fast|flex)$/

/** The endpoint that serves a request; null if none is as cheap as the request wants. */
export function servingEndpoint(model: Model, body: unknown, settings: Settings): Endpoint | null {
  const fields = isRecord(body) ? body : {}
  const provider = isRecord(fields.provider) ? fields.provider : {}
  const limit = isRecord(provider.max_price) ? provider.max_price : {}
  const within = ({ pricing }: Endpoint) =>
    (['prompt', 'completion'] as const).every(
      (name) => limit[name] === undefined || Number(pricing[name]) * 1e6 <= Number(limit[name]),
    )
  const all = endpointsOf(model, settings).filter(within)
  const named = all.find(({ tag }) => tag === stringOf(listOf(provider.order)[0]))
  const tier = wantedTier(fields)
  const tiered = tier === null ? undefined : all.find(({ tag }) => TIER.exec(tag)?.[1] === tier)
  return named ?? tiered ?? all.find(({ tag }) => !TIER.test(tag)) ?? null
}

function wantedTier({ service_tier: tier, speed, model }: Readonly<Record<string, unknown>>) {
  if (tier === 'priority' || tier === 'fast' || speed === 'fast') return 'fast'
  if (typeof model === 'string' && model.endsWith(':nitro')) return 'fast'
  return tier === 'flex' ? 'flex' : null
}

/** What this request is charged by at this endpoint. */
export function chargesOf(
  model: Model,
  endpoint: Endpoint,
  request: { readonly promptTokens: number; readonly body: unknown; readonly nowMs: number },
  settings: Settings,
): Charges {
  const { overrides = [], ...base } = endpoint.pricing
  const held = overrides.filter((one) => holds(one, request))
  const now: Pricing = Object.assign({}, base, ...held)
  const usd = (name: Exclude<keyof Pricing, 'overrides'>) => Number(now[name] ?? 0)
  const text = JSON.stringify(request.body) ?? ''
  const promptUsd = usd('prompt')
  const writes = text.includes('"cache_control":{') && now.input_cache_write !== undefined
  return {
    promptUsd: writes ? usd('input_cache_write') : promptUsd,
    cachedUsd: now.input_cache_read === undefined ? promptUsd : usd('input_cache_read'),
    completionUsd: usd('completion'),
    reasoningUsd:
      now.internal_reasoning === undefined ? usd('completion') : usd('internal_reasoning'),
    unitUsd: model.unitUsd,
    fixedUsd:
      usd('request') + imagesIn(text) * usd('image') + searchesIn(request.body) * searchUsd(now),
    byokFee: settings.byokFee,
  }
}

function holds(
  override: NonNullable<Pricing['overrides']>[number],
  { promptTokens, nowMs }: { readonly promptTokens: number; readonly nowMs: number },
): boolean {
  const { min_prompt_tokens: over, utc_start: start, utc_end: end } = override
  if (over !== undefined && promptTokens <= over) return false
  if (start === undefined || end === undefined) return true
  const date = new Date(nowMs)
  const clock = date.getUTCHours() * 100 + date.getUTCMinutes()
  return start <= end ? clock >= start && clock < end : clock >= start || clock < end
}

const imagesIn = (text: string) =>
  text.match(/"type":"(?:image_url|input_image|image)"/g)?.length ?? 0

/** The web plugin searches once. */
function searchesIn(body: unknown): number {
  const plugins = isRecord(body) ? listOf(body.plugins) : []
  return plugins.some((plugin) => isRecord(plugin) && plugin.id === 'web') ? 1 : 0
}

/** Without a price of the model's own, five results at four tenths of a cent. */
const searchUsd = (pricing: Pricing) => Number(pricing.web_search ?? 0.02)
