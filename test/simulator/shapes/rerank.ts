import type { Answer } from '../answer.ts'
import type { ApiShape, Parsed } from '../api-shape.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { tokensIn } from '../prompt.ts'
import {
  type Body,
  invalid,
  listOf,
  numberOf,
  readBody,
  stringOf,
  thing,
} from '../request-fields.ts'
import { openRouterError } from './openrouter-error.ts'
import { plainWording } from './plain-wording.ts'

/** One search unit covers up to so many documents. */
const DOCUMENTS_PER_UNIT = 100

const textOf = (document: unknown) =>
  isRecord(document) ? (stringOf(document.text) ?? '') : (stringOf(document) ?? '')

const wordsOf = (text: string) => new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [])

/** The share of the query's words that the document has. Any score that gives an order would do. */
function scoreOf(query: string, text: string): number {
  const wanted = wordsOf(query)
  const held = wordsOf(text)
  const found = [...wanted].filter((word) => held.has(word)).length
  return Math.round((1e6 * found) / Math.max(1, wanted.size)) / 1e6
}

function read(body: Body, model: string): Parsed {
  const query = stringOf(body.query)
  const texts = listOf(body.documents).map(textOf)
  if (query === null || texts.length === 0) return invalid('Input required: "query", "documents"')
  const ranked = texts
    .map((text, index) => ({ index, relevance_score: scoreOf(query, text), document: { text } }))
    .sort((a, b) => b.relevance_score - a.relevance_score)
    .slice(0, numberOf(body.top_n) ?? texts.length)
  const promptTokens = texts.reduce((sum, text) => sum + tokensIn(query) + tokensIn(text), 0)
  const answered = (answer: Answer, results: Json[]): Json => ({
    id: answer.id,
    model: answer.model,
    provider: answer.provider,
    results,
    usage: {
      search_units: answer.usage.units,
      total_tokens: answer.usage.promptTokens,
      cost: answer.usage.costUsd,
    },
  })
  const wording = plainWording(
    (answer) => answered(answer, ranked),
    (answer) => answered(answer, []),
  )
  return thing(
    model,
    { promptTokens, units: Math.ceil(texts.length / DOCUMENTS_PER_UNIT) },
    wording,
  )
}

/** POST /rerank. */
export const rerank: ApiShape = {
  path: '/rerank',
  apiType: 'rerank',
  takesForms: false,
  parse: (body) => readBody(body, read),
  errorBody: openRouterError,
}
