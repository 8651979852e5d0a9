import type { ApiShape, Parsed, Tool, Wording } from '../api-shape.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { contentText, lastUserText, type Turn, tokensOf, turnOf } from '../prompt.ts'
import {
  asJson,
  type Body,
  invalid,
  listOf,
  numberOf,
  readBody,
  stringOf,
} from '../request-fields.ts'
import { DONE } from '../sse.ts'
import { openRouterError } from './openrouter-error.ts'
import { responsesFailed, responsesWhole } from './responses-answer.ts'
import { responsesOpening, responsesStream, responsesStreamFailed } from './responses-stream.ts'

/** The turn of an input item: a message, or a tool's call or output, with its text elsewhere. */
function itemTurn(item: unknown): Turn {
  const turn = turnOf(item)
  if (!isRecord(item) || turn.text !== '') return turn
  const text = contentText(item.output) + (stringOf(item.arguments) ?? '')
  return { ...turn, text }
}

function turnsOf(body: Body): Turn[] {
  const instructions = stringOf(body.instructions)
  const system = instructions === null ? [] : [turnOf({ role: 'system', content: instructions })]
  const input = stringOf(body.input)
  const items =
    input === null ? listOf(body.input).map(itemTurn) : [turnOf({ role: 'user', content: input })]
  return [...system, ...items]
}

function read(body: Body, model: string): Parsed {
  // OpenRouter stores no conversations. A field that needs a stored one is an error, not ignored.
  if (body.store === true) return invalid('store must be false: responses are not stored')
  if (typeof body.previous_response_id === 'string') {
    return invalid('previous_response_id is not supported: responses are not stored')
  }
  if (body.input === undefined || body.input === null) return invalid('Input required: "input"')
  const turns = turnsOf(body)
  return {
    kind: 'call',
    call: {
      model,
      maxTokens: numberOf(body.max_output_tokens),
      promptTokens: tokensOf(turns),
      turns,
      lastUserText: lastUserText(turns),
      tool: toolHasAnswered(body) ? null : chosenTool(body),
      jsonSchema: schemaOf(body.text),
      product: { kind: 'text' },
      units: 0,
      wording: body.stream === true ? streamed(body) : whole(body),
    },
  }
}

function toolHasAnswered(body: Body): boolean {
  const last = listOf(body.input).at(-1)
  return isRecord(last) && last.type === 'function_call_output'
}

function chosenTool(body: Body): Tool | null {
  if (body.tool_choice === 'none') return null
  const tools = listOf(body.tools).flatMap((tool): Tool[] => {
    if (!isRecord(tool) || tool.type !== 'function' || typeof tool.name !== 'string') return []
    return [{ name: tool.name, parameters: asJson(tool.parameters) }]
  })
  const choice = isRecord(body.tool_choice) ? body.tool_choice.name : undefined
  return tools.find((tool) => tool.name === choice) ?? tools[0] ?? null
}

function schemaOf(text: unknown): Json | null {
  const format = isRecord(text) ? text.format : undefined
  if (!isRecord(format)) return null
  if (format.type === 'json_object') {
    return { type: 'object', properties: { answer: { type: 'string' } } }
  }
  return format.type === 'json_schema' ? asJson(format.schema) : null
}

const whole = (body: Body): Wording => ({
  kind: 'whole',
  contentType: 'application/json',
  answer: (answer) => responsesWhole(answer, body),
  failed: (answer, failure) => responsesFailed(answer, body, failure),
})

const streamed = (body: Body): Wording => ({
  kind: 'stream',
  events: (answer) => [...responsesStream(answer, body), DONE],
  opening: (answer) => responsesOpening(answer, body),
  failed: (answer, failure, sent) => responsesStreamFailed(answer, body, failure, sent),
  done: DONE,
})

/** POST /responses: OpenAI's newer API, without stored state. */
export const responses: ApiShape = {
  path: '/responses',
  apiType: 'completions',
  takesForms: false,
  parse: (body) => readBody(body, read),
  errorBody: openRouterError,
}
