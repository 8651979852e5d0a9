import type { AlertMessage } from '../../../src/balancing/alerts/alert-outbox.ts'
import type { ClientsOrder, ClientsReply } from '../../../src/balancing/clients/registry.ts'
import type { KeyId, LeaseId } from '../../../src/balancing/ids.ts'
import type { Lease } from '../../../src/balancing/limits/leases.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { Leased } from '../../../src/gateway/leases/lease-broker.ts'
import type { ChatCall } from '../openrouter-model.ts'
import type { Ending, ObjectStep } from '../pool-object.ts'
import type { SimulatedRequest } from './observed-world.ts'

/** What must always hold, by its number in docs/simulation.md. */
export type InvariantNumber =
  | 1
  | 2
  | 3
  | 4
  | 5
  | 6
  | 7
  | 8
  | 9
  | 10
  | 11
  | 12
  | 13
  | 14
  | 15
  | 16
  | 17

/** Reports that an invariant does not hold. */
export type Accuse = (invariant: InvariantNumber, what: string) => void

/** What one step of the object changed. */
export interface StepChanges {
  /** Leases that this step granted. */
  readonly granted: readonly Lease[]
  /** Leases that have got their request in this step, of those that were held ahead. */
  readonly begun: readonly Lease[]
  /** Leases that were live before this step and are not any more. */
  readonly ended: readonly Lease[]
  /** The live leases before it. */
  readonly before: ReadonlyMap<LeaseId, Lease>
}

/** Something that watches for some invariants. It sees only what it has a method for. */
export interface Watcher {
  born?(state: PoolState, life: number, how: Ending | null): void
  before?(step: ObjectStep): void
  after?(step: ObjectStep, changes: StepChanges): void
  released?(step: ObjectStep): void
  leased?(request: SimulatedRequest, leased: Leased): void
  called?(request: SimulatedRequest, call: ChatCall): void
  ended?(request: SimulatedRequest): void
  ordered?(order: ClientsOrder, reply: ClientsReply): void
  /** A receiver has got a message. */
  told?(message: AlertMessage): void
  /** The pool has given a message up. */
  undelivered?(): void
  afterEach?(): void
  /** Nobody has sent anything for longer than any lease lasts. */
  atRest?(): void
}

export function countByKey(leases: Iterable<Lease>): Map<KeyId, number> {
  const counts = new Map<KeyId, number>()
  for (const { keyId } of leases) counts.set(keyId, (counts.get(keyId) ?? 0) + 1)
  return counts
}
