import { type ModelId, modelId } from '../balancing/ids.ts'
import type { RequestAffinity } from '../balancing/lease-request.ts'
import type { NonEmpty } from '../balancing/non-empty.ts'
import { routeFor } from '../balancing/routes.ts'
import type { RoutePolicy } from '../config/route-policy.ts'
import { sha256Hex } from '../config/secrets.ts'
import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import { conversationOf, maxTokensOf } from '../openrouter/requests/conversation.ts'
import { estimatePromptTokens } from '../openrouter/requests/token-estimate.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import type { Gateway } from './composition-root.ts'
import type { ReadBody } from './request-body.ts'

/** What the request's contents and the configuration decide about its journey. */
export interface RequestPlan {
  readonly asked: ModelId
  readonly models: NonEmpty<ModelId>
  readonly route: RoutePolicy
  readonly affinity: RequestAffinity | null
  readonly tokens: number
  readonly size: number
  readonly parts: number
  readonly bodyFor: (model: ModelId) => Uint8Array
}

/** A request whose body has been read and parsed as far as routing needs. */
export interface ReadRequest extends ReadBody {
  readonly shape: ApiShape
  readonly bytes: Uint8Array
  readonly headers: Headers
}

/**
 * The largest answer of a model, in tokens: what OpenRouter checks a request's price by if the request
 * does not limit its answer. No model's is larger.
 */
const LARGEST_ANSWER_TOKENS = 1_000_000

/** Averages of English. Here they need not be exact: sizes are compared with each other. */
const BYTES_PER_TOKEN = 4

/** The estimated tokens of an answer if the request does not limit them. */
const UNBOUNDED_ANSWER_TOKENS = 1_000

export async function planRequest(
  { config, ports, hasTokenLimits }: Gateway,
  request: ReadRequest,
): Promise<RequestPlan> {
  const { model, json } = request
  const { routes, aliases } = config.policy
  const asked = modelId(model)
  const sent = aliases.get(model) ?? asked
  const route = routeFor(routes, [asked, sent])
  const fallbacks = route.fallbackModels.map((fallback) => aliases.get(fallback) ?? fallback)
  const models = [sent, ...new Set(fallbacks.filter((fallback) => fallback !== sent))] as const
  const affinity = await affinityOf(route, request)
  const answer = maxTokensOf(json)
  // Only a limit of tokens per minute is worth an estimate that reads the whole prompt.
  const prompt = hasTokenLimits
    ? estimatePromptTokens(json, ports.random)
    : Math.ceil(request.bytes.length / BYTES_PER_TOKEN)
  const tokens = hasTokenLimits ? prompt + (answer ?? UNBOUNDED_ANSWER_TOKENS) : 0
  const size = prompt + (answer ?? LARGEST_ANSWER_TOKENS)
  const parts = request.shape.partsOf?.(json) ?? 1
  return { asked, models, route, affinity, tokens, size, parts, bodyFor: bodies(request, asked) }
}

/** The body as it came, or with another model name. Each body is made once. */
function bodies({ bytes, withModel }: ReadRequest, asked: ModelId): (model: ModelId) => Uint8Array {
  const made = new Map<ModelId, Uint8Array>([[asked, bytes]])
  return (model) => {
    const body = made.get(model) ?? withModel(model)
    made.set(model, body)
    return body
  }
}

/**
 * OpenRouter's response cache belongs to one key and depends on the exact bytes of the body. Prompt
 * caches belong to an account and depend on the conversation.
 */
async function affinityOf(
  { affinity }: RoutePolicy,
  { shape, bytes, json, headers }: ReadRequest,
): Promise<RequestAffinity | null> {
  if (affinity === 'none') return null
  if (headers.get('x-openrouter-cache')?.trim().toLowerCase() === 'true') {
    return { kind: 'cache', id: await shortHash(bytes) }
  }
  const conversation = conversationOf(json, headers, shape.openingOf(json), affinity)
  return conversation === null ? null : { kind: 'conversation', id: await shortHash(conversation) }
}

/** Half of a SHA-256. It tells conversations apart and does not reveal what they contain. */
async function shortHash(content: string | Uint8Array): Promise<string> {
  return (await sha256Hex(content)).slice(0, 32)
}

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
