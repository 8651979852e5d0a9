import type { Call, Tool } from './api-shape.ts'
import { sampleOf } from './json-schema-sample.ts'
import type { Model } from './models.ts'
import { costUsd, round } from './money.ts'
import type { Settings } from './world.ts'

/** One token's worth of output. */
export interface Piece {
  readonly kind: 'reasoning' | 'text' | 'tool-name' | 'tool-arguments'
  readonly text: string
}

export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly reasoningTokens: number
  readonly promptUsd: number
  readonly completionUsd: number
  readonly costUsd: number
}

/** What the simulated model says, before an API shape words it. */
export interface Answer {
  readonly id: string
  readonly createdS: number
  readonly model: string
  readonly provider: string
  readonly pieces: readonly Piece[]
  readonly finishReason: 'stop' | 'length' | 'tool_calls' | null
  readonly toolCallId: string
  readonly usage: Usage
}

const FILLER = ' ünd dann: naïve façades, 東京, 🙂'
const REASONING = 'The user wants an answer – a short one, I think.'
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

/** `gen-<unix seconds>-<20 letters and digits>`. Random: a gateway may remember ids across resets. */
export function generationId(nowMs: number): string {
  const letters = Array.from(
    crypto.getRandomValues(new Uint8Array(20)),
    (byte) => ALPHABET[byte % ALPHABET.length],
  )
  return `gen-${Math.floor(nowMs / 1000)}-${letters.join('')}`
}

/** The answer to a call: the same text each time, cut to the call's `max_tokens`. */
export function answerTo(call: Call, model: Model, settings: Settings, nowMs: number): Answer {
  const { pieces, cut } = limited(piecesOf(call, model, settings), call.maxTokens)
  const finish = call.tool === null ? 'stop' : 'tool_calls'
  const id = generationId(nowMs)
  return {
    id,
    createdS: Math.floor(nowMs / 1000),
    model: call.model,
    provider: model.provider,
    pieces,
    finishReason: cut ? 'length' : finish,
    toolCallId: `call_${id.slice(-12)}`,
    usage: usageOf(model, call.promptTokens, pieces),
  }
}

/** The same answer with other pieces, and its usage counted anew. */
export function withPieces(
  answer: Answer,
  model: Model,
  pieces: readonly Piece[],
  finishReason: Answer['finishReason'],
): Answer {
  const usage = usageOf(model, answer.usage.promptTokens, pieces)
  return { ...answer, pieces, finishReason, usage }
}

/** The same answer, not charged: OpenRouter takes nothing for an answer that ends in an error. */
export function freeOfCharge(answer: Answer): Answer {
  const usage = { ...answer.usage, promptUsd: 0, completionUsd: 0, costUsd: 0 }
  return { ...answer, usage }
}

function usageOf(model: Model, promptTokens: number, pieces: readonly Piece[]): Usage {
  return {
    promptTokens,
    completionTokens: pieces.length,
    reasoningTokens: pieces.filter((piece) => piece.kind === 'reasoning').length,
    promptUsd: round(promptTokens * model.promptUsd),
    completionUsd: round(pieces.length * model.completionUsd),
    costUsd: pieces.length === 0 ? 0 : costUsd(model, promptTokens, pieces.length),
  }
}

function limited(pieces: Piece[], maxTokens: number | null) {
  if (maxTokens === null || pieces.length <= maxTokens) return { pieces, cut: false }
  return { pieces: pieces.slice(0, maxTokens), cut: true }
}

function piecesOf(call: Call, model: Model, settings: Settings): Piece[] {
  const reasoning = model.reasons ? words(REASONING, 'reasoning') : []
  if (call.tool !== null) return [...reasoning, ...toolPieces(call.tool)]
  return [...reasoning, ...words(textOf(call, settings), 'text')]
}

function textOf(call: Call, settings: Settings): string {
  if (call.jsonSchema !== null) return JSON.stringify(sampleOf(call.jsonSchema))
  // Bounded: a caller may send megabytes, and the answer is made of one event per token.
  const echo = call.lastUserText.slice(0, 400).toWellFormed()
  const sentence = `Grüße aus dem Simulator – it is 21 °C in 東京 🙂. You said: ${echo}`
  if (settings.answerTokens === null) return sentence
  const enough = sentence + FILLER.repeat(Math.ceil(settings.answerTokens / 6))
  return tokensOf(enough).slice(0, settings.answerTokens).join('')
}

/** Words with the blank before them, long ones in parts: a model's tokens are short. */
function tokensOf(text: string): string[] {
  return text.match(/\s*[^\s]{1,8}|\s+$/gu) ?? []
}

const words = (text: string, kind: Piece['kind']): Piece[] =>
  tokensOf(text).map((token) => ({ kind, text: token }))

function toolPieces(tool: Tool): Piece[] {
  const written = JSON.stringify(sampleOf(tool.parameters))
  const parts = written.match(/[\s\S]{1,8}/gu) ?? []
  return [
    { kind: 'tool-name', text: tool.name },
    ...parts.map((text): Piece => ({ kind: 'tool-arguments', text })),
  ]
}
