import { errorType } from './errors.ts'
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
  type JsonSchema,
  list,
  number,
  object,
  oneOf,
  orNull,
  text,
} from './json-schema.ts'

const usage = object(
  {
    input_tokens: count,
    input_tokens_details: object({ cached_tokens: count }, { cache_write_tokens: orNull(count) }),
    output_tokens: count,
    output_tokens_details: object({ reasoning_tokens: count }),
    total_tokens: count,
    cost: dollars,
  },
  {
    is_byok: flag,
    cost_details: object({
      upstream_inference_cost: orNull(dollars),
      upstream_inference_input_cost: dollars,
      upstream_inference_output_cost: dollars,
    }),
  },
)

const codes = oneOf('server_error', 'rate_limit_exceeded', 'invalid_prompt')
const progress = oneOf('completed', 'incomplete', 'in_progress')
const outputText = object({ type: always('output_text'), text }, { annotations: list(anything) })
const reasoningText = object({ type: always('reasoning_text'), text })
const part = either(outputText, reasoningText)

const item = either(
  object({
    type: always('message'),
    id: filled,
    role: always('assistant'),
    status: progress,
    content: list(outputText),
  }),
  object(
    { type: always('reasoning'), id: filled, summary: list(anything) },
    { content: list(reasoningText) },
  ),
  object({
    type: always('function_call'),
    id: filled,
    call_id: filled,
    name: filled,
    arguments: text,
    status: progress,
  }),
)

const response = object(
  {
    id: generationId,
    object: always('response'),
    created_at: count,
    completed_at: orNull(count),
    model: filled,
    status: oneOf('completed', 'incomplete', 'in_progress', 'failed'),
    error: orNull(object({ code: codes, message: filled })),
    incomplete_details: orNull(
      object({}, { reason: oneOf('max_output_tokens', 'content_filter') }),
    ),
    instructions: anything,
    metadata: orNull(object({})),
    output: list(item),
    parallel_tool_calls: flag,
    frequency_penalty: orNull(number),
    presence_penalty: orNull(number),
    temperature: orNull(number),
    top_p: orNull(number),
    tool_choice: either(text, object({})),
    tools: list(object({ type: filled })),
  },
  {
    usage,
    error_type: errorType,
    output_text: text,
    max_output_tokens: orNull(count),
    store: always(false),
    text: object({}, { format: object({ type: filled }) }),
  },
)

const ended = (...statuses: string[]) => extended(response, { status: oneOf(...statuses), usage })

/** A 200 of JSON. */
export const answer = ended('completed', 'incomplete')

/** A 200 of JSON whose run failed. */
export const failed = extended(response, { status: always('failed') })

const numbered = (fields: Readonly<Record<string, JsonSchema>>) =>
  object({ sequence_number: count, ...fields })
const inItem = { output_index: count, item_id: filled }
const inPart = { ...inItem, content_index: count }

/** The events of a stream, by type. */
export const events: Readonly<Record<string, JsonSchema>> = {
  'response.created': numbered({ response }),
  'response.in_progress': numbered({ response }),
  'response.output_item.added': numbered({ output_index: count, item }),
  'response.output_item.done': numbered({ output_index: count, item }),
  'response.content_part.added': numbered({ ...inPart, part }),
  'response.content_part.done': numbered({ ...inPart, part }),
  'response.output_text.delta': numbered({ ...inPart, delta: filled, logprobs: list(anything) }),
  'response.output_text.done': numbered({ ...inPart, text, logprobs: list(anything) }),
  'response.reasoning_text.delta': numbered({ ...inPart, delta: filled }),
  'response.reasoning_text.done': numbered({ ...inPart, text }),
  'response.function_call_arguments.delta': numbered({ ...inItem, delta: filled }),
  'response.function_call_arguments.done': numbered({ ...inItem, name: filled, arguments: text }),
  'response.completed': numbered({ response: ended('completed') }),
  'response.incomplete': numbered({ response: ended('incomplete') }),
  'response.failed': numbered({ response: failed }),
  'response.error': numbered({ error: object({ code: codes, message: filled }) }),
  error: numbered({ code: orNull(text), message: filled, param: orNull(text) }),
}
