import type { Usage } from '../balancing/settlement.ts'
import { numberOf, objectOf } from './json-value.ts'

/** What `GET /generation` said of one answer. */
export type GenerationAnswer =
  | { readonly kind: 'found'; readonly usage: Usage }
  /** It is not there, which is usual for some seconds after its end. */
  | { readonly kind: 'not_found' }
  /** The answer says nothing: an outage, a refusal, a form that is not known. */
  | { readonly kind: 'unknown' }

/**
 * Reads the answer of `GET /generation`. `total_cost` is what the account was charged. With its own
 * provider key (BYOK) that is the fee alone, and the provider's price is beside it. The native counts
 * are those of the answers' own `usage`.
 * @param body the parsed JSON, or any other value if the answer was not JSON
 */
export function readGeneration(status: number, body: unknown): GenerationAnswer {
  if (status === 404) return { kind: 'not_found' }
  const data = objectOf(objectOf(body).data)
  const costUsd = amountOf(data.total_cost)
  if (status !== 200 || costUsd === null) return { kind: 'unknown' }
  const byokUsd = data.is_byok === true ? amountOf(data.upstream_inference_cost) : null
  const count = (...values: unknown[]) => values.map(amountOf).find((value) => value !== null) ?? 0
  return {
    kind: 'found',
    usage: {
      promptTokens: count(data.native_tokens_prompt, data.tokens_prompt),
      completionTokens: count(data.native_tokens_completion, data.tokens_completion),
      cachedTokens: count(data.native_tokens_cached),
      reasoningTokens: count(data.native_tokens_reasoning),
      costUsd,
      ...(byokUsd === null ? {} : { byokUsd }),
      estimated: false,
    },
  }
}

function amountOf(value: unknown): number | null {
  const amount = numberOf(value)
  return amount !== null && amount >= 0 ? amount : null
}
