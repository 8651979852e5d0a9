import type { AccountState } from '../health/account.ts'
import { CLOSED } from '../health/circuit-breaker.ts'
import { putHalt } from '../health/halt.ts'
import { doubt } from '../health/lookup-duty.ts'
import { forgetRefusals } from '../health/rejection-wave.ts'
import type { KeyId } from '../ids.ts'
import {
  type KeyState,
  lookAgainAtSisters,
  type PoolState,
  type Step,
  setLookup,
} from '../pool-state.ts'
import { refuseHopeless } from '../queue/hopeless.ts'
import { noteChange } from '../serving/key-changes.ts'

/** What operators may tell a key. */
export const STEERING = ['pause', 'resume', 'drain', 'reset'] as const

export interface SteeringOrder {
  /**
   * - `pause`: no new lease. What runs goes on
   * - `drain`: the same, and it is told when the last request has ended
   * - `resume`: ends both
   * - `reset`: forgets what the key was judged for, and what its account is benched for. A key that is
   *   paused stays so
   */
  readonly kind: (typeof STEERING)[number]
  readonly keyId: KeyId
}

/**
 * Carries out an operator's order. It is stored in the step. An order that changes nothing is none the
 * less carried out: operators press twice.
 * @returns the key; null if the pool has none of that name
 */
export function steer(step: Step, { kind, keyId }: SteeringOrder): KeyState | null {
  const { state, nowMs } = step
  const key = state.keys.get(keyId)
  if (key === undefined) return null
  switch (kind) {
    case 'pause':
    case 'drain': {
      const wanted = kind === 'pause' ? 'paused' : 'draining'
      if (key.halt?.kind !== wanted) putHalt(state.halted, key, { kind: wanted, sinceMs: nowMs })
      break
    }
    case 'resume':
      putHalt(state.halted, key, null)
      break
    case 'reset':
      reset(state, key, nowMs)
      break
  }
  state.changes.keys.add(key.id)
  lookAgainAtSisters(state, key)
  noteForWaiters(state)
  if (kind === 'pause' || kind === 'drain') refuseHopeless(step)
  return key
}

/** What keeps a key from serving may be its account's, and panic may begin or end: all are looked at. */
function noteForWaiters(state: PoolState): void {
  if (state.queue.size === 0) return
  for (const id of state.keys.keys()) state.queue.changed.add(id)
  noteChange(state, null)
}

function reset(state: PoolState, key: KeyState, nowMs: number): void {
  key.epoch += 1
  key.reset = { epoch: key.epoch, atMs: nowMs }
  key.breaker = CLOSED
  key.bench = null
  key.modelBenches.clear()
  key.strikes = 0
  key.struckAtMs = 0
  key.affordableTokens = null
  key.tooLarge = null
  forgetRefusals(state.rejections, key.id)
  // A lookup tells what is true of it now, at rest too.
  setLookup(state, key, doubt(key.lookup, nowMs))
  for (const group of [key.account, key.creator, key.workspace]) {
    if (group === null) continue
    forgetVerdicts(group, nowMs)
    state.changes.accounts.add(group.id)
  }
}

/** Of all that an account's keys share: no lookup ends some of its benches, so an operator must be able to. */
function forgetVerdicts(account: AccountState, nowMs: number): void {
  account.bench = null
  account.freeBench = null
  account.modelBenches.clear()
  account.keysWithoutRoom.clear()
  account.tooLarge = null
  account.resetAtMs = nowMs
}
