import { bookCache } from '../balancing/accounting/cache-counters.ts'
import { purge, purgedBy } from '../balancing/clients/purge-epochs.ts'
import { visit } from '../balancing/clients/visits.ts'
import { noteInAudit } from '../balancing/operators/audit.ts'
import type { PoolState } from '../balancing/pool-state.ts'
import { isCacheNote, isVisit, listOf } from './exchange-checks.ts'
import type { HostPorts } from './host-ports.ts'
import type { EpochsReply, PurgeRequest, VisitsReply, VisitsRequest } from './protocol.ts'

/** What the pool has to say about answers that are given without an upstream call. */
export class AnswerVisits {
  readonly #pool: PoolState
  readonly #ports: Pick<HostPorts, 'nowMs'>
  readonly #noteChange: () => void

  /** @param noteChange called after each change, before it is answered */
  constructor(pool: PoolState, ports: Pick<HostPorts, 'nowMs'>, noteChange: () => void) {
    this.#pool = pool
    this.#ports = ports
    this.#noteChange = noteChange
  }

  /**
   * Judges and counts requests that cost nothing. One that is malformed is of nobody whom the pool knows:
   * it is admitted, and counts for nobody.
   */
  visit({ visits }: VisitsRequest): VisitsReply {
    const nowMs = this.#ports.nowMs()
    const refusals = listOf(visits).map((item) =>
      isVisit(item) ? visit(this.#pool.clients, item, nowMs) : null,
    )
    this.#noteChange()
    return { version: 1, refusals }
  }

  /** Books what isolates have counted of such answers. What is malformed costs itself. */
  book(notes: readonly unknown[], nowMs: number): void {
    for (const note of notes) if (isCacheNote(note)) bookCache(this.#pool.cache, note, nowMs)
  }

  /** Throws kept answers away. It is on disk before it is answered. */
  purge({ order, by }: PurgeRequest): EpochsReply {
    const nowMs = this.#ports.nowMs()
    const { purges, audit, clients } = this.#pool
    const client = order.kind === 'client' ? clients.byId.get(order.id) : undefined
    purge(purges, order, client?.terms.groupId ?? null, nowMs)
    noteInAudit(audit, { atMs: nowMs, by, what: 'purge_cache', target: purgedBy(order) })
    this.#noteChange()
    return this.epochs()
  }

  /** What was thrown away so far. */
  epochs(): EpochsReply {
    return { version: 1, epochs: Object.fromEntries(this.#pool.purges.epochs) }
  }
}
