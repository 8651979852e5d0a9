import type { Answer, Piece } from '../answer.ts'
import type { EventKind, Failure, StreamEvent } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import { DONE, dataEvent } from '../sse.ts'
import type { Settings } from '../world.ts'
import { chatUsage, reasoningDetail } from './chat-answer.ts'

type Fields = Readonly<Record<string, unknown>>

function event(
  answer: Answer,
  kind: EventKind,
  choices: readonly Fields[],
  extra: Fields = {},
): StreamEvent {
  return dataEvent(kind, {
    id: answer.id,
    object: 'chat.completion.chunk',
    created: answer.createdS,
    model: answer.model,
    provider: answer.provider,
    choices,
    ...extra,
  })
}

const choice = (delta: Json, finish: string | null, native: string | null = finish): Fields => ({
  index: 0,
  delta,
  finish_reason: finish,
  native_finish_reason: native,
})

const EMPTY_DELTA: Json = { content: '', role: 'assistant' }

function deltaOf(piece: Piece, answer: Answer): Json {
  switch (piece.kind) {
    case 'text':
      return { content: piece.text, role: 'assistant' }
    case 'reasoning': {
      const details = [reasoningDetail(piece.text)]
      return { content: '', role: 'assistant', reasoning: piece.text, reasoning_details: details }
    }
    case 'tool-name': {
      const described = { name: piece.text, arguments: '' }
      const call = { index: 0, id: answer.toolCallId, type: 'function', function: described }
      return { content: null, role: 'assistant', tool_calls: [call] }
    }
    case 'tool-arguments': {
      const call = { index: 0, type: 'function', function: { arguments: piece.text } }
      return { content: null, role: 'assistant', tool_calls: [call] }
    }
  }
}

/** The stream from its first output to `[DONE]`, with usage in the form of the settings. */
export function chatStream(answer: Answer, settings: Settings): StreamEvent[] {
  const output = answer.pieces.map((piece) =>
    event(answer, 'output', [choice(deltaOf(piece, answer), null)]),
  )
  const last = choice(EMPTY_DELTA, answer.finishReason)
  const usage = { usage: chatUsage(answer.usage) }
  const counted = settings.usageForm === 'newer' ? [last] : []
  return [...output, event(answer, 'finish', [last]), event(answer, 'usage', counted, usage), DONE]
}

export function roleOnly(answer: Answer): StreamEvent {
  return event(answer, 'frame', [choice(EMPTY_DELTA, null)])
}

/** The older form is as recorded in November 2025: no finish reason, and usage beside the error. */
export function chatStreamFailed(answer: Answer, failure: Failure): StreamEvent {
  const usage = chatUsage(answer.usage)
  switch (failure.kind) {
    case 'error': {
      const { error, manner } = failure
      const finish = manner === 'newer' ? 'error' : null
      const extra = manner === 'newer' ? { error } : { error, usage }
      return event(answer, 'error', [choice(EMPTY_DELTA, finish)], extra)
    }
    case 'inner-error':
      return event(answer, 'error', [{ ...choice(EMPTY_DELTA, 'error'), error: failure.error }])
    case 'unexplained': {
      const native = 'MALFORMED_FUNCTION_CALL'
      return event(answer, 'error', [choice(EMPTY_DELTA, 'error', native)], { usage })
    }
  }
}
