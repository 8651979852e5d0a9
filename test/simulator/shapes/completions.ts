import { type Answer, joined } from '../answer.ts'
import type { ApiShape, Failure, Parsed, StreamEvent, Wording } from '../api-shape.ts'
import type { Json } from '../json-schema-sample.ts'
import { tokensIn } from '../prompt.ts'
import {
  asJson,
  type Body,
  invalid,
  listOf,
  numberOf,
  readBody,
  stringOf,
} from '../request-fields.ts'
import { DONE, dataEvent } from '../sse.ts'
import type { Settings } from '../world.ts'
import { chatUsage } from './chat-answer.ts'
import { openRouterError } from './openrouter-error.ts'

type Fields = Readonly<Record<string, Json>>

function read(body: Body, model: string, settings: Settings): Parsed {
  const prompt = stringOf(body.prompt) ?? stringOf(listOf(body.prompt)[0])
  if (prompt === null) return invalid('Input required: specify "prompt" or "messages"')
  return {
    kind: 'call',
    call: {
      model,
      maxTokens: numberOf(body.max_tokens),
      promptTokens: tokensIn(prompt),
      turns: [],
      lastUserText: prompt,
      tool: null,
      jsonSchema: null,
      product: { kind: 'text' },
      units: 0,
      wording: body.stream === true ? streamed(settings) : WHOLE,
    },
  }
}

function completion(answer: Answer, choices: Json[], extra: Fields = {}): Json {
  return {
    id: answer.id,
    object: 'text_completion',
    created: answer.createdS,
    model: answer.model,
    provider: answer.provider,
    system_fingerprint: null,
    choices,
    ...extra,
  }
}

const choice = (text: string, finish: string | null, extra: Fields = {}): Json => ({
  index: 0,
  text,
  logprobs: null,
  finish_reason: finish,
  native_finish_reason: finish,
  ...extra,
})

function whole(answer: Answer): Json {
  const reasoning = joined(answer, 'reasoning')
  const choices = [
    choice(joined(answer, 'text'), answer.finishReason, reasoning === '' ? {} : { reasoning }),
  ]
  return completion(answer, choices, { usage: chatUsage(answer.usage) })
}

function wholeFailed(answer: Answer, failure: Failure): Json {
  const usage = { usage: chatUsage(answer.usage) }
  switch (failure.kind) {
    case 'error':
      return { id: answer.id, error: asJson(failure.error) }
    case 'inner-error': {
      const said = joined({ ...answer, pieces: answer.pieces.slice(0, 3) }, 'text')
      return completion(answer, [choice(said, 'error', { error: asJson(failure.error) })], usage)
    }
    case 'unexplained':
      return completion(answer, [choice('', 'error')], usage)
  }
}

function events(answer: Answer, settings: Settings): StreamEvent[] {
  const output = answer.pieces.map((piece) =>
    dataEvent(
      'output',
      completion(answer, [
        piece.kind === 'reasoning'
          ? choice('', null, { reasoning: piece.text })
          : choice(piece.text, null),
      ]),
    ),
  )
  const last = choice('', answer.finishReason)
  const usage = { usage: chatUsage(answer.usage) }
  return [
    ...output,
    dataEvent('finish', completion(answer, [last])),
    dataEvent('usage', completion(answer, settings.usageForm === 'newer' ? [last] : [], usage)),
    DONE,
  ]
}

function streamFailed(answer: Answer, failure: Failure): StreamEvent {
  const usage = { usage: chatUsage(answer.usage) }
  switch (failure.kind) {
    case 'error': {
      const error = asJson(failure.error)
      const older = failure.manner === 'older'
      const choices = [choice('', older ? null : 'error')]
      return dataEvent(
        'error',
        completion(answer, choices, older ? { error, ...usage } : { error }),
      )
    }
    case 'inner-error': {
      const choices = [choice('', 'error', { error: asJson(failure.error) })]
      return dataEvent('error', completion(answer, choices))
    }
    case 'unexplained':
      return dataEvent('error', completion(answer, [choice('', 'error')], usage))
  }
}

const WHOLE: Wording = {
  kind: 'whole',
  contentType: 'application/json',
  answer: whole,
  failed: wholeFailed,
}

const streamed = (settings: Settings): Wording => ({
  kind: 'stream',
  events: (answer) => events(answer, settings),
  opening: (answer) => [dataEvent('frame', completion(answer, [choice('', null)]))],
  failed: (answer, failure) => [streamFailed(answer, failure)],
  done: DONE,
})

/** POST /completions: OpenAI's legacy API, from text to text. */
export const completions: ApiShape = {
  path: '/completions',
  apiType: 'completions',
  takesForms: false,
  parse: (body, settings) => readBody(body, (fields, model) => read(fields, model, settings)),
  errorBody: openRouterError,
}
