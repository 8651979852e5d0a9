// Embeddings, rankings, images and transcripts.

import { usage } from './chat.ts'
import { errorInstead } from './errors.ts'
import {
  always,
  count,
  dollars,
  either,
  filled,
  type JsonSchema,
  list,
  number,
  object,
  orNull,
  text,
} from './json-schema.ts'

const base64: JsonSchema = { type: 'string', pattern: '^[A-Za-z0-9+/]+={0,2}$' }

export const embeddings = object({
  object: always('list'),
  model: filled,
  data: list(
    object({
      object: always('embedding'),
      index: count,
      embedding: either(list(number, 1), base64),
    }),
  ),
  usage: object({ prompt_tokens: count, total_tokens: count, cost: dollars }),
})

export const rerank = object({
  id: filled,
  model: filled,
  provider: filled,
  results: list(object({ index: count, relevance_score: number, document: object({ text }) })),
  usage: object({ search_units: count, total_tokens: count, cost: dollars }),
})

export const images = object({
  created: count,
  data: list(object({ b64_json: base64, media_type: text })),
  usage,
})

/** A 200 of JSON without an answer. */
export const failed = errorInstead

/** The events of an image's stream, by type. */
export const imageEvents: Readonly<Record<string, JsonSchema>> = {
  'image_generation.partial_image': object({ b64_json: base64, partial_image_index: count }),
  'image_generation.completed': object({ b64_json: base64, created: count, usage }),
  error: object({
    error: object(
      { message: filled },
      { code: orNull(text), param: orNull(text), type: orNull(text) },
    ),
  }),
}

export const transcript = object(
  {
    text,
    usage: object({
      seconds: number,
      input_tokens: count,
      output_tokens: count,
      total_tokens: count,
      cost: dollars,
    }),
  },
  {
    task: text,
    language: text,
    duration: number,
    segments: list(object({ id: count, start: number, end: number, text })),
  },
)
