import type { Step } from '../pool-state.ts'
import { noCandidate, routeOf, selectModel } from '../selection.ts'
import { waits } from './waiter.ts'
import { displace, foremost } from './waiting-queue.ts'

/**
 * Refuses those who wait for nothing any more, after an operator has halted a key: a newcomer like them
 * would not be let into the queue. All of a line wait for the same keys, so one look is for all of them.
 */
export function refuseHopeless(step: Step): void {
  const { state, nowMs } = step
  for (const [name, line] of state.queue.lines) {
    const [first] = foremost(state.queue, name, nowMs)
    if (first === undefined) continue
    const { request } = first
    const selected = selectModel(step, routeOf(state, request), request, state.queue.claims)
    if (selected.kind === 'served') continue
    const { mayClearAtMs, refusal } = noCandidate(selected.models, nowMs)
    if (mayClearAtMs !== null || !isHalted(refusal.reasons)) continue
    for (const waiter of line.waiters.filter(waits)) displace(state.queue, waiter, refusal)
  }
}

/** Other reasons without an end were there before, and a lookup may end them at any moment. */
function isHalted({ paused = 0, draining = 0 }: Readonly<Record<string, number>>): boolean {
  return paused + draining > 0
}
