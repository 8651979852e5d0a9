import type { Caller } from '../balancing/clients/caller.ts'
import type { GatewayError } from '../gateway/answers/gateway-error.ts'
import type { AnswerHead } from './answer-head.ts'
import type { CacheDirective } from './cache-directive.ts'
import type { EventPlace } from './event-ids.ts'

/**
 * The messages between a Worker and a flight's object. A deployment mixes versions for minutes: fields
 * are added, never renamed and never removed.
 */

/** A request as its own journey would see it. */
export interface FlownRequest {
  /** Names its place among those who get the answer; unique. */
  readonly seat: string
  readonly requestId: string
  /** The path of its API shape. */
  readonly path: string
  readonly search: string
  readonly headers: Readonly<Record<string, string>>
  readonly caller: Caller
  readonly model: string
  /** The place of its route in the configuration. An older Worker does not send it. */
  readonly route?: number
  readonly startedAtMs: number
  readonly authMs: number
  /** Null if it is long, and perhaps not needed: see `needs_body`. */
  readonly body: Uint8Array | null
}

export interface JoinRequest {
  readonly version: 1
  readonly request: FlownRequest
  readonly directive: CacheDirective
  /** How long answers are kept, in milliseconds; null for not at all. */
  readonly ttlMs: number | null
  readonly maxBytes: number
  readonly share: boolean
}

export interface DurableRequest {
  readonly version: 1
  readonly request: FlownRequest
  /** The answer's name: the id of the request that began it. */
  readonly answerId: string
  /** Tells whether a later request has the same body. */
  readonly bodyKey: string
  /** How long the answer is kept after its end, in milliseconds; null for a request that only resumes one. */
  readonly keepMs: number | null
  /** Where it goes on; null for the beginning. */
  readonly after: EventPlace | null
}

/** What an answer was to the request that got it. */
export type FlightRole = 'hit' | 'miss' | 'joined'

export type FlightReply =
  /** The whole answer, if it is short and kept. */
  | {
      readonly kind: 'kept'
      readonly head: AnswerHead
      readonly body: Uint8Array
      readonly ageMs: number
    }
  /** A stream that begins with a `FlightFrame`. */
  | {
      readonly kind: 'seat'
      readonly role: FlightRole
      readonly body: ReadableStream<Uint8Array>
      /** Only of a hit. */
      readonly ageMs?: number
    }
  /** The answer has to be made, so the body has to come along. Nothing is reserved. */
  | { readonly kind: 'needs_body' }
  /** The request has to make its own journey. */
  | { readonly kind: 'bypass' }
  | { readonly kind: 'not_cached' }
  | { readonly kind: 'refused'; readonly error: GatewayError }

export type DurableReply =
  | FlightReply
  /** No such answer: it was never there, or its time is over. */
  | { readonly kind: 'gone' }

/** What has become of a durable answer, for who fetches it by its name. */
export type FetchReply =
  | { readonly kind: 'running' }
  | { readonly kind: 'kept'; readonly head: AnswerHead; readonly body: Uint8Array }
  | { readonly kind: 'gone' }

/** What a flight's object can be asked. */
export interface FlightMethods {
  join(request: JoinRequest): Promise<FlightReply>
  durable(request: DurableRequest): Promise<DurableReply>
  fetchAnswer(answerId: string, after: EventPlace | null): Promise<FetchReply>
  leave(seat: string): Promise<void>
  /** Tells the isolate that it lives in. */
  isolate(): Promise<string>
}

/** A longer body goes to the object only if it is needed. */
export const SHORT_BODY_BYTES = 64 * 1024

/** A longer one makes its own journey: it would have to be copied to the object and held there. */
export const MAX_SHARED_BODY_BYTES = 8 * 1024 * 1024

/** The most that a durable answer may have. */
export const MAX_DURABLE_BYTES = 8 * 1024 * 1024
