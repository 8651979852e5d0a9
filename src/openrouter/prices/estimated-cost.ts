import type { Usage } from '../../balancing/settlement.ts'
import { dearestPrice, possibleRates } from './dearest-price.ts'
import { type ModelPrices, modelsNamed, type PriceTable } from './price-table.ts'
import type { PricedFields } from './priced-fields.ts'

const PICOS_PER_USD = 1e12

/**
 * What an answer has probably cost that did not tell it: its prompt, and what came of it, at the dearest
 * price that may hold now. It is not lowered by a cache: of what was cut off nobody knows whether it was
 * read from one.
 * @param model as it was sent
 * @param nowMs in epoch milliseconds
 * @returns in USD; null if the table does not know the model or its price
 */
export function estimatedCostUsd(
  usage: Pick<Usage, 'promptTokens' | 'completionTokens'>,
  model: string,
  table: PriceTable,
  nowMs: number,
): number | null {
  let dearest: number | null = null
  for (const id of modelsNamed(table, model)) {
    const prices = table.models[id]
    const picos = prices === undefined ? null : picosOf(prices, usage, nowMs)
    if (picos === null) return null
    dearest = Math.max(dearest ?? 0, picos)
  }
  return dearest === null ? null : dearest / PICOS_PER_USD
}

/** No request names these here: an estimate holds for all. */
const NO_MAX_PRICE: PricedFields['maxPrice'] = {
  ...{ prompt: undefined, completion: undefined, request: undefined, image: undefined },
}

function picosOf(
  { rates: all }: ModelPrices,
  { promptTokens, completionTokens }: Pick<Usage, 'promptTokens' | 'completionTokens'>,
  nowMs: number,
): number | null {
  const run = { promptTokens: BigInt(Math.ceil(promptTokens)), startsAtMs: nowMs, endsAtMs: nowMs }
  const rates = possibleRates([all], NO_MAX_PRICE, run)
  const prompt = dearestPrice(rates, 'prompt') ?? null
  const completion = dearestPrice(rates, 'completion') ?? null
  const request = dearestPrice(rates, 'request')
  if (prompt === null || completion === null || request === null) return null
  return promptTokens * prompt + completionTokens * completion + (request ?? 0)
}
