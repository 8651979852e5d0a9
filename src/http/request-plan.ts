import { type Caller, mayUse } from '../balancing/clients/caller.ts'
import { ASSUMED_OUTPUT_TOKENS } from '../balancing/clients/max-spend.ts'
import { type ModelId, modelId } from '../balancing/ids.ts'
import type { RequestAffinity } from '../balancing/lease-request.ts'
import type { NonEmpty } from '../balancing/non-empty.ts'
import { routeFor } from '../balancing/routes.ts'
import type { Policy } from '../config/policy.ts'
import type { RoutePolicy } from '../config/route-policy.ts'
import { sha256Hex, sha256HexOfBytes } from '../config/secrets.ts'
import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import type { CostEstimate } from '../gateway/attempts/budget-wait.ts'
import type { EstimatePrice } from '../gateway/attempts/estimated-usage.ts'
import type { HeldBytes } from '../gateway/byte-budget.ts'
import { OutgoingBody } from '../gateway/outgoing-body.ts'
import { estimatedCostUsd } from '../openrouter/prices/estimated-cost.ts'
import { readPricedFields } from '../openrouter/prices/priced-fields.ts'
import { upperBoundNanos } from '../openrouter/prices/upper-bound.ts'
import { conversationOf, maxTokensOf } from '../openrouter/requests/conversation.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import type { Gateway } from './composition-root.ts'
import { isFormType, type ReadBody, readModel } from './request-body.ts'

/** What the request's contents and the configuration decide about its journey. */
export interface RequestPlan {
  readonly asked: ModelId
  readonly models: NonEmpty<ModelId>
  readonly route: RoutePolicy
  readonly routeIndex: number
  readonly affinity: RequestAffinity | null
  readonly promptTokens: number
  readonly tokens: number
  readonly size: number
  readonly parts: number
  readonly body: OutgoingBody
  /** Only where the client or a key has a budget. */
  readonly cost?: () => CostEstimate
  readonly estimatePrice?: EstimatePrice
}

/** A request whose body has been read and parsed as far as routing needs. */
export interface ReadRequest extends ReadBody {
  readonly shape: ApiShape
  readonly bytes: Uint8Array
  /** What the bytes have of the isolate's budget. */
  readonly held: HeldBytes
  readonly headers: Headers
  readonly caller: Caller
}

/**
 * The largest answer of a model, in tokens: what OpenRouter checks a request's price by if the request
 * does not limit its answer. No model's is larger.
 */
const LARGEST_ANSWER_TOKENS = 1_000_000

/** The estimated tokens of an answer if the request does not limit them. */
const UNBOUNDED_ANSWER_TOKENS = 1_000

/** The plan of a request's journey, or why there is none. */
export type PlannedBody =
  | { readonly ok: true; readonly plan: RequestPlan & { readonly model: string } }
  | { readonly ok: false; readonly error: GatewayError }

/** Plans the journey of a request whose body has come. What was read of the body ends with this. */
export async function planBody(
  gateway: Gateway,
  { background, ...request }: Omit<ReadRequest, keyof ReadBody> & Pick<Beside, 'background'>,
): Promise<PlannedBody> {
  const { ports, config } = gateway
  const { aliases } = config.policy
  const pause = () => new Promise<void>((resolve) => void ports.timer(0, resolve))
  const contentType = request.headers.get('content-type') ?? ''
  const read = await readModel(request.bytes, contentType, pause)
  if (!read.ok) return read
  const { model } = read
  const mistake = read.isFixed ? null : unknownAlias(model, aliases)
  const whole = { ...request, ...read }
  const error = mistake ?? (await modelFault(whole, aliases, pause))
  if (error !== null) return { ok: false, error }
  return {
    ok: true,
    plan: { ...(await planRequest(gateway, whole, { pause, background })), model },
  }
}

/** What goes on beside a request that is planned. */
export interface Beside {
  /** Keeps the isolate alive for work that no answer waits for. */
  readonly background: (work: Promise<unknown>) => void
  /** Lets other requests go on while a large body is read. */
  readonly pause: () => Promise<void>
}

async function planRequest(
  gateway: Gateway,
  request: ReadRequest,
  beside: Beside,
): Promise<RequestPlan> {
  const { config, ports, hasTokenLimits } = gateway
  const { json, bytes, held, withModel, caller } = request
  const { routes } = config.policy
  const { asked, models, route } = plannedModels(config.policy, request)
  const affinity = await affinityOf(route, request)
  const answer = maxTokensOf(json)
  // Only money, and a limit of tokens per minute, are worth an estimate by language. Sizes are only
  // compared with each other.
  const isMetered = hasTokenLimits || caller.hasTokenLimit
  const isClose = isMetered || isPriced(gateway, caller)
  const promptTokens = request.promptTokens(isClose ? 'close' : 'rough', ports.random)
  const tokens = isMetered ? promptTokens + (answer ?? UNBOUNDED_ANSWER_TOKENS) : 0
  const size = promptTokens + (answer ?? LARGEST_ANSWER_TOKENS)
  const body = new OutgoingBody(bytes, asked, held, withModel)
  const parts = request.shape.partsOf?.(json) ?? 1
  const routeIndex = routes.indexOf(route)
  const cost = await costOf(gateway, request, { models, route, promptTokens, ...beside })
  const plan = {
    asked,
    models,
    route,
    routeIndex,
    affinity,
    promptTokens,
    tokens,
    size,
    parts,
    body,
  }
  return { ...plan, ...cost }
}

/** The models of a request in the order in which they are tried, and its route. */
export function plannedModels(
  { routes, aliases }: Pick<Policy, 'routes' | 'aliases'>,
  { model, isFixed, caller }: Pick<ReadRequest, 'model' | 'isFixed' | 'caller'>,
): { asked: ModelId; models: NonEmpty<ModelId>; route: RoutePolicy } {
  const asked = modelId(model)
  // Where only `models[]` names a model, no other name can be put in: OpenRouter falls back by itself.
  const sent = isFixed ? asked : (aliases.get(model) ?? asked)
  const route = routeFor(routes, [asked, sent])
  const fallbackModels = isFixed ? [] : route.fallbackModels
  const fallbacks = fallbackModels.map((fallback) => aliases.get(fallback) ?? fallback)
  const allowed = fallbacks.filter((name) => name !== sent && mayUse(caller, [name]))
  const models: NonEmpty<ModelId> = [sent, ...new Set(allowed)]
  return { asked, models, route }
}

/**
 * OpenRouter's response cache belongs to one key and depends on the exact bytes of the body. Prompt
 * caches belong to an account and depend on the conversation.
 */
async function affinityOf(
  { affinity }: RoutePolicy,
  { shape, bytes, json, opening, headers }: ReadRequest,
): Promise<RequestAffinity | null> {
  if (affinity === 'none') return null
  if (headers.get('x-openrouter-cache')?.trim().toLowerCase() === 'true') {
    return { kind: 'cache', id: (await sha256HexOfBytes(bytes)).slice(0, HASH_DIGITS) }
  }
  const conversation = conversationOf(json, headers, () => shape.openingOf(opening()), affinity)
  if (conversation === null) return null
  if (conversation.length <= SHORT_LENGTH) return affinityOfName(conversation)
  const hash = await sha256HexOfBytes(new TextEncoder().encode(conversation))
  return { kind: 'conversation', id: hash.slice(0, HASH_DIGITS) }
}

/** The affinity of a conversation that has a short name. */
export function affinityOfName(name: string): RequestAffinity {
  return { kind: 'conversation', id: sha256Hex(name).slice(0, HASH_DIGITS) }
}

/** Half of a SHA-256. It tells conversations apart and does not reveal what they contain. */
const HASH_DIGITS = 32

/** A longer text is hashed by the platform, which is faster from about here on. */
const SHORT_LENGTH = 1_000

/**
 * The error for a name that looks like a mistyped alias. OpenRouter's models are named
 * `author/model`, so `task:cdoe` can only be a mistake if there is an alias `task:code`.
 * OpenRouter's own error would not say so.
 */
export function unknownAlias(
  model: string,
  aliases: ReadonlyMap<string, ModelId>,
): GatewayError | null {
  const [, family] = /^([^/:]+:)[^/]*$/.exec(model) ?? []
  if (family === undefined || aliases.has(model)) return null
  if (![...aliases.keys()].some((alias) => alias.startsWith(family))) return null
  const message = `There is no alias with that name. Names that begin with "${family}" are aliases of this gateway. Check the name.`
  return gatewayError('invalid_request', message)
}

const UNREADABLE =
  'This client key may use some models only, and a field of the body is too long to tell which it asks for.'

/** The error for a model that the client may not use; null if it may use all that it names. */
async function modelFault(
  { model, bytes, headers, caller }: ReadRequest,
  aliases: ReadonlyMap<string, ModelId>,
  pause: () => Promise<void>,
): Promise<GatewayError | null> {
  if (caller.models.length === 0) return null
  // OpenRouter may send the request to any model that the body names.
  const fields = isForm(headers) ? null : await readPricedFields(bytes, pause)
  if (fields?.isReadable === false) {
    // What is too long to be read may name any model.
    return gatewayError('invalid_request', UNREADABLE)
  }
  const others = fields?.models ?? []
  const refused = [model, ...others].find(
    (name) => !mayUse(caller, [name, aliases.get(name) ?? name]),
  )
  if (refused === undefined) return null
  const message = 'This client key may not use that model. GET models shows those that it may use.'
  return gatewayError('model_not_allowed', message, { metadata: { model: refused } })
}

/** Who may serve a request, and for how long. */
interface Serving extends Beside {
  readonly models: readonly ModelId[]
  readonly route: RoutePolicy
  readonly promptTokens: number
}

/** Whether a budget is to pay for a request: its client's, or that of the key that will serve it. */
function isPriced({ hasSpendLimits }: Gateway, { budget }: Caller): boolean {
  return hasSpendLimits || budget !== null
}

const FREE: CostEstimate = { nanos: 0, isPending: false }

/**
 * The most that a request can cost, where the client or a key has a budget. While no prices are known, or where
 * they do not tell, it has no bound: what then becomes of it is the budget's to say. No request waits
 * for prices, but one that waits for something else has them when they come.
 */
async function costOf(
  gateway: Gateway,
  request: ReadRequest,
  { models, route, promptTokens, background, pause }: Serving,
): Promise<Pick<RequestPlan, 'cost' | 'estimatePrice'>> {
  const { prices, ports } = gateway
  const { budget } = request.caller
  if (!isPriced(gateway, request.caller)) return {}
  if (request.shape.isFree) return { cost: () => FREE }
  const priced = {
    models,
    promptTokens,
    fields: isForm(request.headers) ? null : await readPricedFields(request.bytes, pause),
    maxRunMs: route.timeouts.totalMs,
    assumedAnswerTokens: budget?.assumeOutputTokens ?? ASSUMED_OUTPUT_TOKENS,
  }
  const beside = { background, fetch: ports.fetch }
  let known: CostEstimate | null = null
  const cost = (): CostEstimate => {
    if (known !== null) return known
    const table = prices.pricesFor(models, beside)
    if (table === null) return { nanos: null, isPending: prices.isComing() }
    const bound = upperBoundNanos(priced, table, ports.nowMs())
    known = { nanos: bound.kind === 'bounded' ? bound.nanos : null, isPending: false }
    return known
  }
  // Now, so that prices that this isolate lacks are on their way before the pool is asked.
  cost()
  const estimatePrice: EstimatePrice = (model, usage) => {
    const table = prices.pricesFor(models, beside)
    return table === null ? null : estimatedCostUsd(usage, model, table, ports.nowMs())
  }
  return { cost, estimatePrice }
}

function isForm(headers: Headers): boolean {
  return isFormType(headers.get('content-type') ?? '')
}
