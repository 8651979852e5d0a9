import type { Counters } from '../balancing/accounting/ledger.ts'

/** What was counted, in the words of the admin API. */
export function countersAnswer(counters: Counters) {
  return {
    attempts: counters.attempts,
    successes: counters.successes,
    failures: counters.failures,
    ignored: counters.ignored,
    faults: { ...counters.faults },
    prompt_tokens: counters.promptTokens,
    completion_tokens: counters.completionTokens,
    cached_tokens: counters.cachedTokens,
    reasoning_tokens: counters.reasoningTokens,
    cost_usd: counters.costUsd,
    estimated: counters.estimated,
    estimated_usd: counters.estimatedUsd,
  }
}
