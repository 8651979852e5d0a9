import type { Answer } from './answer.ts'
import type { ApiError, ErrorAnswer } from './errors.ts'
import type { Json } from './json-schema-sample.ts'
import type { Turn } from './prompt.ts'
import type { Settings } from './world.ts'

/** A tool that the caller offers. */
export interface Tool {
  readonly name: string
  readonly parameters: Json
}

/** What the model makes: text, piece by piece, or a product that is complete at once. */
export type Product =
  | { readonly kind: 'text' }
  | { readonly kind: 'thing'; readonly tokens: number }

/** A request in the same form for all APIs. */
export interface Call {
  readonly model: string
  readonly maxTokens: number | null
  readonly promptTokens: number
  /** The prompt, turn by turn; empty if the API has no conversation. */
  readonly turns: readonly Turn[]
  /** The answer echoes it, so a test can identify the answer. */
  readonly lastUserText: string
  /** The tool to call; null for an answer in text. */
  readonly tool: Tool | null
  /** The schema that the text must follow; null for free text. */
  readonly jsonSchema: Json | null
  readonly product: Product
  /** What the model charges besides tokens: searches, or seconds of sound. */
  readonly units: number
  /** How the API writes the answer to this request. */
  readonly wording: Wording
}

export type Parsed =
  | { readonly kind: 'call'; readonly call: Call }
  | { readonly kind: 'invalid'; readonly answer: ErrorAnswer }

/** The purpose of a stream's part. With it, a fault finds its place without reading the text. */
export type EventKind = 'comment' | 'frame' | 'output' | 'finish' | 'usage' | 'error' | 'done'

export interface StreamEvent {
  readonly kind: EventKind
  readonly text: string
  /** How many completion tokens this event carries. */
  readonly tokens: number
}

/** The form of an error in a stream: that of 2026, or an older one. */
export type ErrorManner = 'newer' | 'older'

/** How an answer fails after its 200: by an error, by an error inside it, or without an error. */
export type Failure =
  | { readonly kind: 'error'; readonly error: ApiError; readonly manner: ErrorManner }
  | { readonly kind: 'inner-error'; readonly error: ApiError }
  | { readonly kind: 'unexplained' }

/** An answer in one body. */
export interface WholeWording {
  readonly kind: 'whole'
  readonly contentType: string
  answer(answer: Answer): Json | Uint8Array
  /** The JSON body of a 200 that failed. An inner error comes with a part of the answer. */
  failed(answer: Answer, failure: Failure): Json
}

/** An answer event by event. */
export interface StreamWording {
  readonly kind: 'stream'
  /** All events, from the first to the end. */
  events(answer: Answer): StreamEvent[]
  /** Events without output that a stream may begin with. */
  opening(answer: Answer): StreamEvent[]
  /** The last events of a stream that fails after `sent` events, not counting comments. */
  failed(answer: Answer, failure: Failure, sent: number): StreamEvent[]
  readonly done: StreamEvent
}

export type Wording = WholeWording | StreamWording

/** The reader of an error. */
export interface Reader {
  /** null if the credential was bad: only then the body does not name the user. */
  readonly userId: string | null
  readonly settings: Settings
}

/**
 * One of OpenRouter's APIs: how it reads a request and writes an answer. Accounts, limits, faults
 * and pacing use only this interface, so a new API needs only one more implementation.
 */
export interface ApiShape {
  /** Below /api/v1. */
  readonly path: string
  /** Its name in GET /generation; null for an API that generates nothing. */
  readonly apiType: 'completions' | 'embeddings' | 'rerank' | 'tts' | 'stt' | 'image' | null
  /** Whether it accepts multipart/form-data too. `parse` gets a file as `{name, bytes}`. */
  readonly takesForms: boolean
  parse(body: unknown, settings: Settings): Parsed
  errorBody(answer: ErrorAnswer, reader: Reader): Json
}
