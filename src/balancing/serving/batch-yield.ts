import { yieldToInteractive } from '../batches/batch-share.ts'
import { isPersonal, isTaken } from '../eligibility.ts'
import type { ModelId } from '../ids.ts'
import type { LeaseRequest } from '../lease-request.ts'
import { membersOf, type RouteState, type Step } from '../pool-state.ts'
import type { Reason } from '../reasons.ts'
import { type ModelCandidates, requirementsOf, routeOf } from '../selection.ts'
import type { ExcludedKey } from './filter.ts'

/** What a key lacks that others use now, and that would be left if no batch took it. */
const OF_CAPACITY: ReadonlySet<Reason> = new Set(['at_max_concurrent', 'at_rpm', 'at_tpm'])

/**
 * Has batches keep away for a while from the keys that an interactive request wanted and that had no room
 * for it. Keys that are no use to it, whatever their load, go on serving them.
 */
export function yieldWanted(
  step: Step,
  request: LeaseRequest,
  unserved: readonly ModelCandidates[],
): void {
  const { state, nowMs } = step
  const route = routeOf(state, request)
  for (const { model, filtered } of unserved) {
    for (const excluded of filtered.excluded) {
      if (lacksCapacity(excluded)) yieldToInteractive(excluded.key, nowMs)
    }
    if (filtered.full.count > 0) yieldFull(step, route, request, model)
  }
}

/** A limit that is too small for the request at any time is none that a batch has used up. */
function lacksCapacity({ exclusions }: ExcludedKey): boolean {
  return exclusions.every(
    ({ reason, clearsAtMs }) => OF_CAPACITY.has(reason) && clearsAtMs !== null,
  )
}

/** Keys that are full and nothing else are counted, and not listed: see `FullKeys`. */
function yieldFull(step: Step, route: RouteState, request: LeaseRequest, model: ModelId): void {
  const { state, nowMs } = step
  const requirements = requirementsOf(step, request, model, state.queue.claims)
  const hasOwn = isPersonal(requirements)
  const members = membersOf(state, route)
  for (let i = 0; i < members.length; i++) {
    const key = members[i]
    if (key === undefined || request.tokens > key.fullFor) continue
    if (!(hasOwn && isTaken(key, requirements, nowMs))) yieldToInteractive(key, nowMs)
  }
}
