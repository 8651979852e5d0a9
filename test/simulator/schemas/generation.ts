import {
  anything,
  count,
  dollars,
  either,
  flag,
  generationId,
  list,
  moment,
  number,
  object,
  oneOf,
  orNull,
  text,
} from './json-schema.ts'

const maybe = Object.fromEntries(
  [
    ...['app_id', 'cache_discount', 'external_user', 'finish_reason', 'generation_time'],
    ...['http_referer', 'latency', 'moderation_latency', 'native_finish_reason', 'upstream_id'],
    ...['preset_id', 'provider_responses', 'router', 'service_tier', 'user_agent'],
    ...['web_search_engine', 'workspace_id', 'upstream_inference_cost', 'provider_name'],
  ].map((name) => [name, anything]),
)

const counts = Object.fromEntries(
  [
    ...['native_tokens_cached', 'native_tokens_completion', 'native_tokens_prompt'],
    ...['native_tokens_completion_images', 'native_tokens_reasoning', 'num_fetches'],
    ...['num_input_audio_prompt', 'num_media_completion', 'num_media_prompt'],
    ...['num_search_results', 'tokens_completion', 'tokens_prompt'],
  ].map((name) => [name, orNull(count)]),
)

/** GET /generation. */
export const generation = object({
  data: object({
    ...maybe,
    ...counts,
    id: generationId,
    api_type: oneOf('completions', 'embeddings', 'rerank', 'tts', 'stt', 'video', 'image', null),
    created_at: moment,
    model: text,
    origin: text,
    data_region: oneOf('global', 'europe', 'us'),
    streamed: orNull(flag),
    cancelled: orNull(flag),
    is_byok: flag,
    total_cost: dollars,
    usage: dollars,
    latency: orNull(number),
  }),
})

/** GET /generation/content. */
export const content = object({
  data: object({
    input: either(object({ prompt: text }), object({ messages: list(anything) })),
    output: object({ completion: orNull(text), reasoning: orNull(text) }),
    error: orNull(object({ message: orNull(text), previous_errors: list(anything) })),
  }),
})
