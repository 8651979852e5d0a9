import type { ApiShape, Call, Parsed, Tool } from './api-shape.ts'
import { chatError, chatFinishError, chatWhole, chatWholeError } from './chat-answer.ts'
import {
  COMMENT,
  chatStream,
  choiceErrorEvent,
  DONE,
  errorEvent,
  finishErrorEvent,
  roleOnly,
} from './chat-stream.ts'
import { failure } from './errors.ts'
import { isRecord, type Json } from './json-schema-sample.ts'

/** Roughly how many tokens that text has. */
const tokensIn = (text: string) => Math.max(1, Math.ceil(text.length / 4))

const invalid = (message: string): Parsed => ({ kind: 'invalid', answer: failure(400, message) })

function parse(body: unknown): Parsed {
  if (!isRecord(body)) return invalid('Request body is not valid JSON')
  const model = modelOf(body)
  if (model === null) return invalid('No models provided')
  const { messages } = body
  if (!Array.isArray(messages) || messages.length === 0) {
    return invalid('Input required: specify "prompt" or "messages"')
  }
  const call: Call = {
    model,
    stream: body.stream === true,
    maxTokens: numberOf(body.max_completion_tokens) ?? numberOf(body.max_tokens),
    promptTokens: tokensIn(messages.map(textOf).join(' ')),
    lastUserText: textOf(messages.findLast((message) => roleOf(message) === 'user')),
    tool: roleOf(messages.at(-1)) === 'tool' ? null : chosenTool(body),
    jsonSchema: schemaOf(body.response_format),
  }
  return { kind: 'call', call }
}

function modelOf(body: Readonly<Record<string, unknown>>): string | null {
  if (typeof body.model === 'string' && body.model !== '') return body.model
  const first: unknown = Array.isArray(body.models) ? body.models[0] : undefined
  return typeof first === 'string' ? first : null
}

const numberOf = (value: unknown) => (typeof value === 'number' ? value : null)

const roleOf = (message: unknown) => (isRecord(message) ? message.role : undefined)

function textOf(message: unknown): string {
  if (!isRecord(message)) return ''
  const { content } = message
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content
    .map((part) => (isRecord(part) && typeof part.text === 'string' ? part.text : ''))
    .join('')
}

function chosenTool(body: Readonly<Record<string, unknown>>): Tool | null {
  if (!Array.isArray(body.tools) || body.tool_choice === 'none') return null
  const tools = body.tools.map(toolOf).filter((tool) => tool !== null)
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

/** It was parsed from JSON, so it is JSON; only the type has to learn that. */
function asJson(value: unknown): Json {
  const copy: Json = JSON.parse(JSON.stringify(value ?? {}))
  return copy
}

/** POST /chat/completions: OpenAI's shape. */
export const chatCompletions: ApiShape = {
  path: '/chat/completions',
  parse,
  errorBody: chatError,
  whole: chatWhole,
  stream: chatStream,
  comment: () => COMMENT,
  done: () => DONE,
  roleOnly,
  errorEvent,
  choiceErrorEvent,
  finishErrorEvent,
  wholeError: (answer, error) => ({ id: answer.id, error: asJson(error) }),
  wholeChoiceError: (answer, error) => chatWholeError(answer, asJson(error)),
  wholeFinishError: chatFinishError,
}
