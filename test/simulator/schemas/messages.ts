import { anthropicEvent, anthropicStatusError } from './errors.ts'
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
  nothing,
  object,
  oneOf,
  orNull,
  text,
} from './json-schema.ts'

const serverTools = orNull(object({ web_fetch_requests: count, web_search_requests: count }))
const thinkingTokens = orNull(object({ thinking_tokens: count }))
const cacheCreation = orNull(
  object({ ephemeral_1h_input_tokens: count, ephemeral_5m_input_tokens: count }),
)
const costs = { cost: dollars, is_byok: flag, cost_details: object({}) }

const usage = object(
  {
    input_tokens: count,
    output_tokens: count,
    cache_creation: cacheCreation,
    cache_creation_input_tokens: orNull(count),
    cache_read_input_tokens: orNull(count),
    inference_geo: orNull(text),
    output_tokens_details: thinkingTokens,
    server_tool_use: serverTools,
    service_tier: oneOf('standard', 'priority', 'batch', null),
  },
  costs,
)

const stopReasons = oneOf(
  ...['end_turn', 'max_tokens', 'model_context_window_exceeded', 'stop_sequence', 'tool_use'],
  ...['pause_turn', 'refusal', 'compaction', null],
)

const block = either(
  object({ type: always('text'), text, citations: orNull(list(anything)) }),
  object({ type: always('thinking'), thinking: text, signature: text }),
  object({
    type: always('tool_use'),
    id: filled,
    name: filled,
    input: object({}),
    caller: object({ type: always('direct') }),
  }),
)

const frame = {
  id: generationId,
  type: always('message'),
  role: always('assistant'),
  model: filled,
  content: list(block),
  container: orNull(object({ id: text, expires_at: text })),
  stop_sequence: orNull(text),
  stop_details: orNull(object({ type: always('refusal') })),
}

/** A 200 of JSON. */
export const answer = extended(
  object({ ...frame, stop_reason: stopReasons, usage }, { provider: filled }),
  { usage: object(costs) },
)

/** A 200 of JSON without an answer, or with an answer without a stop reason. */
export const failed = either(anthropicStatusError, extended(answer, { stop_reason: nothing }))

/** The answer of a token count. */
export const counted = object({ input_tokens: count })

const delta = either(
  object({ type: always('text_delta'), text }),
  object({ type: always('input_json_delta'), partial_json: text }),
  object({ type: always('thinking_delta'), thinking: text }),
  object({ type: always('signature_delta'), signature: filled }),
)

/** The events of a stream, by type. */
export const events: Readonly<Record<string, JsonSchema>> = {
  message_start: object({ message: object({ ...frame, stop_reason: nothing, usage }) }),
  ping: object({}),
  content_block_start: object({ index: count, content_block: block }),
  content_block_delta: object({ index: count, delta }),
  content_block_stop: object({ index: count }),
  message_delta: object({
    delta: object({
      stop_reason: stopReasons,
      stop_sequence: orNull(text),
      stop_details: frame.stop_details,
      container: frame.container,
    }),
    usage: object(
      {
        input_tokens: orNull(count),
        output_tokens: count,
        cache_creation_input_tokens: orNull(count),
        cache_read_input_tokens: orNull(count),
        output_tokens_details: thinkingTokens,
        server_tool_use: serverTools,
      },
      costs,
    ),
  }),
  message_stop: object({}),
  error: anthropicEvent,
}
