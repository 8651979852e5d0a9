import type { Settlement, Usage } from '../balancing/settlement.ts'
import type { Blame } from '../openrouter/blame.ts'
import type { Leased } from './lease-broker.ts'

/** What an attempt showed before it was over. */
export type Seen = Pick<Settlement, 'firstOutputMs' | 'generationId'>

/**
 * What the pool is told of an attempt: nothing, if it was made without the pool.
 * @param verdict null for an answer that is proven good
 * @param seen what else an answer showed, where there was one
 */
export function settlementsOf(
  { leaseId, keyId }: Leased,
  verdict: Blame | null,
  usage: Usage | null,
  seen: Seen,
): Settlement[] {
  if (leaseId === null) return []
  const common = {
    leaseId,
    keyId,
    ...(usage === null ? {} : { usage }),
    ...seen,
  }
  if (verdict === null) return [{ ...common, outcome: 'success', benches: [], suspect: false }]
  const { outcome, fault, benches, suspect, affordableTokens } = verdict
  const note = affordableTokens === undefined ? {} : { affordableTokens }
  return [{ ...common, ...note, outcome, fault, benches, suspect }]
}

/**
 * The usage of an answer that was cut before it reported any. Prompts average
 * about four bytes a token; an event of a stream is about one token.
 */
export function estimateUsage(body: Uint8Array, events: number): Usage {
  return {
    promptTokens: Math.ceil(body.length / 4),
    completionTokens: events,
    cachedTokens: 0,
    reasoningTokens: 0,
    costUsd: 0,
    estimated: true,
  }
}
