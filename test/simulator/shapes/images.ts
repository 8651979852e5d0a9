import type { Answer } from '../answer.ts'
import type { ApiShape, Failure, Parsed, StreamEvent, Wording } from '../api-shape.ts'
import type { ApiError } from '../errors.ts'
import type { Json } from '../json-schema-sample.ts'
import { tokensIn } from '../prompt.ts'
import { type Body, invalid, numberOf, readBody, stringOf, thing } from '../request-fields.ts'
import { DONE, dataEvent } from '../sse.ts'
import { chatUsage } from './chat-answer.ts'
import { openRouterError } from './openrouter-error.ts'
import { plainWording } from './plain-wording.ts'

/** One transparent pixel. */
const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
/** The number of previews before a streamed image. */
const PARTIALS = 3
const TOKENS_PER_IMAGE = 1290

const usageOf = (answer: Answer) => chatUsage(answer.usage)

const imagesOf = (answer: Answer, count: number): Json => ({
  created: answer.createdS,
  data: Array.from({ length: count }, () => ({ b64_json: PNG, media_type: 'image/png' })),
  usage: usageOf(answer),
})

function partials(): StreamEvent[] {
  return Array.from({ length: PARTIALS }, (_, index) =>
    dataEvent(
      'output',
      { type: 'image_generation.partial_image', partial_image_index: index, b64_json: PNG },
      Math.ceil(TOKENS_PER_IMAGE / (PARTIALS + 1)),
    ),
  )
}

function completed(answer: Answer): StreamEvent {
  return dataEvent('usage', {
    type: 'image_generation.completed',
    b64_json: PNG,
    media_type: 'image/png',
    created: answer.createdS,
    usage: usageOf(answer),
  })
}

const errorEvent = ({ code, message }: Pick<ApiError, 'code' | 'message'>) =>
  dataEvent('error', {
    type: 'error',
    error: { code: String(code), message, param: null, type: null },
  })

/** A stream of images fails in only one way. A failure without an error becomes a server error. */
function failed(failure: Failure): StreamEvent[] {
  const unexplained = { code: 'server_error', message: 'Image generation failed' }
  return [errorEvent(failure.kind === 'unexplained' ? unexplained : failure.error)]
}

const STREAMED: Wording = {
  kind: 'stream',
  events: (answer) =>
    answer.finishReason === null
      ? [completed(answer), DONE]
      : [...partials(), completed(answer), DONE],
  opening: () => [],
  failed: (_answer, failure) => failed(failure),
  done: DONE,
}

function read(body: Body, model: string): Parsed {
  const prompt = stringOf(body.prompt)
  if (prompt === null) return invalid('Input required: specify "prompt"')
  const streamed = body.stream === true
  const count = streamed ? 1 : Math.min(10, numberOf(body.n) ?? 1)
  const asked = { promptTokens: tokensIn(prompt), tokens: count * TOKENS_PER_IMAGE }
  const whole = plainWording(
    (answer) => imagesOf(answer, count),
    (answer) => imagesOf(answer, 0),
  )
  return thing(model, asked, streamed ? STREAMED : whole)
}

/** POST /images. */
export const images: ApiShape = {
  path: '/images',
  apiType: 'image',
  takesForms: false,
  parse: (body) => readBody(body, read),
  errorBody: openRouterError,
}
