import type { Spending } from '../balancing/accounting/ledger.ts'
import type { QuotaView } from '../balancing/clients/quota.ts'
import type { ClientsReply } from '../balancing/clients/registry.ts'
import type { Explanation, Question } from '../balancing/explanation.ts'
import type { ClientId, KeyId } from '../balancing/ids.ts'
import type { AuditEntry } from '../balancing/operators/audit.ts'
import type { ControlReply } from '../balancing/operators/control.ts'
import type { PoolOverview } from '../balancing/operators/overview.ts'
import type { PoolReadings } from '../balancing/readings/pool-readings.ts'
import type { PoolSnapshot } from '../balancing/snapshot.ts'
import { ANYWHERE, type PoolPlace } from '../config/pool-place.ts'
import type { AlertsReply, AlertsRequest } from './alerts/alert-protocol.ts'
import type { KeyPool } from './durable-object.ts'
import type {
  HistoryQuery,
  HistoryReply,
  RequestsQuery,
  RequestsReply,
  UsageQuery,
  UsageReply,
} from './history/history-protocol.ts'
import { poolStub } from './pool-stub.ts'
import type {
  AuditNote,
  AwaitReply,
  AwaitRequest,
  ControlRequest,
  DirectoryReply,
  DutiesReply,
  DutiesRequest,
  EpochsReply,
  ExchangeReply,
  ExchangeRequest,
  HealthReply,
  ManageRequest,
  PurgeRequest,
  VisitsReply,
  VisitsRequest,
} from './protocol.ts'

/** How long the Worker waits for the pool object before it goes on without it. */
const GIVE_UP_MS = 2_000

/**
 * `unavailable`: the object threw, is overloaded, or took longer than two seconds. `unasked`: it did
 * so to other requests, and was not called; see pool-outage.ts.
 */
export type PoolAnswer<T> =
  | { readonly kind: 'answer'; readonly value: T }
  | { readonly kind: 'unavailable'; readonly unasked?: true }

export interface PoolClient {
  exchange(request: ExchangeRequest): Promise<PoolAnswer<ExchangeReply>>
  /** The object holds this call for up to `AWAIT_MS` while the request is not decided. */
  whenDecided(leaseId: AwaitRequest): Promise<PoolAnswer<AwaitReply>>
  explain(question: Question): Promise<PoolAnswer<Explanation>>
  spending(clientId: ClientId): Promise<PoolAnswer<Spending>>
  keyForGeneration(id: string, clientId: ClientId): Promise<PoolAnswer<KeyId | null>>
  snapshot(): Promise<PoolAnswer<PoolSnapshot>>
  /** What metrics are made of. Unavailable also from an object of an earlier release. */
  readings(): Promise<PoolAnswer<PoolReadings>>
  /** The last requests. Unavailable, as the next two, from an object of an earlier release. */
  requests(query: RequestsQuery): Promise<PoolAnswer<RequestsReply>>
  /** The last hour, by minutes. */
  history(query: HistoryQuery): Promise<PoolAnswer<HistoryReply>>
  /** What was booked on some days. */
  usage(query: UsageQuery): Promise<PoolAnswer<UsageReply>>
  health(): Promise<PoolAnswer<HealthReply>>
  /** Unavailable also from an object of the first release, which hands out duties only in replies. */
  duties(request: DutiesRequest): Promise<PoolAnswer<DutiesReply>>
  /** @param known the version of the copy that the Worker has; null for none */
  clientDirectory(known: number | null): Promise<PoolAnswer<DirectoryReply>>
  /** Reads or changes clients and groups, for the admin API. */
  manageClients(request: ManageRequest): Promise<PoolAnswer<ClientsReply>>
  /** Judges and counts requests whose answers cost nothing. */
  visit(request: VisitsRequest): Promise<PoolAnswer<VisitsReply>>
  /** Throws kept answers away, for the admin API. */
  purge(request: PurgeRequest): Promise<PoolAnswer<EpochsReply>>
  epochs(): Promise<PoolAnswer<EpochsReply>>
  /** Carries out an operator's order to a key; null from an object of an earlier release. */
  control(request: ControlRequest): Promise<PoolAnswer<ControlReply | null>>
  /** All that operators may want to see; null from an object of an earlier release. */
  overview(): Promise<PoolAnswer<PoolOverview | null>>
  /** The last changes that operators made, the newest first. */
  audit(): Promise<PoolAnswer<readonly AuditEntry[]>>
  /** What operators are told of; null of an object that knows no alerts. */
  alerts(request: AlertsRequest): Promise<PoolAnswer<AlertsReply | null>>
  /** Notes a change that an operator makes elsewhere than in the pool. */
  noteInAudit(change: AuditNote): Promise<PoolAnswer<void>>
  /** The limits of a client and of its group, with what is used of them. */
  quotas(id: ClientId): Promise<PoolAnswer<readonly QuotaView[]>>
}

/**
 * The Worker's side of the pool object. Every call uses a fresh stub, since a stub that has thrown
 * stays broken. The runtime must not retry: its retries may take ten seconds, and the gateway can
 * go on without the object after two.
 */
export function createPoolClient(
  namespace: DurableObjectNamespace<KeyPool>,
  place: PoolPlace = ANYWHERE,
): PoolClient {
  const stub = () => poolStub(namespace, place, { retry: { maxRetries: 0 } })
  return {
    exchange: (request) => withinLimit(async () => await stub().exchange(request)),
    whenDecided: (leaseId) => withinLimit(async () => await stub().whenDecided(leaseId)),
    explain: (question) => withinLimit(async () => await stub().explain(question)),
    spending: (clientId) => withinLimit(async () => await stub().spending(clientId)),
    keyForGeneration: (id, clientId) =>
      withinLimit(async () => await stub().keyForGeneration(id, clientId)),
    snapshot: () => withinLimit(async () => await stub().snapshot()),
    requests: (query) => withinLimit(async () => await stub().requests(query)),
    history: (query) => withinLimit(async () => await stub().history(query)),
    usage: (query) => withinLimit(async () => await stub().usage(query)),
    readings: () => withinLimit(async () => await stub().readings()),
    health: () => withinLimit(async () => await healthOf(stub)),
    duties: (request) => withinLimit(async () => await stub().duties(request)),
    clientDirectory: (known) =>
      withinLimit(() => orIfMissing(async () => await stub().clientDirectory(known), NO_CLIENTS)),
    manageClients: (request) => withinLimit(async () => await stub().manageClients(request)),
    visit: (request) =>
      withinLimit(() => orIfMissing(async () => await stub().visit(request), NO_REFUSALS)),
    purge: (request) => withinLimit(async () => await stub().purge(request)),
    epochs: () => withinLimit(() => orIfMissing(async () => await stub().epochs(), NO_EPOCHS)),
    control: (request) =>
      withinLimit(() =>
        orIfMissing(async (): Promise<ControlReply | null> => await stub().control(request), null),
      ),
    overview: () =>
      withinLimit(() =>
        orIfMissing(async (): Promise<PoolOverview | null> => await stub().overview(), null),
      ),
    audit: () => withinLimit(async () => await stub().audit()),
    alerts: (request) =>
      withinLimit(() =>
        orIfMissing(async (): Promise<AlertsReply | null> => await stub().alerts(request), null),
      ),
    noteInAudit: (change) => withinLimit(async () => await stub().noteInAudit(change)),
    quotas: (id) =>
      withinLimit(() =>
        orIfMissing(async (): Promise<readonly QuotaView[]> => await stub().quotas(id), []),
      ),
  }
}

/** For the minutes after a deployment in which the object may still be one of the first release. */
async function healthOf(stub: () => DurableObjectStub<KeyPool>): Promise<HealthReply> {
  try {
    return await stub().health()
  } catch (error) {
    if (!(error instanceof Error && error.message.includes(NO_METHOD))) throw error
    const { usable } = await stub().snapshot()
    return { version: 1, usableKeys: usable }
  }
}

/** An object of an earlier release knows no clients that were made at run time. */
const NO_CLIENTS: DirectoryReply = { version: 1, clientsVersion: 0, entries: [] }

/** An object of an earlier release counts no requests without a lease. */
const NO_REFUSALS: VisitsReply = { version: 1, refusals: [] }

/** An object of an earlier release has thrown nothing away. */
const NO_EPOCHS: EpochsReply = { version: 1, epochs: {} }

/** For the minutes after a deployment: what an object without the method would say. It is not ill. */
async function orIfMissing<T>(call: () => Promise<T>, instead: T): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (!(error instanceof Error && error.message.includes(NO_METHOD))) throw error
    return instead
  }
}

/** A part of the platform's message about a method that an object does not have. */
const NO_METHOD = 'does not implement the method'

async function withinLimit<T>(call: () => Promise<T>): Promise<PoolAnswer<T>> {
  let timer: ReturnType<typeof setTimeout> | null = null
  const gaveUp = new Promise<PoolAnswer<T>>((resolve) => {
    timer = setTimeout(() => resolve({ kind: 'unavailable' }), GIVE_UP_MS)
  })
  const answer = call().then(
    (value): PoolAnswer<T> => ({ kind: 'answer', value }),
    (): PoolAnswer<T> => ({ kind: 'unavailable' }),
  )
  try {
    return await Promise.race([answer, gaveUp])
  } finally {
    if (timer !== null) clearTimeout(timer)
  }
}
