import type { Call, Tool } from './api-shape.ts'
import { sampleOf } from './json-schema-sample.ts'
import type { Model } from './models.ts'
import { promptCostUsd, round } from './money.ts'
import { type Charges, NO_CHARGES } from './prices.ts'
import type { Settings } from './world.ts'

/** The output of one token. */
export interface Piece {
  readonly kind: 'reasoning' | 'text' | 'tool-name' | 'tool-arguments'
  readonly text: string
}

export interface Usage {
  /** How many searches, or seconds of sound. */
  readonly units: number
  readonly promptTokens: number
  /** Prompt tokens read from the provider's cache, at a tenth of the price. */
  readonly cachedTokens: number
  readonly completionTokens: number
  readonly reasoningTokens: number
  readonly promptUsd: number
  readonly completionUsd: number
  /** What is charged. */
  readonly costUsd: number
  /** Whether the account's own provider key was used, and what the provider took in all. */
  readonly isByok: boolean
  readonly upstreamUsd: number
}

/** The output of the simulated model, before an API shape puts it into its form. */
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

/** `gen-<unix seconds>-<20 letters and digits>`. Random: a gateway may keep ids after a reset. */
export function generationId(nowMs: number): string {
  const letters = Array.from(
    crypto.getRandomValues(new Uint8Array(20)),
    (byte) => ALPHABET[byte % ALPHABET.length],
  )
  return `gen-${Math.floor(nowMs / 1000)}-${letters.join('')}`
}

/** The answer to a call: the same text each time, cut to the call's `max_tokens`. */
export function answerTo(
  call: Call,
  model: Model,
  settings: Settings,
  at: { nowMs: number; cachedTokens: number; charges: Charges },
): Answer {
  const { nowMs, cachedTokens, charges } = at
  const { promptTokens, units, product } = call
  const prompt = { promptTokens, cachedTokens, units }
  const said = product.kind === 'text' ? piecesOf(call, model, settings) : []
  const { pieces, cut } = limited(said, call.maxTokens)
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
    usage:
      product.kind === 'text'
        ? usageOf(charges, prompt, pieces)
        : counted(charges, prompt, { completionTokens: product.tokens, reasoningTokens: 0 }),
  }
}

/** The joined text of all pieces of this kind. */
export function joined(answer: Answer, kind: Piece['kind']): string {
  return answer.pieces.flatMap((piece) => (piece.kind === kind ? [piece.text] : [])).join('')
}

/** The same answer with other pieces and their usage. */
export function withPieces(
  answer: Answer,
  charges: Charges,
  pieces: readonly Piece[],
  finishReason: Answer['finishReason'],
): Answer {
  const usage = usageOf(charges, answer.usage, pieces)
  return { ...answer, pieces, finishReason, usage }
}

/** The same answer at no cost: OpenRouter does not charge an answer that ends in an error. */
export function freeOfCharge(answer: Answer): Answer {
  const usage = { ...answer.usage, promptUsd: 0, completionUsd: 0, costUsd: 0, upstreamUsd: 0 }
  return { ...answer, usage }
}

/** The same answer with all counters at zero, as OpenRouter answers from its own cache. */
export function unbilled(answer: Answer): Answer {
  const zero = usageOf(NO_CHARGES, { promptTokens: 0, cachedTokens: 0, units: 0 }, [])
  return { ...answer, usage: zero }
}

type Prompt = Pick<Usage, 'promptTokens' | 'cachedTokens' | 'units'>

/** Counts the usage. OpenRouter does not charge an answer without tokens. */
function usageOf(charges: Charges, prompt: Prompt, pieces: readonly Piece[]): Usage {
  const reasoningTokens = pieces.filter((piece) => piece.kind === 'reasoning').length
  const usage = counted(charges, prompt, { completionTokens: pieces.length, reasoningTokens })
  return pieces.length === 0 ? { ...usage, costUsd: 0, upstreamUsd: 0 } : usage
}

function counted(
  charges: Charges,
  prompt: Prompt,
  { completionTokens, reasoningTokens }: Pick<Usage, 'completionTokens' | 'reasoningTokens'>,
): Usage {
  const promptUsd = promptCostUsd(charges, prompt)
  const spokenUsd = (completionTokens - reasoningTokens) * charges.completionUsd
  const completionUsd = spokenUsd + reasoningTokens * charges.reasoningUsd
  return {
    units: prompt.units,
    promptTokens: prompt.promptTokens,
    cachedTokens: prompt.cachedTokens,
    completionTokens,
    reasoningTokens,
    promptUsd: round(promptUsd),
    completionUsd: round(completionUsd),
    costUsd: round((promptUsd + completionUsd) * (charges.byokFee ?? 1)),
    isByok: charges.byokFee !== null,
    upstreamUsd: round(promptUsd + completionUsd),
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
  // Bounded: a caller may send megabytes, and each token of the answer becomes an event.
  const echo = call.lastUserText.slice(0, 400).toWellFormed()
  const sentence = `Grüße aus dem Simulator – it is 21 °C in 東京 🙂. You said: ${echo}`
  if (settings.answerTokens === null) return sentence
  const enough = sentence + FILLER.repeat(Math.ceil(settings.answerTokens / 6))
  return tokensOf(enough).slice(0, settings.answerTokens).join('')
}

/** Words with the white space before them. Long words are split: a model's tokens are short. */
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
