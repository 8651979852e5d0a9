import { NO_CLAIMS } from '../../src/balancing/eligibility.ts'
import type { ModelId } from '../../src/balancing/ids.ts'
import type { LeaseRequest } from '../../src/balancing/lease-request.ts'
import { roomAtMs } from '../../src/balancing/limits/meter.ts'
import { canWithdraw } from '../../src/balancing/limits/retry-budget.ts'
import type { KeyState, PoolState } from '../../src/balancing/pool-state.ts'
import {
  modelsInOrder,
  requirementsOf,
  routeOf,
  selectModel,
} from '../../src/balancing/selection.ts'
import { filterKeys } from '../../src/balancing/serving/filter.ts'

interface Moment {
  readonly state: PoolState
  readonly nowMs: number
}

/** Somebody who waits, as far as it matters for idle keys. */
export interface WaitingRequest {
  readonly request: LeaseRequest
  readonly deadlineMs: number
}

/**
 * Keys that stand idle although somebody who waits could use them. One that is kept for somebody who
 * came before him, and will have its tokens in time, is none of these.
 * @param waiting in order of arrival
 */
export function idleKeys(moment: Moment, waiting: readonly WaitingRequest[]): string[] {
  return waiting.flatMap(({ request }, place) =>
    keysFreeFor(moment, request)
      .filter((key) => !waiting.slice(0, place).some((older) => isKeptFor(moment, older, key)))
      .map((key) => `${key.id} is idle although ${request.leaseId} waits for it`),
  )
}

/** The keys that would serve a request now if nobody else waited. */
export function keysFreeFor(moment: Moment, request: LeaseRequest): readonly KeyState[] {
  const selected = selectModel(moment, routeOf(moment.state, request), request)
  if (selected.kind === 'unserved') return []
  return isPaid(moment, request, selected.model) ? selected.candidates : []
}

function isKeptFor(moment: Moment, { request, deadlineMs }: WaitingRequest, key: KeyState) {
  if (key.tpm === null) return false
  const freeAtMs = roomAtMs(key.tpm, request.tokens, moment.nowMs)
  if (freeAtMs === null || freeAtMs >= deadlineMs) return false
  return lacksTokensOnly(moment, request, key)
}

/** Whether a key would serve a request if it had the tokens, and no other key had them. */
function lacksTokensOnly(moment: Moment, request: LeaseRequest, key: KeyState): boolean {
  const asked = { ...request, tokens: 0 }
  const route = routeOf(moment.state, asked)
  const model = modelsInOrder(moment, asked).find((name) =>
    filterKeys(moment, route, requirementsOf(moment, asked, name, NO_CLAIMS)).candidates.includes(
      key,
    ),
  )
  return model !== undefined && isPaid(moment, asked, model)
}

function isPaid({ state, nowMs }: Moment, { attempt, models }: LeaseRequest, model: ModelId) {
  if (attempt !== 'retry' || model !== models[0]) return true
  const budgeted = { model, policy: state.policy.retryBudget }
  return canWithdraw(structuredClone(state.retryBudget), budgeted, nowMs)
}
