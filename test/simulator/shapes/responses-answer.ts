import { type Answer, joined } from '../answer.ts'
import { type Block, blocksOf } from '../answer-blocks.ts'
import type { Failure } from '../api-shape.ts'
import type { ApiError } from '../errors.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { asJson, type Body } from '../request-fields.ts'

type Fields = Readonly<Record<string, Json>>
type Status = 'in_progress' | 'completed' | 'incomplete' | 'failed'

/** The request fields that a response repeats, with their defaults. */
const ECHOED: Fields = {
  instructions: null,
  max_output_tokens: null,
  max_tool_calls: null,
  metadata: {},
  parallel_tool_calls: true,
  previous_response_id: null,
  prompt_cache_key: null,
  reasoning: null,
  safety_identifier: null,
  temperature: null,
  text: { format: { type: 'text' } },
  tool_choice: 'auto',
  tools: [],
  top_p: null,
  truncation: null,
  user: null,
  frequency_penalty: null,
  presence_penalty: null,
}

/** The response object of a whole answer and of a stream's first and last events. */
export function responseObject(
  answer: Answer,
  body: Body,
  status: Status,
  extra: Fields = {},
): Json {
  const echoed = Object.entries(ECHOED).map(([name, otherwise]) => {
    const given = body[name] ?? null
    return [name, given === null ? otherwise : asJson(given)]
  })
  return {
    object: 'response',
    id: answer.id,
    created_at: answer.createdS,
    completed_at: status === 'completed' ? answer.createdS : null,
    status,
    error: null,
    incomplete_details: null,
    model: answer.model,
    output: [],
    output_text: '',
    background: false,
    service_tier: 'default',
    store: false,
    ...Object.fromEntries(echoed),
    ...extra,
  }
}

function usageOf({ usage }: Answer): Json {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: {
      cached_tokens: usage.cachedTokens,
      cache_write_tokens: usage.promptTokens - usage.cachedTokens,
    },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.promptTokens + usage.completionTokens,
    cost: usage.costUsd,
    is_byok: usage.isByok,
    cost_details: {
      upstream_inference_cost: usage.upstreamUsd,
      upstream_inference_input_cost: usage.promptUsd,
      upstream_inference_output_cost: usage.completionUsd,
    },
  }
}

/** The id of an item, which exists only in the answer: no lookup by it is possible. */
export function itemId(answer: Answer, block: Block, index: number): string {
  const prefix = { reasoning: 'rs', text: 'msg', tool: 'fc' }[block.kind]
  return `${prefix}_tmp_${answer.id.slice(-10).toLowerCase()}${index}`
}

/** An item of the output: empty while it is in progress, else with its content. */
export function itemOf(answer: Answer, block: Block, index: number, status: Status): Json {
  const id = itemId(answer, block, index)
  const text = status === 'in_progress' ? '' : block.texts.join('')
  switch (block.kind) {
    case 'reasoning': {
      const content: Json[] = text === '' ? [] : [{ type: 'reasoning_text', text }]
      return { type: 'reasoning', id, summary: [], ...(text === '' ? {} : { content }) }
    }
    case 'text': {
      const content: Json[] = status === 'in_progress' ? [] : [textPart(text)]
      return { type: 'message', id, role: 'assistant', status, content }
    }
    case 'tool': {
      const { toolCallId: call_id } = answer
      return { type: 'function_call', id, call_id, name: block.name, arguments: text, status }
    }
  }
}

export const textPart = (text: string): Json => ({ type: 'output_text', text, annotations: [] })

/** The response after a good end, or after a cut at `max_output_tokens`. */
export function responsesWhole(answer: Answer, body: Body): Json {
  const cut = answer.finishReason === 'length'
  const status = cut ? 'incomplete' : 'completed'
  return responseObject(answer, body, status, {
    output: blocksOf(answer).map((block, index) => itemOf(answer, block, index, status)),
    output_text: joined(answer, 'text'),
    incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
    usage: usageOf(answer),
  })
}

/** A failed run. An inner error comes with the output before it. */
export function responsesFailed(answer: Answer, body: Body, failure: Failure): Json {
  if (failure.kind === 'unexplained') {
    return responseObject(answer, body, 'failed', { usage: usageOf(answer) })
  }
  const half = answer.pieces.slice(0, Math.ceil(answer.pieces.length / 2))
  const said = failure.kind === 'inner-error' ? blocksOf({ ...answer, pieces: half }) : []
  return responseObject(answer, body, 'failed', {
    output: said.map((block, index) => itemOf(answer, block, index, 'incomplete')),
    ...failureFields(failure.error),
  })
}

function failureFields(error: ApiError): Fields {
  const { code, message } = error
  const type = errorTypeOf(error)
  return {
    error: { code: codeOf(code), message },
    ...(type === null ? {} : { error_type: type }),
  }
}

/** The statuses that have one name in OpenRouter's list of error types. */
const TYPES: ReadonlyMap<unknown, string> = new Map([
  [400, 'invalid_request'],
  [401, 'authentication'],
  [402, 'payment_required'],
  [403, 'permission_denied'],
  [404, 'not_found'],
  [429, 'rate_limit_exceeded'],
  [500, 'server'],
  [502, 'provider_unavailable'],
  [503, 'provider_overloaded'],
  [504, 'timeout'],
])

/** What says whose fault it was, in an API whose codes do not. */
function errorTypeOf({ code, metadata }: ApiError): string | null {
  const { error_type: given, reasons } = isRecord(metadata) ? metadata : {}
  if (typeof given === 'string') return given
  return reasons === undefined ? (TYPES.get(code) ?? null) : 'content_policy_violation'
}

/** Statuses of which the caller's prompt is the cause. */
const PROMPTS: ReadonlySet<number> = new Set([400, 404, 413, 422])

/** The error code in this API, which has only a few codes and no numbers. */
export function codeOf(code: ApiError['code']): string {
  if (typeof code === 'string') return code
  if (code === 429) return 'rate_limit_exceeded'
  return PROMPTS.has(code) ? 'invalid_prompt' : 'server_error'
}
