import type { Answer } from '../answer.ts'
import { type Block, blocksOf } from '../answer-blocks.ts'
import type { EventKind, Failure, StreamEvent } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import { anthropicFailure } from './anthropic-error.ts'
import {
  costUsage,
  inputUsage,
  type Manner,
  message,
  messageUsage,
  outputUsage,
  signatureOf,
  stopReason,
  toolBlock,
} from './messages-answer.ts'

/** OpenRouter's own end mark, after Anthropic's. */
export const TRAILER: StreamEvent = {
  kind: 'done',
  text: 'event: data\ndata: [DONE]\n\n',
  tokens: 0,
}

type TypedData = Readonly<Record<string, unknown>> & { readonly type: string }

/** An event in Anthropic's form: its type is on its own line and again in the data. */
function event(kind: EventKind, data: TypedData, tokens?: number): StreamEvent {
  const carried = tokens ?? (kind === 'output' ? 1 : 0)
  const text = `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
  return { kind, text, tokens: carried }
}

/** `message_start` and a `ping`, which have no output. */
export function messagesOpening(answer: Answer, manner: Manner): StreamEvent[] {
  const nothing = { ...answer, usage: { ...answer.usage, completionTokens: 0, reasoningTokens: 0 } }
  const usage = { ...messageUsage(answer, manner), ...outputUsage(nothing) }
  return [
    event('frame', { type: 'message_start', message: message(answer, { usage }) }),
    event('frame', { type: 'ping' }),
  ]
}

/** The stream up to `message_stop`. */
export function messagesStream(answer: Answer, manner: Manner): StreamEvent[] {
  return [
    ...messagesOpening(answer, manner),
    ...blocksOf(answer).flatMap((block, index) => blockEvents(answer, block, index)),
    ...ending(answer, manner),
  ]
}

/** The end of a stream. Usage in the older form omits the fields that `message_start` had. */
function ending(answer: Answer, manner: Manner, kind: EventKind = 'usage'): StreamEvent[] {
  const known = {
    input_tokens: null,
    cache_creation_input_tokens: null,
    cache_read_input_tokens: null,
  }
  const older = manner.settings.usageForm === 'older'
  const delta = {
    type: 'message_delta',
    delta: {
      stop_reason: stopReason(answer),
      stop_sequence: null,
      stop_details: null,
      container: null,
    },
    usage: {
      ...(older ? known : inputUsage(answer, manner)),
      ...outputUsage(answer),
      ...costUsage(answer),
    },
  }
  return [event(kind, delta), event('finish', { type: 'message_stop' })]
}

function blockEvents(answer: Answer, block: Block, index: number): StreamEvent[] {
  const start = (kind: EventKind, content_block: Json) =>
    event(kind, { type: 'content_block_start', index, content_block })
  const delta = (kind: EventKind, said: Json) =>
    event(kind, { type: 'content_block_delta', index, delta: said })
  const stop = event('finish', { type: 'content_block_stop', index })
  switch (block.kind) {
    case 'text':
      return [
        start('frame', { type: 'text', text: '', citations: null }),
        ...block.texts.map((text) => delta('output', { type: 'text_delta', text })),
        stop,
      ]
    case 'reasoning':
      return [
        start('frame', { type: 'thinking', thinking: '', signature: '' }),
        ...block.texts.map((thinking) => delta('output', { type: 'thinking_delta', thinking })),
        delta('frame', { type: 'signature_delta', signature: signatureOf(answer) }),
        stop,
      ]
    case 'tool':
      // The name of a tool call is its first token. It comes with the block.
      return [
        start('output', toolBlock(answer, block)),
        ...block.texts.map((partial_json) =>
          delta('output', { type: 'input_json_delta', partial_json }),
        ),
        stop,
      ]
  }
}

/**
 * The last events of a failed stream: an `error` event, which has no metadata in the older form and
 * for an inner error. A failure without an error is an end without a stop reason.
 */
export function messagesStreamFailed(
  answer: Answer,
  failure: Failure,
  { manner, sent }: { manner: Manner; sent: number },
): StreamEvent[] {
  if (failure.kind === 'unexplained') {
    const opening = sent === 0 ? messagesOpening(answer, manner) : []
    const silent = { ...answer, finishReason: null }
    return [...opening, ...ending(silent, manner, 'error')]
  }
  const { code, message: text } = failure.error
  const full = failure.kind === 'error' && failure.manner === 'newer'
  const error = full ? failure.error : { code, message: text }
  return [event('error', anthropicFailure(error, manner.settings))]
}
