import { finishReason, usage } from './chat.ts'
import { errorInstead, innerError } from './errors.ts'
import {
  always,
  anything,
  count,
  either,
  extended,
  filled,
  generationId,
  list,
  object,
  text,
} from './json-schema.ts'

const choice = object(
  { index: count, text, finish_reason: finishReason },
  { logprobs: anything, reasoning: text, error: innerError },
)

const frame = {
  id: generationId,
  object: always('text_completion'),
  created: count,
  model: filled,
}

/** A 200 of JSON. */
export const answer = object({ ...frame, choices: list(choice, 1), usage })

/** A 200 of JSON without an answer, or with an answer that ends in an error. */
export const failed = either(
  errorInstead,
  extended(answer, { choices: list(object({ finish_reason: always('error') }), 1) }),
)

/** Any event of a stream. */
export const event = object({ ...frame, choices: list(choice) }, { usage, error: innerError })
