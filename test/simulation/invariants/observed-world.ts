import type { AlertMessage } from '../../../src/balancing/alerts/alert-outbox.ts'
import type { ClientsOrder, ClientsReply } from '../../../src/balancing/clients/registry.ts'
import type { KeyId } from '../../../src/balancing/ids.ts'
import type { JourneyReport } from '../../../src/gateway/inference-request.ts'
import type { Leased } from '../../../src/gateway/leases/lease-broker.ts'
import type { ReadingClient } from '../../gateway/client-reader.ts'
import type { VirtualTime } from '../../gateway/virtual-time.ts'
import type { Happening, PoolPlan, RequestPlan } from '../history.ts'
import type { Isolate } from '../isolate.ts'
import type { ChatCall, OpenRouterModel } from '../openrouter-model.ts'
import type { ObjectWitness, PoolObject } from '../pool-object.ts'

/** One request of a client, with all that came of it. */
export interface SimulatedRequest {
  readonly id: string
  readonly plan: RequestPlan
  readonly isolate: Isolate
  readonly sentAtMs: number
  readonly client: ReadingClient
  readonly leased: { readonly leased: Leased; readonly atMs: number; readonly life: number }[]
  readonly calls: ChatCall[]
  report: JourneyReport | null
  endedAtMs: number | null
}

/** Sees what happens in the Workers and at OpenRouter. */
export interface WorldWitness extends ObjectWitness {
  leased(request: SimulatedRequest, leased: Leased): void
  called(request: SimulatedRequest, call: ChatCall): void
  ended(request: SimulatedRequest): void
  /** An operator's order was carried out. */
  ordered(order: ClientsOrder, reply: ClientsReply): void
  /** Operators have got a message. */
  told(message: AlertMessage): void
  /** After everything that follows from one timer has happened. */
  afterEach(): void
  bug(error: unknown): void
}

export interface SimulatedWorld {
  readonly time: VirtualTime
  readonly object: PoolObject
  readonly openRouter: OpenRouterModel
  readonly isolates: () => readonly Isolate[]
  readonly plan: PoolPlan
  readonly counts: Record<string, number>
  readonly halted: ReadonlySet<KeyId>
  /** Whether operators are told of alerts. */
  readonly isTold: boolean
  carryOut(happening: Happening): void
}
