import type { ApiShape, Parsed, Tool, Wording } from '../api-shape.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { lastUserText, tokensOf, turnOf } from '../prompt.ts'
import { asJson, type Body, invalid, listOf, numberOf, readBody } from '../request-fields.ts'
import { DONE } from '../sse.ts'
import type { Settings } from '../world.ts'
import { chatFailed, chatWhole } from './chat-answer.ts'
import { chatStream, chatStreamFailed, roleOnly } from './chat-stream.ts'
import { openRouterError } from './openrouter-error.ts'

function read(body: Body, model: string, settings: Settings): Parsed {
  const turns = listOf(body.messages).map(turnOf)
  if (turns.length === 0) return invalid('Input required: specify "prompt" or "messages"')
  return {
    kind: 'call',
    call: {
      model,
      maxTokens: numberOf(body.max_completion_tokens) ?? numberOf(body.max_tokens),
      promptTokens: tokensOf(turns),
      turns,
      lastUserText: lastUserText(turns),
      tool: turns.at(-1)?.role === 'tool' ? null : chosenTool(body),
      jsonSchema: schemaOf(body.response_format),
      product: { kind: 'text' },
      units: 0,
      wording: body.stream === true ? streamed(settings) : WHOLE,
    },
  }
}

function chosenTool(body: Body): Tool | null {
  if (body.tool_choice === 'none') return null
  const tools = listOf(body.tools)
    .map(toolOf)
    .filter((tool) => tool !== null)
  const choice = isRecord(body.tool_choice) ? toolOf(body.tool_choice) : null
  return tools.find((tool) => tool.name === choice?.name) ?? tools[0] ?? null
}

function toolOf(value: unknown): Tool | null {
  const described = isRecord(value) ? value.function : undefined
  if (!isRecord(described) || typeof described.name !== 'string') return null
  return { name: described.name, parameters: asJson(described.parameters) }
}

function schemaOf(format: unknown): Json | null {
  if (!isRecord(format)) return null
  if (format.type === 'json_object') {
    return { type: 'object', properties: { answer: { type: 'string' } } }
  }
  if (format.type !== 'json_schema' || !isRecord(format.json_schema)) return null
  return asJson(format.json_schema.schema)
}

const WHOLE: Wording = {
  kind: 'whole',
  contentType: 'application/json',
  answer: chatWhole,
  failed: chatFailed,
}

const streamed = (settings: Settings): Wording => ({
  kind: 'stream',
  events: (answer) => chatStream(answer, settings),
  opening: (answer) => [roleOnly(answer)],
  failed: (answer, failure) => [chatStreamFailed(answer, failure)],
  done: DONE,
})

/** POST /chat/completions: OpenAI's shape. */
export const chatCompletions: ApiShape = {
  path: '/chat/completions',
  apiType: 'completions',
  takesForms: false,
  parse: (body, settings) => readBody(body, (fields, model) => read(fields, model, settings)),
  errorBody: openRouterError,
}
