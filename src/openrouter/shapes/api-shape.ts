import type { Usage } from '../../balancing/settlement.ts'
import type { WireError } from '../failures/upstream-failure.ts'
import type { JsonObject } from '../json-value.ts'
import type { SseEvent } from '../sse.ts'

/**
 * One of OpenRouter's APIs. All code that reads or writes the content of an answer
 * is behind this interface, so the rest of the gateway is the same for all APIs.
 */
export interface ApiShape {
  /** The API's path, below `/api/v1/`. */
  readonly path: string
  /**
   * The form of a good answer that is not streamed. `bytes` means any content, such as sound: the
   * gateway passes it through unread, unless its content type is JSON.
   */
  readonly answers: 'json' | 'bytes'
  /** Whether a good answer may have an empty body. */
  readonly mayBeEmpty?: true
  /**
   * Whether an answer is paid for in full once it was begun, as images and sound are. After a timeout
   * such a request is not tried again: the first answer would be paid as well.
   */
  readonly isPaidInFull?: true
  /** How an answer ends by which the next request may be served too. Without it none may. */
  readonly ending?: AnswerEnding
  /** Whether an answer costs nothing, so that one that is cut has cost nothing either. */
  readonly isFree?: true
  /**
   * The part of a request that stays the same in all turns of a conversation: the system prompt
   * and the first user message, as they are in the JSON. Empty if the request has neither.
   */
  openingOf(body: JsonObject): readonly unknown[]
  /** How many parts the request asks for: choices, images. One part where this is absent. */
  partsOf?(body: JsonObject): number
  /**
   * Whether a stream of this API ends with `data: [DONE]`. If it must not, the gateway leaves the
   * mark out that OpenRouter sends.
   */
  readonly endMark: 'passed' | 'left_out'
  /** Reads one event of a stream. An unreadable event gives `SILENT`; it is not an error. */
  readEvent(event: SseEvent): EventReading
  /**
   * Whether an event of a committed stream may hold usage, an error or an end. This is a cheap
   * test on the event's data, or on its raw bytes. A false yes is allowed, a false no is not.
   */
  mayMatter(event: string | Uint8Array): boolean
  /** Reads the JSON of an answer that was not streamed. */
  readWhole(body: unknown): WholeReading
  /** The text that ends a stream with an error, in the form that clients of this API expect. */
  errorEvent(notice: ErrorNotice & StreamIdentity): string
  /** The JSON of an error answer. */
  errorBody(notice: ErrorNotice): JsonObject
}

/** How the answers of an API tell why they ended. */
export interface AnswerEnding {
  /** Why the parts of an answer ended, in a whole answer or in one event; empty if it does not tell. */
  reasonsIn(json: JsonObject): readonly string[]
  /** The reasons of an answer that is whole and was not filtered. Null where no answer tells any. */
  readonly good: ReadonlySet<string> | null
}

/** The reading of an event without output, end, error or usage. */
export const SILENT: EventReading = {
  output: false,
  finished: false,
  done: false,
  error: null,
  usage: null,
}

export interface EventReading extends StreamIdentity {
  /** The event has output for the caller: text, reasoning, a tool call, an image. */
  readonly output: boolean
  /** The answer, or a part of it, has ended. Usage may still follow. */
  readonly finished: boolean
  /**
   * The numbers of the parts that have ended, where the API numbers them: it may tell an end twice.
   * Without numbers, each event with `finished` ends one part.
   */
  readonly ended?: readonly number[]
  /** The stream has ended. */
  readonly done: boolean
  readonly error: WireError | null
  readonly usage: Usage | null
}

export interface WholeReading {
  /** The body has at least a part of what the request asked for. It may also have an error. */
  readonly answer: boolean
  readonly error: WireError | null
  readonly usage: Usage | null
}

/** Values that are the same in all events of one stream, and the number of its events. */
export interface StreamIdentity {
  readonly id?: string | undefined
  /** The model that served. It may differ from the model that the request named. */
  readonly model?: string | undefined
  /** Epoch seconds. */
  readonly created?: number | undefined
  /** How many events the stream had so far. Some APIs number their events. */
  readonly events?: number | undefined
}

/** An error that the gateway itself reports. */
export interface ErrorNotice {
  /** An HTTP status. */
  readonly code: number
  readonly message: string
  readonly metadata?: JsonObject | undefined
}
