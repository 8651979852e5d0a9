import type { Call, Parsed, Wording } from './api-shape.ts'
import { failure } from './errors.ts'
import { isRecord, type Json } from './json-schema-sample.ts'

// What several APIs read alike from a request's body.

export type Body = Readonly<Record<string, unknown>>

export const invalid = (message: string): Parsed => ({
  kind: 'invalid',
  answer: failure(400, message),
})

/** The body and its model, or the 400 that a request without them gets. */
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

/** It was parsed from JSON, so it is JSON; only the type has to learn that. */
export function asJson(value: unknown): Json {
  const copy: Json = JSON.parse(JSON.stringify(value ?? {}))
  return copy
}

/** A call for something that no conversation leads to: vectors, a ranking, an image, sound. */
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
