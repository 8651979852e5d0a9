import type { Usage } from '../balancing/settlement.ts'
import { isJsonObject, objectOf } from './json-value.ts'

/**
 * Reads the usage of any of OpenRouter's API shapes: `prompt_tokens` and
 * `completion_tokens` of chat, completions and embeddings, `input_tokens` and
 * `output_tokens` of /responses and /messages. A value that is absent, negative
 * or not a number counts as 0.
 * @returns tokens and US dollars, or null if the value reports neither.
 */
export function readUsage(value: unknown): Usage | null {
  if (!isJsonObject(value)) return null
  const cost = amountOf(value.cost)
  const total = countOf(value.total_tokens)
  const prompt = countOf(value.prompt_tokens) ?? inputTokens(value)
  const completion = countOf(value.completion_tokens) ?? countOf(value.output_tokens)
  if ([cost, total, prompt, completion].every((number) => number === null)) return null
  const promptDetails = objectOf(value.prompt_tokens_details ?? value.input_tokens_details)
  const completionDetails = objectOf(value.completion_tokens_details ?? value.output_tokens_details)
  return {
    promptTokens: prompt ?? Math.max(0, (total ?? 0) - (completion ?? 0)),
    completionTokens: completion ?? Math.max(0, (total ?? 0) - (prompt ?? total ?? 0)),
    cachedTokens:
      countOf(promptDetails.cached_tokens) ?? countOf(value.cache_read_input_tokens) ?? 0,
    reasoningTokens:
      countOf(completionDetails.reasoning_tokens) ??
      countOf(completionDetails.thinking_tokens) ??
      0,
    costUsd: cost ?? 0,
    ...byokOf(value),
    estimated: false,
  }
}

/**
 * With an account's own provider key (BYOK), `cost` is OpenRouter's fee alone, and the provider's
 * price is beside it. It is beside every other cost too, which holds it already.
 */
function byokOf({ is_byok, cost_details }: Record<string, unknown>): { byokUsd?: number } {
  const byokUsd = is_byok === true ? amountOf(objectOf(cost_details).upstream_inference_cost) : null
  return byokUsd === null ? {} : { byokUsd }
}

/** Anthropic's `input_tokens` does not include the tokens read from and written to its cache. */
function inputTokens(usage: Record<string, unknown>): number | null {
  const fresh = countOf(usage.input_tokens)
  if (fresh === null) return null
  const read = countOf(usage.cache_read_input_tokens) ?? 0
  return fresh + read + (countOf(usage.cache_creation_input_tokens) ?? 0)
}

function amountOf(value: unknown): number | null {
  const amount = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof amount === 'number' && Number.isFinite(amount) && amount >= 0 ? amount : null
}

function countOf(value: unknown): number | null {
  const amount = amountOf(value)
  return amount === null ? null : Math.min(Math.trunc(amount), Number.MAX_SAFE_INTEGER)
}

/**
 * Joins the usage of a stream that reports it in parts: Anthropic's reports the prompt at the
 * start and the answer at the end. A number that is reported twice only grows, so the larger of
 * the two is the later one.
 */
export function mergeUsage(earlier: Usage | null, later: Usage | null): Usage | null {
  if (earlier === null || later === null) return later ?? earlier
  const byokUsd = Math.max(earlier.byokUsd ?? 0, later.byokUsd ?? 0)
  return {
    promptTokens: Math.max(earlier.promptTokens, later.promptTokens),
    completionTokens: Math.max(earlier.completionTokens, later.completionTokens),
    cachedTokens: Math.max(earlier.cachedTokens, later.cachedTokens),
    reasoningTokens: Math.max(earlier.reasoningTokens, later.reasoningTokens),
    costUsd: Math.max(earlier.costUsd, later.costUsd),
    ...(byokUsd > 0 ? { byokUsd } : {}),
    estimated: later.estimated,
  }
}
