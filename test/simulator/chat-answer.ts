import type { Answer, Piece, Usage } from './answer.ts'
import type { ErrorAnswer } from './errors.ts'
import type { Json } from './json-schema-sample.ts'

/** The usage object that ends every answer. */
export function chatUsage(usage: Usage): Json {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    cost: usage.costUsd,
    is_byok: false,
    prompt_tokens_details: {
      cached_tokens: 0,
      cache_write_tokens: 0,
      audio_tokens: 0,
      video_tokens: 0,
    },
    cost_details: {
      upstream_inference_cost: usage.costUsd,
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

/** The envelope of an error that comes with its own status. */
export function chatError(answer: ErrorAnswer, userId: string | null): Json {
  const { message, code, metadata } = answer.error
  const error: Json = JSON.parse(JSON.stringify({ message, code, metadata }))
  return userId === null ? { error } : { error, user_id: userId }
}

export function chatWhole(answer: Answer): Json {
  return completion(answer, { finish_reason: answer.finishReason, message: messageOf(answer) })
}

/** A completion whose choice carries the error and what had been said until then. */
export function chatWholeError(answer: Answer, error: Json): Json {
  const half = answer.pieces.slice(0, Math.ceil(answer.pieces.length / 2))
  const message = messageOf({ ...answer, pieces: half })
  return completion(answer, { finish_reason: 'error', message, error })
}

export function chatFinishError(answer: Answer): Json {
  const native = 'MALFORMED_FUNCTION_CALL'
  const message = messageOf({ ...answer, pieces: [] })
  return completion(answer, { finish_reason: 'error', native_finish_reason: native, message })
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

const joined = (answer: Answer, kind: Piece['kind']) =>
  answer.pieces.flatMap((piece) => (piece.kind === kind ? [piece.text] : [])).join('')
