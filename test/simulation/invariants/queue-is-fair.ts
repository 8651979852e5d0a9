import type { LeaseId } from '../../../src/balancing/ids.ts'
import type { Waiter } from '../../../src/balancing/queue/waiter.ts'
import { idleKeys, keysFreeFor } from '../../balancing/idle-keys.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedRequest, SimulatedWorld } from './observed-world.ts'

/** Two calls to the object of two seconds each, before and after the wait. */
const SLACK_MS = 4_500

/** 6. The queue is first come, first served, within each one's time. 11. No key idles that is waited for. */
export function queueIsFair(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  let waiting = new Map<LeaseId, Waiter>()

  const checkOrder = (id: LeaseId, step: ObjectStep) => {
    const served = waiting.get(id)
    if (served === undefined) return
    if (step.nowMs >= served.deadlineMs) accuse(6, `${id} was served after its time`)
    for (const [other, older] of waiting) {
      const isSame = older.line === served.line && older.arrival < served.arrival
      const isFresh = older.request.attempt === 'first' && older.request.triedKeys.length === 0
      const isLeft = step.state.queue.waiters.get(other)?.state === 'waits'
      const isInTime = step.nowMs < older.deadlineMs && step.nowMs - older.lastPolledAtMs < 5_000
      if (isSame && isFresh && isLeft && isInTime && isAlike(older, served)) {
        accuse(6, `${id} was served before ${other}, who came first`)
      }
    }
  }

  const checkRefusals = ({ state, nowMs, request, reply }: ObjectStep) => {
    for (const [at, want] of (request?.wants ?? []).entries()) {
      const decision = reply?.decisions[at]
      if (decision?.kind !== 'refusal' || decision.cause !== 'no_key') continue
      // Who has waited in vain, or lost his place to another, hears so when he asks again.
      if (waiting.has(want.leaseId)) continue
      const free = keysFreeFor({ state, nowMs }, want).filter(
        (key) => !state.queue.claims.has(key.id),
      )
      const [key] = free
      if (key !== undefined) accuse(11, `${want.leaseId} was refused although ${key.id} is free`)
    }
  }

  return {
    before({ state }) {
      // Who has lost his place is among them, though he waits no more, until he has been told.
      waiting = new Map(state.queue.waiters)
    },
    after(step, { granted }) {
      for (const { id } of granted) checkOrder(id, step)
      if (step.kind === 'claim' || step.kind === 'duties') return
      checkRefusals(step)
      const { state, nowMs } = step
      if (state.queue.size === 0 || step.kind !== 'exchange') return
      const alive = [...state.queue.waiters.values()]
        .filter((one) => one.state === 'waits' && nowMs < one.deadlineMs)
        .toSorted((a, b) => a.arrival - b.arrival)
      for (const idle of idleKeys({ state, nowMs }, alive)) accuse(11, idle)
    },
    ended(request: SimulatedRequest) {
      const { queue } = world().object.state.policy
      const { report } = request
      const attempts = Math.max(1, request.leased.length)
      // What it waits for between attempts is upstream's word, and not the queue's.
      if (report === null || report.attempts.length > 0) return
      if (report.timings.wait > attempts * queue.maxWaitMs + SLACK_MS) {
        accuse(6, `${request.id} waited for ${report.timings.wait} ms`)
      }
    },
  }
}

/** Whether whatever is enough for one of two is enough for the other. */
function isAlike(one: Waiter, other: Waiter): boolean {
  const [a, b] = [one.request, other.request]
  const isAsMuch = a.tokens === b.tokens && a.costNanos === b.costNanos
  return isAsMuch && a.models.join() === b.models.join()
}
