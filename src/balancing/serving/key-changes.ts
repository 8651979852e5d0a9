import type { KeyState, PoolState } from '../pool-state.ts'

/**
 * Notes that a key may serve a waiter now. So may a key that lacked only the cost of its running
 * requests, since a settlement changes what an answer is expected to cost; a retry, since an unused
 * lease gives its payment back; and in panic the keys with open breakers.
 */
export function noteChange(state: PoolState, key: KeyState | null): void {
  const { queue, retryBudget, policy } = state
  if (queue.size === 0) return
  if (key !== null) queue.changed.add(key.id)
  for (const id of queue.overspent) queue.changed.add(id)
  queue.overspent.clear()
  if (queue.unpaid.size > 0) queue.paidAtMs = Math.min(queue.paidAtMs, retryBudget.ceiling.atMs)
  if (policy.panicRatio === 0) return
  for (const other of state.keys.values()) {
    if (other.breaker.kind !== 'closed') queue.changed.add(other.id)
  }
}

/** Notes a key report. It may end the bench of a whole account, or show whose a key is. */
export function noteReport(state: PoolState, { account }: KeyState): void {
  if (state.queue.size === 0) return
  for (const key of state.keys.values()) {
    if (key.account === account) state.queue.changed.add(key.id)
  }
  noteChange(state, null)
}
