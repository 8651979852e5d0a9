import type { ApiShape, Parsed, Tool, Wording } from '../api-shape.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { contentText, lastUserText, type Turn, tokensOf, turnOf } from '../prompt.ts'
import { asJson, type Body, invalid, listOf, numberOf, readBody } from '../request-fields.ts'
import type { Settings } from '../world.ts'
import { anthropicError } from './anthropic-error.ts'
import { type Manner, messagesFailed, messagesWhole } from './messages-answer.ts'
import {
  messagesOpening,
  messagesStream,
  messagesStreamFailed,
  TRAILER,
} from './messages-stream.ts'

/** The turns: the system prompt, as text or blocks, and the messages. */
export function turnsOf(body: Body): Turn[] {
  const system =
    contentText(body.system) === '' ? [] : [turnOf({ role: 'system', content: body.system })]
  return [...system, ...listOf(body.messages).map(turnOf)]
}

function read(body: Body, model: string, settings: Settings): Parsed {
  if (listOf(body.messages).length === 0) return invalid('messages: at least one is required')
  const turns = turnsOf(body)
  const manner: Manner = { settings, writesCache: writesCache(body) }
  return {
    kind: 'call',
    call: {
      model,
      maxTokens: numberOf(body.max_tokens),
      promptTokens: tokensOf(turns),
      turns,
      lastUserText: lastUserText(turns),
      tool: toolHasAnswered(body) ? null : chosenTool(body),
      jsonSchema: schemaOf(body.output_config),
      product: { kind: 'text' },
      units: 0,
      wording: body.stream === true ? streamed(manner) : whole(manner),
    },
  }
}

/** Whether the prompt has a cache mark. Without one, Anthropic does not write its cache. */
function writesCache(body: Body): boolean {
  const { cache_control, system, messages: turns, tools } = body
  // Inside a text the quotes would be escaped, so only a real field matches.
  return JSON.stringify({ cache_control, system, turns, tools }).includes('"cache_control":{')
}

function toolHasAnswered(body: Body): boolean {
  const last = listOf(body.messages).at(-1)
  const blocks = isRecord(last) ? listOf(last.content) : []
  return blocks.some((block) => isRecord(block) && block.type === 'tool_result')
}

function chosenTool(body: Body): Tool | null {
  const choice = isRecord(body.tool_choice) ? body.tool_choice : {}
  if (choice.type === 'none') return null
  const tools = listOf(body.tools).flatMap((tool): Tool[] => {
    if (!isRecord(tool) || typeof tool.name !== 'string') return []
    return [{ name: tool.name, parameters: asJson(tool.input_schema) }]
  })
  return tools.find((tool) => tool.name === choice.name) ?? tools[0] ?? null
}

function schemaOf(config: unknown): Json | null {
  const format = isRecord(config) ? config.format : undefined
  return isRecord(format) && format.type === 'json_schema' ? asJson(format.schema) : null
}

const whole = (manner: Manner): Wording => ({
  kind: 'whole',
  contentType: 'application/json',
  answer: (answer) => messagesWhole(answer, manner),
  failed: (answer, failure) => messagesFailed(answer, failure, manner),
})

const streamed = (manner: Manner): Wording => ({
  kind: 'stream',
  events: (answer) => [
    ...messagesStream(answer, manner),
    ...(manner.settings.messagesTrailer ? [TRAILER] : []),
  ],
  opening: (answer) => messagesOpening(answer, manner),
  failed: (answer, failure, sent) => messagesStreamFailed(answer, failure, { manner, sent }),
  done: TRAILER,
})

/** POST /messages: Anthropic's API. */
export const messages: ApiShape = {
  path: '/messages',
  apiType: 'completions',
  takesForms: false,
  parse: (body, settings) => readBody(body, (fields, model) => read(fields, model, settings)),
  errorBody: anthropicError,
}
