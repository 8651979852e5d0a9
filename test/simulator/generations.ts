import { type Answer, joined } from './answer.ts'
import type { ApiShape } from './api-shape.ts'
import { withAccount } from './credentials.ts'
import { failure } from './errors.ts'
import type { Ended } from './journal.ts'
import { isRecord } from './json-schema-sample.ts'
import { round } from './money.ts'
import { json, type Played, type Reply } from './reply.ts'
import { openRouterError } from './shapes/openrouter-error.ts'
import { settingsOf, type Visit } from './visit.ts'
import type { Account } from './world.ts'

/** An answered request, as its account can look it up. */
interface Generation {
  readonly accountId: string
  readonly foundFromMs: number
  readonly data: Readonly<Record<string, unknown>>
  readonly content: Readonly<Record<string, unknown>>
}

/** By id, the oldest first; as many as the log keeps. */
export type Generations = Map<string, Generation>

/** Records an inference request that reached a model, for every kind of end. */
export function keepGeneration(visit: Visit, reply: Played, ended: Ended): void {
  const { simulation, account } = visit
  const { scene } = reply
  if (scene === null || account === null || visit.apiType === null) return
  const settings = settingsOf(visit)
  const nowMs = settings.nowMs ?? Date.now()
  const { generations } = simulation
  generations.set(scene.answer.id, {
    accountId: account.id,
    foundFromMs: nowMs + settings.generationAfterMs,
    data: dataOf(visit, reply, ended, visit.apiType),
    content: contentOf(visit, scene.answer, reply.error),
  })
  const oldest = generations.keys().next()
  if (generations.size > settings.logLimit && !oldest.done) generations.delete(oldest.value)
}

function dataOf(
  visit: Visit,
  reply: Played,
  ended: Ended,
  apiType: NonNullable<ApiShape['apiType']>,
) {
  const { entry, account } = visit
  const answer = reply.scene?.answer
  const usage = answer?.usage
  const generationMs = Date.now() - Date.parse(entry.at)
  const count = (tokens: number | undefined) => tokens ?? 0
  return {
    id: answer?.id,
    api_type: apiType,
    created_at: entry.at,
    model: entry.model,
    provider_name: answer?.provider ?? null,
    origin: entry.headers['http-referer'] ?? '',
    http_referer: entry.headers['http-referer'] ?? null,
    user_agent: entry.headers['user-agent'] ?? null,
    app_id: null,
    external_user: null,
    session_id: entry.headers['x-session-id'] ?? null,
    request_id: null,
    upstream_id: null,
    workspace_id: account?.workspaceId ?? null,
    data_region: 'global',
    router: null,
    preset_id: null,
    service_tier: null,
    web_search_engine: null,
    streamed: entry.stream,
    cancelled: ended.outcome === 'aborted',
    finish_reason: reply.error === null ? (answer?.finishReason ?? null) : 'error',
    native_finish_reason: reply.error === null ? (answer?.finishReason ?? null) : 'error',
    total_cost: ended.costUsd,
    usage: ended.costUsd,
    upstream_inference_cost: upstreamUsd(ended.costUsd, reply.scene?.charges.byokFee ?? null),
    cache_discount: null,
    is_byok: (reply.scene?.charges.byokFee ?? null) !== null,
    tokens_prompt: count(usage?.promptTokens),
    tokens_completion: count(usage?.completionTokens),
    native_tokens_prompt: count(usage?.promptTokens),
    native_tokens_completion: count(usage?.completionTokens),
    native_tokens_reasoning: count(usage?.reasoningTokens),
    native_tokens_cached: count(usage?.cachedTokens),
    native_tokens_completion_images: apiType === 'image' ? count(usage?.completionTokens) : null,
    num_media_prompt: null,
    num_media_completion: null,
    num_input_audio_prompt: null,
    num_search_results: null,
    num_fetches: null,
    latency: generationMs,
    generation_time: generationMs,
    moderation_latency: null,
    provider_responses: null,
    response_cache_source_id: reply.headers['x-openrouter-cache-source-id'] ?? null,
  }
}

/** What the provider took, of which OpenRouter charged a share. */
function upstreamUsd(costUsd: number, byokFee: number | null): number {
  return byokFee === null || byokFee === 0 ? costUsd : round(costUsd / byokFee)
}

function contentOf(visit: Visit, answer: Answer, error: string | null) {
  const { text } = visit.entry.body
  // Only bodies that the log keeps too: the others are too large to keep.
  const body = text !== null && isRecord(visit.body) ? visit.body : {}
  const messages = body.messages ?? body.input
  const input = Array.isArray(messages)
    ? { messages }
    : { prompt: String(body.prompt ?? body.input ?? '') }
  return {
    input,
    output: {
      completion: joined(answer, 'text'),
      reasoning: joined(answer, 'reasoning') || null,
    },
    error:
      error === null
        ? null
        : {
            message: error,
            status: null,
            provider_name: answer.provider,
            raw: null,
            previous_errors: [],
          },
  }
}

/** GET /generation and /generation/content, by `id`, for the keys of the account that made it. */
export function generation(visit: Visit, part: 'data' | 'content'): Reply {
  return withAccount(visit, (_key, account) => {
    const id = visit.url.searchParams.get('id')
    if (id === null) return refusal(400, 'id: required', account)
    const found = visit.simulation.generations.get(id)
    const known = found?.accountId === account.id && visit.nowMs >= found.foundFromMs
    if (!known) return refusal(404, `Generation ${id} not found`, account)
    return json(200, { data: found[part] })
  })
}

function refusal(status: number, message: string, account: Account): Reply {
  const body = openRouterError(failure(status, message), { userId: account.creatorUserId })
  return json(status, body)
}
