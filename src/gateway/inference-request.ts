import type { ClientId, ModelId } from '../balancing/ids.ts'
import type { RequestAffinity } from '../balancing/lease-request.ts'
import type { NonEmpty } from '../balancing/non-empty.ts'
import type { KeySelector } from '../balancing/routes.ts'
import type { Usage } from '../balancing/settlement.ts'
import type { Timeouts } from '../config/timeouts.ts'
import type { SpillPolicy } from '../openrouter/failures/blame.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import type { Timings } from './answers/timings.ts'
import type { AttemptNote } from './attempts/attempt-history.ts'
import type { KeyRing } from './leases/key-ring.ts'
import type { LeaseBroker } from './leases/lease-broker.ts'
import type { Ports } from './ports.ts'

/** What one request's journey needs of the gateway. */
export interface JourneyContext {
  readonly ports: Ports
  readonly leases: LeaseBroker
  readonly ring: KeyRing
  readonly upstreamUrl: string
  readonly spill: SpillPolicy
  /** The longest that a request may wait for a key. */
  readonly maxWaitMs: number
}

/** A request that is known to be well-formed and allowed in. */
export interface InferenceRequest {
  readonly shape: ApiShape
  /** The model by the caller's own name for it. */
  readonly asked: ModelId
  /** The model to send, and those that may take its place. */
  readonly models: NonEmpty<ModelId>
  readonly timeouts: Timeouts
  readonly maxAttempts: number
  readonly affinity: RequestAffinity | null
  /** The keys of its route, for when the pool can't be asked; null for all. */
  readonly routeKeys: readonly KeySelector[] | null
  /** What the prompt and the answer will take of a key's limit, by estimate. */
  readonly tokens: number
  readonly clientId: ClientId
  /** The body exactly as it came, but for the name of the model where it is another one. */
  readonly bodyFor: (model: ModelId) => Uint8Array
  readonly headers: Headers
  /** The query, with its question mark, or nothing. */
  readonly search: string
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
  readonly startedAtMs: number
  readonly authMs: number
}

/** What became of a request, for the log. */
export interface JourneyReport {
  readonly outcome: 'answered' | 'failed' | 'client_gone'
  readonly attempts: readonly Readonly<AttemptNote>[]
  readonly degraded: boolean
  readonly timings: Timings
  readonly usage: Usage | null
}

export interface Journey {
  readonly response: Promise<Response>
  /** Settles when the last byte is out and the lease is back. To be kept alive by the platform. */
  readonly finished: Promise<JourneyReport>
}
