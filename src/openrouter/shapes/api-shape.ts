import type { Usage } from '../../balancing/settlement.ts'
import type { WireError } from '../failures/upstream-failure.ts'
import type { JsonObject } from '../json-value.ts'
import type { SseEvent } from '../sse.ts'

/**
 * One of the dialects that OpenRouter speaks. Everything that the gateway has to
 * know about an answer's content goes through here, so that the rest of it is
 * the same for all of them.
 */
export interface ApiShape {
  /** Where it is served, below the API's prefix. */
  readonly path: string
  /**
   * What a good answer may be that is no stream. `bytes`: something other than JSON, such as sound,
   * which is passed through as it comes; only an answer that says it is JSON is read as such.
   */
  readonly answers: 'json' | 'bytes'
  /** Whether a good answer may have nothing in it at all. */
  readonly mayBeEmpty?: true
  /**
   * What of a request stays the same over a conversation's turns, as it stands in
   * the JSON: the system prompt and the first user message. Empty where there is none.
   */
  openingOf(body: JsonObject): readonly unknown[]
  /** Reads one event of a stream. What cannot be read says nothing; it is no error. */
  readEvent(event: SseEvent): EventReading
  /**
   * Whether an event of a stream that has begun may hold usage, an error or an
   * end. A cheap test, on the event's data or on its bytes as they came: it may
   * say yes for nothing, but never no for one of these.
   */
  mayMatter(event: string | Uint8Array): boolean
  /** Reads the JSON of an answer that was not streamed. */
  readWhole(body: unknown): WholeReading
  /** The text that ends a stream with an error, as this shape's clients expect it. */
  errorEvent(notice: ErrorNotice & StreamIdentity): string
  /** The JSON of an error answer. */
  errorBody(notice: ErrorNotice): JsonObject
}

/** What an event says that says nothing. */
export const SILENT: EventReading = {
  output: false,
  finished: false,
  done: false,
  error: null,
  usage: null,
}

export interface EventReading extends StreamIdentity {
  /** Something for the caller to see or hear: text, reasoning, a tool call, an image. */
  readonly output: boolean
  /** The answer, or one of several, has ended. Usage may still follow. */
  readonly finished: boolean
  /** Nothing follows. */
  readonly done: boolean
  readonly error: WireError | null
  readonly usage: Usage | null
}

export interface WholeReading extends StreamIdentity {
  /** It holds something of what was asked for; there may be an error in it or beside it. */
  readonly answer: boolean
  readonly error: WireError | null
  readonly usage: Usage | null
}

/** What the events of one stream have in common. */
export interface StreamIdentity {
  readonly id?: string | undefined
  /** What really served, which may differ from what was asked for. */
  readonly model?: string | undefined
  /** Epoch seconds. */
  readonly created?: number | undefined
  /** How many events it had so far; in some shapes each has its number. */
  readonly events?: number | undefined
}

/** An error that the gateway itself reports. */
export interface ErrorNotice {
  /** An HTTP status. */
  readonly code: number
  readonly message: string
  readonly metadata?: JsonObject | undefined
}
