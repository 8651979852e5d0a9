import type { Usage } from '../../balancing/settlement.ts'
import type { StreamSummary } from './stream-watch.ts'

/**
 * The usage of a lease with which no call was made. The pool gives back all that the lease took. An
 * object of the first release knows it by the usage alone.
 */
export const UNUSED: Usage = {
  promptTokens: 0,
  completionTokens: 0,
  cachedTokens: 0,
  reasoningTokens: 0,
  costUsd: 0,
  estimated: true,
}

/**
 * What a stream used. If it was cut before it reported any usage, each of its events counts as a
 * token, which is an average. A stream of /messages reports its prompt tokens at the start. If it is cut
 * later, that report lacks the answer's tokens, so they are estimated from the events.
 * @param promptTokens their estimate
 */
export function usageOf(
  { usage, finished, events }: Pick<StreamSummary, 'usage' | 'finished' | 'events'>,
  promptTokens: number,
): Usage {
  if (usage === null) return { ...UNUSED, promptTokens, completionTokens: events }
  if (finished) return usage
  const completionTokens = Math.max(usage.completionTokens, events)
  return { ...usage, completionTokens, estimated: true }
}

/**
 * What an answer may have to be paid for that was cut before any of it could be read: its prompt.
 * @param promptTokens their estimate
 */
export function usageOfPrompt(promptTokens: number): Usage {
  return { ...UNUSED, promptTokens }
}
