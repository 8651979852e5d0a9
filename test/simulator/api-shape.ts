import type { Answer } from './answer.ts'
import type { ApiError, ErrorAnswer } from './errors.ts'
import type { Json } from './json-schema-sample.ts'
import type { Settings } from './world.ts'

/** A tool that the caller offers. */
export interface Tool {
  readonly name: string
  readonly parameters: Json
}

/** What a request asks for, whatever API it was asked through. */
export interface Call {
  readonly model: string
  readonly stream: boolean
  readonly maxTokens: number | null
  readonly promptTokens: number
  /** Echoed in the answer, so that a test can tell whose answer it got. */
  readonly lastUserText: string
  /** The tool to call; null answers in text. */
  readonly tool: Tool | null
  /** The schema that the text has to follow; null leaves it free. */
  readonly jsonSchema: Json | null
}

export type Parsed =
  | { readonly kind: 'call'; readonly call: Call }
  | { readonly kind: 'invalid'; readonly answer: ErrorAnswer }

/** What a part of a stream is for, so that faults can be placed without reading it. */
export type EventKind = 'comment' | 'output' | 'finish' | 'usage' | 'error' | 'done'

export interface StreamEvent {
  readonly kind: EventKind
  readonly text: string
  /** Completion tokens that this event carries. */
  readonly tokens: number
}

/** How an error stands in a stream: alone, after output (2026), or as in November 2025. */
export type ErrorManner = 'newer' | 'older'

/**
 * One of OpenRouter's APIs: how it reads a request and words an answer. Accounts, limits, faults
 * and pacing know nothing else about it, so a further API is one more of these.
 */
export interface ApiShape {
  /** Below /api/v1. */
  readonly path: string
  parse(body: unknown): Parsed
  errorBody(answer: ErrorAnswer, userId: string | null): Json
  whole(answer: Answer): Json
  /** The stream from its first output to its end, in order. */
  stream(answer: Answer, settings: Settings): StreamEvent[]
  comment(): StreamEvent
  done(): StreamEvent
  /** An event without output that a stream may begin with. */
  roleOnly(answer: Answer): StreamEvent
  errorEvent(answer: Answer, error: ApiError, manner: ErrorManner): StreamEvent
  /** An error inside the choice instead of beside it. */
  choiceErrorEvent(answer: Answer, error: ApiError): StreamEvent
  /** The last event of a stream that ended badly without saying why. */
  finishErrorEvent(answer: Answer): StreamEvent
  /** A 200 body that holds an error and no answer. */
  wholeError(answer: Answer, error: ApiError): Json
  /** A 200 body whose choice holds an error and part of an answer. */
  wholeChoiceError(answer: Answer, error: ApiError): Json
  /** A 200 body that ended badly without saying why. */
  wholeFinishError(answer: Answer): Json
}
