import { type Answer, joined, type Usage } from '../answer.ts'
import type { Failure } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import { asJson } from '../request-fields.ts'

/** The usage object of every answer. Legacy completions and images have the same one. */
export function chatUsage(usage: Usage): Json {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    cost: usage.costUsd,
    is_byok: usage.isByok,
    prompt_tokens_details: {
      cached_tokens: usage.cachedTokens,
      cache_write_tokens: usage.promptTokens - usage.cachedTokens,
      audio_tokens: 0,
      video_tokens: 0,
    },
    cost_details: {
      upstream_inference_cost: usage.upstreamUsd,
      upstream_inference_prompt_cost: usage.promptUsd,
      upstream_inference_completions_cost: usage.completionUsd,
    },
    completion_tokens_details: {
      reasoning_tokens: usage.reasoningTokens,
      image_tokens: 0,
      audio_tokens: 0,
    },
  }
}

export function chatWhole(answer: Answer): Json {
  return completion(answer, { finish_reason: answer.finishReason, message: messageOf(answer) })
}

/** The body of a 200 that failed: only an error, an error inside a choice, or no error. */
export function chatFailed(answer: Answer, failure: Failure): Json {
  switch (failure.kind) {
    case 'error':
      return { id: answer.id, error: asJson(failure.error) }
    case 'inner-error': {
      const half = answer.pieces.slice(0, Math.ceil(answer.pieces.length / 2))
      const message = messageOf({ ...answer, pieces: half })
      return completion(answer, { finish_reason: 'error', message, error: asJson(failure.error) })
    }
    case 'unexplained': {
      const native = 'MALFORMED_FUNCTION_CALL'
      const message = messageOf({ ...answer, pieces: [] })
      return completion(answer, { finish_reason: 'error', native_finish_reason: native, message })
    }
  }
}

function completion(
  answer: Answer,
  choice: { finish_reason: string | null } & Readonly<Record<string, Json>>,
): Json {
  return {
    id: answer.id,
    object: 'chat.completion',
    created: answer.createdS,
    model: answer.model,
    provider: answer.provider,
    system_fingerprint: null,
    choices: [{ index: 0, logprobs: null, native_finish_reason: choice.finish_reason, ...choice }],
    usage: chatUsage(answer.usage),
  }
}

function messageOf(answer: Answer): Json {
  const reasoning = joined(answer, 'reasoning')
  const name = joined(answer, 'tool-name')
  const call = {
    id: answer.toolCallId,
    index: 0,
    type: 'function',
    function: { name, arguments: joined(answer, 'tool-arguments') },
  }
  return {
    role: 'assistant',
    content: joined(answer, 'text'),
    refusal: null,
    reasoning: reasoning === '' ? null : reasoning,
    ...(reasoning === '' ? {} : { reasoning_details: [reasoningDetail(reasoning)] }),
    ...(name === '' ? {} : { tool_calls: [call] }),
  }
}

export const reasoningDetail = (text: string): Json => ({
  type: 'reasoning.text',
  text,
  index: 0,
  format: null,
})
