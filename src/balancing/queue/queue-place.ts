import { keysFor } from '../clients/clients.ts'
import { isFreeModel } from '../eligibility.ts'
import type { ModelId } from '../ids.ts'
import { isOfBatch, type LeaseRequest, type Refusal } from '../lease-request.ts'
import { canWithdraw } from '../limits/retry-budget.ts'
import type { PoolState } from '../pool-state.ts'
import { type NoCandidate, noCandidate, routeOf, selectModel } from '../selection.ts'
import type { Waiter } from './waiter.ts'
import type { Place } from './waiting-queue.ts'

/**
 * Where a request stands in the queue: its lane (route, models, what was tried, whether the retry
 * budget has to pay), and within the lane the line of its size.
 */
export function placeOf(state: PoolState, request: LeaseRequest): Place {
  const route = state.routes.indexOf(routeOf(state, request))
  const { models, triedKeys, excludedAccounts, attempt } = request
  const lane = JSON.stringify([
    route,
    models.map((model) => classOf(state, model)),
    [...new Set(triedKeys)].toSorted(),
    [...new Set(excludedAccounts)].toSorted(),
    attempt === 'retry',
  ])
  return { lane, line: `${tooSmallFor(state, request)} ${partOf(state, request)} ${lane}`, route }
}

/** Clients that may use a part of the pool only: what is not for one of them may be for others. */
function partOf({ clients }: PoolState, { clientId }: LeaseRequest): string {
  return keysFor(clients, clientId).length === 0 ? '' : clientId
}

/** No model has a name with a space. */
const UNKNOWN = 'unknown model'
const UNKNOWN_FREE = 'unknown free model'

/**
 * Names that no route names and that never answered are one class: a caller who invents a hundred of
 * them has one lane.
 */
function classOf(state: PoolState, model: ModelId): string {
  if (isKnown(state, model)) return model
  return isFreeModel(model) ? UNKNOWN_FREE : UNKNOWN
}

function isKnown({ routes, ledger }: PoolState, model: ModelId): boolean {
  const isNamed = routes.some(
    ({ config, models }) => models.includes(model) || config.fallbackModels.includes(model),
  )
  return isNamed || (ledger.byModel.get(model)?.total.successes ?? 0) > 0
}

/** How many limits are too small for the request: all requests for which it is the same fit the same keys. */
function tooSmallFor({ tokenLimits }: PoolState, { tokens }: LeaseRequest): number {
  const count = tokenLimits.findIndex((limit) => limit >= tokens)
  return count === -1 ? tokenLimits.length : count
}

/**
 * Whether a key may come free for a request within the time that it may wait. A batch does not wait
 * here: its place would be one of those that interactive requests share.
 */
export function mayWait(
  { policy }: PoolState,
  { waitMs, ...request }: Pick<LeaseRequest, 'waitMs' | 'class'>,
  { mayClearAtMs }: NoCandidate,
  nowMs: number,
): boolean {
  if (isOfBatch(request)) return false
  return mayClearAtMs !== null && mayClearAtMs < nowMs + Math.min(waitMs, policy.queue.maxWaitMs)
}

/** Why a waiter is still not served, as of now. */
export function refusalOf(state: PoolState, { request, refusal }: Waiter, nowMs: number): Refusal {
  const { queue, retryBudget, policy } = state
  const selected = selectModel({ state, nowMs }, routeOf(state, request), request, queue.claims)
  if (selected.kind === 'unserved') return noCandidate(selected.models, nowMs).refusal
  const budgeted = { model: selected.model, policy: policy.retryBudget }
  const isPaid = request.attempt !== 'retry' || canWithdraw(retryBudget, budgeted, nowMs)
  // A key that came free in the very moment in which the time was over.
  if (isPaid) return { ...refusal, retryAtMs: nowMs }
  return { kind: 'refusal', cause: 'retry_budget', reasons: {}, retryAtMs: null }
}
