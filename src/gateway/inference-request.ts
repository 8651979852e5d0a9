import type { CacheOutcome } from '../balancing/accounting/request-row.ts'
import type { Caller } from '../balancing/clients/caller.ts'
import type { ModelId } from '../balancing/ids.ts'
import type { RequestAffinity, RequestClass } from '../balancing/lease-request.ts'
import type { NonEmpty } from '../balancing/non-empty.ts'
import type { KeySelector } from '../balancing/routes.ts'
import type { Usage } from '../balancing/settlement.ts'
import type { Timeouts } from '../config/timeouts.ts'
import type { SpillPolicy } from '../openrouter/failures/blame.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import type { GatewayError } from './answers/gateway-error.ts'
import type { SecretRedaction } from './answers/secret-redaction.ts'
import type { Timings } from './answers/timings.ts'
import type { AttemptNote, AttemptTimes } from './attempts/attempt-history.ts'
import type { CostEstimate } from './attempts/budget-wait.ts'
import type { EstimatePrice } from './attempts/estimated-usage.ts'
import type { HeldBytes } from './byte-budget.ts'
import type { KeyRing } from './leases/key-ring.ts'
import type { LeaseBroker } from './leases/lease-broker.ts'
import type { OutgoingBody } from './outgoing-body.ts'
import type { Ports } from './ports.ts'

/** What one request's journey needs from the gateway. */
export interface JourneyContext {
  readonly ports: Ports
  readonly leases: LeaseBroker
  readonly ring: KeyRing
  readonly upstreamUrl: string
  readonly redaction: SecretRedaction
  readonly spill: SpillPolicy
  /** The longest time, in milliseconds, that a request may wait for a key. */
  readonly maxWaitMs: number
}

/** A well-formed request of an authenticated client. */
export interface InferenceRequest {
  /** As in `x-request-id`. */
  readonly requestId: string
  readonly shape: ApiShape
  /** The model name that the caller sent; it may be an alias. */
  readonly asked: ModelId
  /** The model to send, then its fallbacks in order. */
  readonly models: NonEmpty<ModelId>
  readonly timeouts: Timeouts
  readonly maxAttempts: number
  /** How many parts the answer is to have: choices, images. */
  readonly parts: number
  readonly affinity: RequestAffinity | null
  /** The keys of its route, used while the pool can't be reached; null for all. */
  readonly routeKeys: readonly KeySelector[] | null
  /** The place of its route in the configuration. */
  readonly routeIndex: number
  /** The estimated tokens of prompt and answer together, for a key's limit of tokens per minute. */
  readonly tokens: number
  /** The most tokens that it can cost; see `LeaseRequest`. */
  readonly size: number
  readonly caller: Caller
  /** Absent for an interactive request. A line of a batch takes only what those leave. */
  readonly class?: RequestClass
  /** Only set where its route shares answers, or its answer is durable. */
  readonly cache?: CacheOutcome
  /** What it can cost, as far as that is known by now. Only set for a client with a budget. */
  readonly cost?: () => CostEstimate
  /** Only set for a client with a budget. */
  readonly estimatePrice?: EstimatePrice
  /** The estimated tokens of the prompt, for an answer that is cut before it tells its usage. */
  readonly promptTokens: number
  /** The body exactly as it came. Only the model name is replaced, if another one is sent. */
  readonly body: OutgoingBody
  /** What the answer has of the isolate's budget. It is released when the client has taken it. */
  readonly held: HeldBytes
  readonly headers: Headers
  /** The query string with its question mark, or an empty string. */
  readonly search: string
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
  readonly startedAtMs: number
  readonly authMs: number
}

/** How a request ended, for the log. */
export interface JourneyReport {
  readonly outcome: 'answered' | 'failed' | 'client_gone'
  /** The status of the answer, or of the error in it; null if the client left before. */
  readonly status: number | null
  /** The gateway's own error; null if the answer is OpenRouter's. */
  readonly error: GatewayError | null
  readonly attempts: readonly Readonly<AttemptNote>[]
  /** For each of `attempts`. */
  readonly times: readonly Readonly<AttemptTimes>[]
  readonly degraded: boolean
  /** Whether the answer went out as a stream. */
  readonly streamed: boolean
  readonly timings: Timings
  readonly usage: Usage | null
  /** What the gateway threw, if a bug ended the request; else null. */
  readonly bug: unknown
}

/** What the client was told, and what the answer used. */
export interface Answered extends Pick<JourneyReport, 'outcome' | 'status' | 'error' | 'usage'> {}

export interface Journey {
  readonly response: Promise<Response>
  /**
   * Settles when the last byte is out and the lease is back. Pass it to `waitUntil`, so that the
   * platform does not stop the journey early. Never rejects.
   */
  readonly finished: Promise<JourneyReport>
  /** Settles when the client has taken the answer, or has left. Never rejects. */
  readonly taken: Promise<void>
}
