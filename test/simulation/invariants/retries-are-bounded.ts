import { isBatchLease } from '../../../src/balancing/limits/leases.ts'
import type { HistoryKind } from '../history.ts'
import { DOWN_MODEL, HOSTILE_CLIENT } from '../history-of-seed.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedRequest, SimulatedWorld } from './observed-world.ts'

/** 7. Retries are paid for, attempts are bounded, and nothing is retried after the commit. */
export function retriesAreBounded(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  let savedTokens = 0
  let bornAtMs = 0
  let requests = 0
  let retries = 0
  return {
    born(state, life) {
      savedTokens = state.retryBudget.ceiling.tokens
      bornAtMs = life === 1 ? Number.NEGATIVE_INFINITY : world().time.nowMs()
      requests = 0
      retries = 0
    },
    after({ state, nowMs }, { granted, begun }) {
      for (const lease of [...granted, ...begun]) {
        // What batches retry is paid from a budget of their own.
        if (isBatchLease(lease)) continue
        if (lease.kind === 'running' && lease.attempt === 'retry') retries += 1
        else requests += 1
      }
      if (bornAtMs === Number.NEGATIVE_INFINITY) bornAtMs = nowMs
      const { ratio, minPerSecond } = state.policy.retryBudget
      const dripped = ((nowMs - bornAtMs) / 1000 + 10) * minPerSecond
      // The ceiling over all models is twice what one model has.
      const paid = savedTokens + 2 * (ratio * requests + dripped) + 1e-6
      if (retries > paid) accuse(7, `${retries} retries, and ${paid} are paid for`)
    },
    called(request) {
      const { calls, client } = request
      const { maxAttempts } = world().plan
      if (calls.length > maxAttempts) accuse(7, `${request.id} made ${calls.length} attempts`)
      if (calls.length > 1 && client.text().includes('"content":"word')) {
        accuse(7, `${request.id} was tried again after the client had a part of the answer`)
      }
    },
  }
}

/** 12. What one caller sends takes nothing from the others. */
export function callersAreApart(
  accuse: Accuse,
  world: () => SimulatedWorld,
  kind: HistoryKind,
): Watcher {
  if (kind !== 'hostile' && kind !== 'calm') return {}
  const isGood = ({ plan }: SimulatedRequest) =>
    plan.client !== HOSTILE_CLIENT && plan.model !== DOWN_MODEL && !plan.isBad && !plan.isOfBatch
  return {
    ended(request) {
      const { report } = request
      if (!isGood(request) || request.plan.leavesAfterMs !== null) return
      if (report?.outcome !== 'answered') {
        accuse(12, `${request.id} of an honest client was not answered: ${report?.error?.reason}`)
      }
    },
    atRest() {
      for (const { id, breaker } of world().object.state.keys.values()) {
        if (breaker.kind !== 'closed')
          accuse(12, `a model that is down opened the breaker of ${id}`)
      }
    },
  }
}
