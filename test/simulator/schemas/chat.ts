import { errorInstead, innerError } from './errors.ts'
import {
  always,
  anything,
  count,
  dollars,
  either,
  extended,
  filled,
  flag,
  generationId,
  list,
  number,
  object,
  oneOf,
  orNull,
  text,
} from './json-schema.ts'

const details = object({
  upstream_inference_cost: orNull(dollars),
  upstream_inference_prompt_cost: dollars,
  upstream_inference_completions_cost: dollars,
})

/** Usage of chat, of legacy completions and of images. */
export const usage = object(
  { prompt_tokens: count, completion_tokens: count, total_tokens: count, cost: dollars },
  {
    is_byok: flag,
    cost_details: details,
    prompt_tokens_details: object({}, { cached_tokens: count, cache_write_tokens: count }),
    completion_tokens_details: object({}, { reasoning_tokens: orNull(count) }),
  },
)

export const finishReason = oneOf('stop', 'length', 'tool_calls', 'content_filter', 'error', null)

const reasoningDetails = list(object({ type: filled }, { text, index: count }))

const message = object(
  { role: always('assistant'), content: orNull(text) },
  {
    refusal: orNull(text),
    reasoning: orNull(text),
    reasoning_details: reasoningDetails,
    tool_calls: list(
      object({
        id: filled,
        type: always('function'),
        function: object({ name: filled, arguments: text }),
      }),
      1,
    ),
  },
)

/** A 200 of JSON. */
export const answer = object(
  {
    id: generationId,
    object: always('chat.completion'),
    created: count,
    model: filled,
    system_fingerprint: orNull(text),
    choices: list(
      object(
        { index: count, finish_reason: finishReason, message },
        { logprobs: anything, error: innerError },
      ),
      1,
    ),
  },
  { usage, provider: filled },
)

/** A 200 of JSON without an answer, or with an answer that ends in an error. */
export const failed = either(
  errorInstead,
  extended(answer, { choices: list(object({ finish_reason: always('error') }), 1) }),
)

const delta = object(
  {},
  {
    role: always('assistant'),
    content: orNull(text),
    reasoning: orNull(text),
    reasoning_details: reasoningDetails,
    tool_calls: list(
      object(
        { index: count },
        {
          id: filled,
          type: always('function'),
          function: object({}, { name: filled, arguments: text }),
        },
      ),
      1,
    ),
  },
)

/** Any event of a stream. The code should be a number, but it may be a text. */
export const event = object(
  {
    id: generationId,
    object: always('chat.completion.chunk'),
    created: number,
    model: filled,
    choices: list(object({ index: count, delta, finish_reason: finishReason })),
  },
  { usage, error: innerError, provider: filled },
)
