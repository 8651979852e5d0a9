import { type Answer, joined } from '../answer.ts'
import type { ApiShape, Parsed } from '../api-shape.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { type Body, invalid, numberOf, readBody, stringOf } from '../request-fields.ts'
import { openRouterError } from './openrouter-error.ts'
import { plainWording } from './plain-wording.ts'

const BYTES_PER_SECOND = 16_000
const TOKENS_PER_SECOND = 10

/** The size of the sound in bytes, from base64 in JSON or a form's file; null without both. */
function soundBytes(body: Body): number | null {
  if (isRecord(body.file)) return numberOf(body.file.bytes)
  const data = isRecord(body.input_audio) ? stringOf(body.input_audio.data) : null
  return data === null ? null : Math.floor((data.length * 3) / 4)
}

function transcript(answer: Answer, text: string, verbose: boolean): Json {
  const { usage } = answer
  const details = {
    task: 'transcribe',
    language: 'english',
    duration: usage.units,
    segments: [{ id: 0, start: 0, end: usage.units, text }],
  }
  return {
    text,
    ...(verbose ? details : {}),
    usage: {
      seconds: usage.units,
      input_tokens: usage.promptTokens,
      output_tokens: usage.completionTokens,
      total_tokens: usage.promptTokens + usage.completionTokens,
      cost: usage.costUsd,
    },
  }
}

function read(body: Body, model: string): Parsed {
  const bytes = soundBytes(body)
  if (bytes === null) return invalid('Input required: specify "input_audio" or "file"')
  const seconds = Math.max(1, Math.ceil(bytes / BYTES_PER_SECOND))
  const verbose = body.response_format === 'verbose_json'
  return {
    kind: 'call',
    call: {
      model,
      maxTokens: null,
      promptTokens: seconds * TOKENS_PER_SECOND,
      turns: [],
      lastUserText: `${bytes} bytes of sound`,
      tool: null,
      jsonSchema: null,
      product: { kind: 'text' },
      units: seconds,
      wording: plainWording(
        (answer) => transcript(answer, joined(answer, 'text'), verbose),
        (answer) => transcript(answer, '', verbose),
      ),
    },
  }
}

/** POST /audio/transcriptions, as JSON or as a form. */
export const transcriptions: ApiShape = {
  path: '/audio/transcriptions',
  apiType: 'stt',
  takesForms: true,
  parse: (body) => readBody(body, read),
  errorBody: openRouterError,
}
