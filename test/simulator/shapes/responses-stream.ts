import type { Answer } from '../answer.ts'
import { type Block, blocksOf } from '../answer-blocks.ts'
import type { EventKind, Failure, StreamEvent } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import type { Body } from '../request-fields.ts'
import { dataEvent } from '../sse.ts'
import {
  codeOf,
  itemId,
  itemOf,
  responseObject,
  responsesFailed,
  responsesWhole,
  textPart,
} from './responses-answer.ts'

/** An event without its sequence number. */
interface Draft {
  readonly kind: EventKind
  readonly tokens: number
  readonly data: Readonly<Record<string, Json>>
}

const draft = (
  kind: EventKind,
  type: string,
  data: Readonly<Record<string, Json>>,
  tokens = kind === 'output' ? 1 : 0,
): Draft => ({ kind, tokens, data: { type, ...data } })

const numbered = (drafts: readonly Draft[], from: number): StreamEvent[] =>
  drafts.map(({ kind, tokens, data }, index) =>
    dataEvent(kind, { ...data, sequence_number: from + index }, tokens),
  )

/** `response.created` and `response.in_progress`, which have no output. */
export function responsesOpening(answer: Answer, body: Body): StreamEvent[] {
  return numbered(openingDrafts(answer, body), 0)
}

function openingDrafts(answer: Answer, body: Body): Draft[] {
  const response = responseObject(answer, body, 'in_progress')
  return [
    draft('frame', 'response.created', { response }),
    draft('frame', 'response.in_progress', { response }),
  ]
}

/** The stream up to its last event, which holds the whole response and its usage. */
export function responsesStream(answer: Answer, body: Body): StreamEvent[] {
  const status = answer.finishReason === 'length' ? 'incomplete' : 'completed'
  const response = responsesWhole(answer, body)
  return numbered(
    [
      ...openingDrafts(answer, body),
      ...blocksOf(answer).flatMap((block, index) => blockDrafts(answer, block, index, status)),
      draft('usage', `response.${status}`, { response }),
    ],
    0,
  )
}

function blockDrafts(
  answer: Answer,
  block: Block,
  output_index: number,
  status: 'completed' | 'incomplete',
): Draft[] {
  const at = { output_index, item_id: itemId(answer, block, output_index) }
  const added = itemOf(answer, block, output_index, 'in_progress')
  const item = itemOf(answer, block, output_index, status)
  const parts = block.kind === 'tool' ? toolDrafts(block, at) : textDrafts(block, at)
  // The name of a tool call is its first token. It comes with the item.
  const named = block.kind === 'tool' ? 'output' : 'frame'
  return [
    draft(named, 'response.output_item.added', { output_index, item: added }),
    ...parts,
    draft('finish', 'response.output_item.done', { output_index, item }),
  ]
}

type Place = { readonly output_index: number; readonly item_id: string }

function toolDrafts(block: Block, at: Place): Draft[] {
  const type = 'response.function_call_arguments'
  const written = block.texts.join('')
  return [
    ...block.texts.map((delta) => draft('output', `${type}.delta`, { ...at, delta })),
    draft('finish', `${type}.done`, { ...at, name: block.name, arguments: written }),
  ]
}

function textDrafts(block: Block, place: Place): Draft[] {
  const at = { ...place, content_index: 0 }
  const text = block.texts.join('')
  const reasons = block.kind === 'reasoning'
  const type = reasons ? 'response.reasoning_text' : 'response.output_text'
  const extra = reasons ? {} : { logprobs: [] }
  const part = (said: string): Json =>
    reasons ? { type: 'reasoning_text', text: said } : textPart(said)
  return [
    draft('frame', 'response.content_part.added', { ...at, part: part('') }),
    ...block.texts.map((delta) => draft('output', `${type}.delta`, { ...at, delta, ...extra })),
    draft('finish', `${type}.done`, { ...at, text, ...extra }),
    draft('finish', 'response.content_part.done', { ...at, part: part(text) }),
  ]
}

/**
 * The last events of a failed stream: the failed response, in the older form an `error` event, or a
 * `response.error`. A failure without an error is a failed response without an error.
 */
export function responsesStreamFailed(
  answer: Answer,
  body: Body,
  failure: Failure,
  sent: number,
): StreamEvent[] {
  switch (failure.kind) {
    case 'error': {
      const { code, message } = failure.error
      if (failure.manner === 'older') {
        const event = draft('error', 'error', { code: codeOf(code), message, param: null })
        return numbered([event], sent)
      }
      const response = responsesFailed(answer, body, failure)
      return numbered([draft('error', 'response.failed', { response })], sent)
    }
    case 'inner-error': {
      const { code, message } = failure.error
      const error = { code: codeOf(code), message }
      return numbered([draft('error', 'response.error', { error })], sent)
    }
    case 'unexplained': {
      const opening = sent === 0 ? openingDrafts(answer, body) : []
      const response = responsesFailed(answer, body, failure)
      return numbered([...opening, draft('error', 'response.failed', { response })], sent)
    }
  }
}
