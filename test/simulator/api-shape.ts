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

/** What the model makes: text, said piece by piece, or something that is there at once. */
export type Product =
  | { readonly kind: 'text' }
  | { readonly kind: 'thing'; readonly tokens: number }

/** What a request asks for, whatever API it was asked through. */
export interface Call {
  readonly model: string
  readonly maxTokens: number | null
  readonly promptTokens: number
  /** The prompt, turn by turn; none where the API has no conversation. */
  readonly turns: readonly Turn[]
  /** Echoed in the answer, so that a test can tell whose answer it got. */
  readonly lastUserText: string
  /** The tool to call; null answers in text. */
  readonly tool: Tool | null
  /** The schema that the text has to follow; null leaves it free. */
  readonly jsonSchema: Json | null
  readonly product: Product
  /** What the model charges for besides tokens: searches, or seconds of sound. */
  readonly units: number
  /** How the answer is put into words for this request. */
  readonly wording: Wording
}

export type Parsed =
  | { readonly kind: 'call'; readonly call: Call }
  | { readonly kind: 'invalid'; readonly answer: ErrorAnswer }

/** What a part of a stream is for, so that faults can be placed without reading it. */
export type EventKind = 'comment' | 'frame' | 'output' | 'finish' | 'usage' | 'error' | 'done'

export interface StreamEvent {
  readonly kind: EventKind
  readonly text: string
  /** Completion tokens that this event carries. */
  readonly tokens: number
}

/** How an error stands in a stream: as in 2026, or in an older form. */
export type ErrorManner = 'newer' | 'older'

/** How an answer fails after its 200: by an error of its own, by one within, or without a word. */
export type Failure =
  | { readonly kind: 'error'; readonly error: ApiError; readonly manner: ErrorManner }
  | { readonly kind: 'inner-error'; readonly error: ApiError }
  | { readonly kind: 'unexplained' }

/** An answer in one body. */
export interface WholeWording {
  readonly kind: 'whole'
  readonly contentType: string
  answer(answer: Answer): Json | Uint8Array
  /** A 200 body of JSON that holds a failure; an inner one comes with part of an answer. */
  failed(answer: Answer, failure: Failure): Json
}

/** An answer event by event. */
export interface StreamWording {
  readonly kind: 'stream'
  /** From the first event to the end. */
  events(answer: Answer): StreamEvent[]
  /** Events without output that a stream may begin with. */
  opening(answer: Answer): StreamEvent[]
  /** How a stream ends that fails after `sent` events, comments not counted. */
  failed(answer: Answer, failure: Failure, sent: number): StreamEvent[]
  readonly done: StreamEvent
}

export type Wording = WholeWording | StreamWording

/** Whom an error answers. */
export interface Reader {
  /** null where the credential was bad: bodies name the user only where it was good. */
  readonly userId: string | null
  readonly settings: Settings
}

/**
 * One of OpenRouter's APIs: how it reads a request and words an answer. Accounts, limits, faults
 * and pacing know nothing else about it, so a further API is one more of these.
 */
export interface ApiShape {
  /** Below /api/v1. */
  readonly path: string
  /** What GET /generation calls it; null for one that generates nothing. */
  readonly apiType: 'completions' | 'embeddings' | 'rerank' | 'tts' | 'stt' | 'image' | null
  /** Whether it takes multipart/form-data too; `parse` sees a file as `{name, bytes}`. */
  readonly takesForms: boolean
  parse(body: unknown, settings: Settings): Parsed
  errorBody(answer: ErrorAnswer, reader: Reader): Json
}
