import type { Answer, Usage } from '../answer.ts'
import type { ApiShape, Parsed } from '../api-shape.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { contentText, tokensIn } from '../prompt.ts'
import { type Body, invalid, numberOf, readBody, thing } from '../request-fields.ts'
import { openRouterError } from './openrouter-error.ts'
import { plainWording } from './plain-wording.ts'

const DEFAULT_DIMENSIONS = 64

interface Input {
  readonly text: string
  readonly tokens: number
}

/** One text, several, one as tokens, several as tokens, or several with parts. */
function inputsOf(input: unknown): Input[] {
  if (typeof input === 'string') return [{ text: input, tokens: tokensIn(input) }]
  if (!Array.isArray(input)) return []
  if (input.every((item) => typeof item === 'number')) {
    return input.length === 0 ? [] : [{ text: input.join(' '), tokens: input.length }]
  }
  return input.flatMap((item: unknown) => {
    const parts = isRecord(item) ? contentText(item.content) : null
    return parts === null ? inputsOf(item) : [{ text: parts, tokens: tokensIn(parts) }]
  })
}

/** The same text gives the same vector, of length one. */
function vectorOf(text: string, dimensions: number): number[] {
  const raw = Array.from({ length: dimensions }, (_, index) => {
    const unit = text.charCodeAt(index % Math.max(1, text.length)) || 1
    return Math.sin(unit * (index + 1) + text.length)
  })
  const length = Math.hypot(...raw) || 1
  return raw.map((value) => Math.fround(value / length))
}

/** Little-endian 32-bit floats, the default format of OpenAI's clients. */
function base64Of(vector: readonly number[]): string {
  const bytes = new Uint8Array(4 * vector.length)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of vector.entries()) view.setFloat32(4 * index, value, true)
  return btoa(String.fromCharCode(...bytes))
}

const usageOf = (usage: Usage): Json => ({
  prompt_tokens: usage.promptTokens,
  total_tokens: usage.promptTokens,
  cost: usage.costUsd,
  is_byok: usage.isByok,
  cost_details: {
    upstream_inference_cost: usage.upstreamUsd,
    upstream_inference_prompt_cost: usage.promptUsd,
    upstream_inference_completions_cost: 0,
  },
})

function read(body: Body, model: string): Parsed {
  const inputs = inputsOf(body.input)
  if (inputs.length === 0) return invalid('Input required: specify "input"')
  const dimensions = numberOf(body.dimensions) ?? DEFAULT_DIMENSIONS
  const coded = (vector: number[]) =>
    body.encoding_format === 'base64' ? base64Of(vector) : vector
  const list = (answer: Answer, given: readonly Input[]): Json => ({
    object: 'list',
    id: answer.id,
    model: answer.model,
    provider: answer.provider,
    data: given.map(({ text }, index) => ({
      object: 'embedding',
      index,
      embedding: coded(vectorOf(text, dimensions)),
    })),
    usage: usageOf(answer.usage),
  })
  const promptTokens = inputs.reduce((sum, input) => sum + input.tokens, 0)
  const wording = plainWording(
    (answer) => list(answer, inputs),
    (answer) => list(answer, []),
  )
  return thing(model, { promptTokens }, wording)
}

/** POST /embeddings. */
export const embeddings: ApiShape = {
  path: '/embeddings',
  apiType: 'embeddings',
  takesForms: false,
  parse: (body) => readBody(body, read),
  errorBody: openRouterError,
}
