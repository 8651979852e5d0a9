import type { Answer } from '../answer.ts'
import { type Block, blocksOf } from '../answer-blocks.ts'
import type { Failure } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import type { Settings } from '../world.ts'
import { anthropicFailure } from './anthropic-error.ts'

/** The input of the form besides the answer. */
export interface Manner {
  readonly settings: Settings
  /** Whether the request marked a part of its prompt for the provider's cache. */
  readonly writesCache: boolean
}

type Fields = Readonly<Record<string, Json>>

/** The usage of a prompt as Anthropic counts it: fresh, read and written tokens separately. */
export function inputUsage({ usage }: Answer, { writesCache }: Manner): Fields {
  const fresh = usage.promptTokens - usage.cachedTokens
  return {
    input_tokens: writesCache ? 0 : fresh,
    cache_creation_input_tokens: writesCache ? fresh : 0,
    cache_read_input_tokens: usage.cachedTokens,
  }
}

export function outputUsage({ usage }: Answer): Fields {
  return {
    output_tokens: usage.completionTokens,
    output_tokens_details: { thinking_tokens: usage.reasoningTokens },
    server_tool_use: { web_fetch_requests: 0, web_search_requests: 0 },
  }
}

/** The cost of the answer, which OpenRouter adds. */
export function costUsage({ usage }: Answer): Fields {
  return {
    cost: usage.costUsd,
    is_byok: usage.isByok,
    cost_details: {
      upstream_inference_cost: usage.upstreamUsd,
      upstream_inference_prompt_cost: usage.promptUsd,
      upstream_inference_completions_cost: usage.completionUsd,
    },
  }
}

/** The usage of a message, with fields that a stream's `message_delta` does not have. */
export const messageUsage = (answer: Answer, manner: Manner): Fields => ({
  ...inputUsage(answer, manner),
  cache_creation: null,
  inference_geo: null,
  service_tier: 'standard',
})

/** Anthropic's name for the finish reason; null for the fault without one. */
export function stopReason(answer: Answer): string | null {
  switch (answer.finishReason) {
    case 'stop':
      return 'end_turn'
    case 'length':
      return 'max_tokens'
    case 'tool_calls':
      return 'tool_use'
    case null:
      return null
  }
}

/** A message with the given fields. */
export function message(answer: Answer, fields: Fields): Json {
  return {
    id: answer.id,
    type: 'message',
    role: 'assistant',
    model: answer.model,
    provider: answer.provider,
    content: [],
    container: null,
    stop_reason: null,
    stop_sequence: null,
    stop_details: null,
    ...fields,
  }
}

export function messagesWhole(answer: Answer, manner: Manner): Json {
  const usage = { ...messageUsage(answer, manner), ...outputUsage(answer), ...costUsage(answer) }
  const content = blocksOf(answer).map((block) => contentBlock(answer, block))
  return message(answer, { content, stop_reason: stopReason(answer), usage })
}

function contentBlock(answer: Answer, block: Block): Json {
  const text = block.texts.join('')
  switch (block.kind) {
    case 'text':
      return { type: 'text', text, citations: null }
    case 'reasoning':
      return { type: 'thinking', thinking: text, signature: signatureOf(answer) }
    case 'tool':
      return { ...toolBlock(answer, block), input: parsedInput(text) }
  }
}

/** The block of a tool call before its arguments. */
export const toolBlock = (answer: Answer, block: Block) => ({
  type: 'tool_use',
  id: answer.toolCallId.replace('call_', 'toolu_'),
  name: block.name,
  input: {},
  caller: { type: 'direct' },
})

/** The signature of thinking. The next turn must return it, and only the provider can read it. */
export const signatureOf = (answer: Answer) => btoa(`simulated ${answer.id}`)

/** The arguments of a tool call. If the call was cut, they are not valid JSON. */
function parsedInput(text: string): Json {
  try {
    const parsed: Json = JSON.parse(text)
    return parsed
  } catch {
    return {}
  }
}

/** The body of a 200 that failed: only an error, or a message without a stop reason. */
export function messagesFailed(answer: Answer, failure: Failure, manner: Manner): Json {
  if (failure.kind !== 'unexplained') {
    return { ...anthropicFailure(failure.error, manner.settings), request_id: answer.id }
  }
  return messagesWhole({ ...answer, pieces: [], finishReason: null }, manner)
}
