import type { ModelId } from '../../balancing/ids.ts'
import type { Usage } from '../../balancing/settlement.ts'
import { isJsonObject } from '../../openrouter/json-value.ts'
import { visitPrompt } from '../../openrouter/requests/prompt-parts.ts'
import { textTokens } from '../../openrouter/requests/text-tokens.ts'
import type { StreamSummary } from './stream-watch.ts'

/** What an answer of a model has probably cost that did not tell it, in USD; null if no price is known. */
export type EstimatePrice = (
  model: ModelId,
  usage: Pick<Usage, 'promptTokens' | 'completionTokens'>,
) => number | null

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

/** The usage of an answer that costs nothing. Unlike `UNUSED` it was a call. */
export const FREE: Usage = { ...UNUSED }

/**
 * What a whole answer used that does not tell it: its prompt, and the texts in it. Pictures and sounds in
 * it count as nothing, since they are not paid by their bytes.
 * @param body the parsed JSON; undefined for what is not JSON
 */
function usageOfWhole(promptTokens: number, body: unknown): Usage {
  let completionTokens = 0
  if (isJsonObject(body)) {
    visitPrompt(body, {
      text: (text) => {
        completionTokens += textTokens(text)
      },
    })
  }
  return { ...UNUSED, promptTokens, completionTokens: Math.ceil(completionTokens) }
}

/**
 * What a good answer used: what it tells, else an estimate.
 * @param isFree whether such answers cost nothing, and so tell nothing
 */
export function usageOfGood(
  told: Usage | null,
  promptTokens: number,
  body: unknown,
  isFree = false,
): Usage {
  return told ?? (isFree ? FREE : usageOfWhole(promptTokens, body))
}

/** A usage with the cost that it has probably had, if it is an estimate without one. */
export function pricedUsage(
  usage: Usage | null,
  model: ModelId,
  price: EstimatePrice | null,
): Usage | null {
  if (usage === null || price === null || !usage.estimated || usage.costUsd > 0) return usage
  if (usage.promptTokens + usage.completionTokens === 0) return usage
  const costUsd = price(model, usage)
  return costUsd === null ? usage : { ...usage, costUsd }
}
