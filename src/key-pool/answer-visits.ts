import { noteInAudit } from '../balancing/clients/audit.ts'
import { purge, purgedBy } from '../balancing/clients/purge-epochs.ts'
import { visit } from '../balancing/clients/visits.ts'
import type { PoolState } from '../balancing/pool-state.ts'
import { isVisit, listOf } from './exchange-checks.ts'
import type { EpochsReply, PurgeRequest, VisitsReply, VisitsRequest } from './protocol.ts'

/** What the pool has to say about answers that are given without an upstream call. */

/** One that is malformed is of nobody whom the pool knows: it is admitted, and counts for nobody. */
export function judgeVisits(
  pool: PoolState,
  { visits }: VisitsRequest,
  nowMs: number,
): VisitsReply {
  const refusals = listOf(visits).map((item) =>
    isVisit(item) ? visit(pool.clients, item, nowMs) : null,
  )
  return { version: 1, refusals }
}

export function purgeAnswers(
  { purges, audit, clients }: PoolState,
  { order, by }: PurgeRequest,
  nowMs: number,
): void {
  const client = order.kind === 'client' ? clients.byId.get(order.id) : undefined
  purge(purges, order, client?.terms.groupId ?? null, nowMs)
  noteInAudit(audit, { atMs: nowMs, by, what: 'purge_cache', target: purgedBy(order) })
}

export function epochsReply({ purges }: PoolState): EpochsReply {
  return { version: 1, epochs: Object.fromEntries(purges.epochs) }
}
