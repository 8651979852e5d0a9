import type { Call, Parsed, Wording } from './api-shape.ts'
import { failure } from './errors.ts'
import { isRecord, type Json } from './json-schema-sample.ts'

// Readers of request fields that several APIs share.

export type Body = Readonly<Record<string, unknown>>

export const invalid = (message: string): Parsed => ({
  kind: 'invalid',
  answer: failure(400, message),
})

/** Reads the body and its model. A request without them gets a 400. */
export function readBody(body: unknown, read: (fields: Body, model: string) => Parsed): Parsed {
  if (!isRecord(body)) return invalid('Request body is not valid JSON')
  const model = modelOf(body)
  return model === null ? invalid('No models provided') : read(body, model)
}

function modelOf(body: Body): string | null {
  if (typeof body.model === 'string' && body.model !== '') return body.model
  const first: unknown = Array.isArray(body.models) ? body.models[0] : undefined
  return typeof first === 'string' ? first : null
}

export const numberOf = (value: unknown) => (typeof value === 'number' ? value : null)

export const stringOf = (value: unknown) => (typeof value === 'string' ? value : null)

export const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** The value with the type `Json`. It was parsed from JSON, so only its type changes. */
export function asJson(value: unknown): Json {
  const copy: Json = JSON.parse(JSON.stringify(value ?? {}))
  return copy
}

/** A call without a conversation: for vectors, a ranking, an image or sound. */
export function thing(
  model: string,
  asked: { promptTokens: number; tokens?: number; units?: number },
  wording: Wording,
): Parsed {
  const call: Call = {
    model,
    maxTokens: null,
    promptTokens: asked.promptTokens,
    turns: [],
    lastUserText: '',
    tool: null,
    jsonSchema: null,
    product: { kind: 'thing', tokens: asked.tokens ?? 0 },
    units: asked.units ?? 0,
    wording,
  }
  return { kind: 'call', call }
}
