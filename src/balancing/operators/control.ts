import type { KeyId } from '../ids.ts'
import type { KeyState, PoolState, Step } from '../pool-state.ts'
import { type DutiesNow, takeDutiesNow } from '../serving/duty-hand-out.ts'
import { type KeySnapshot, snapshot } from '../snapshot.ts'
import { noteInAudit } from './audit.ts'
import { type SteeringOrder, steer } from './steering.ts'

/** What operators may order of keys. */
export type ControlOrder =
  | SteeringOrder
  /** Looks up a key, or all of them, now. */
  | { readonly kind: 'refresh_credit'; readonly keyId: KeyId | null }

export type ControlReply =
  | { readonly kind: 'steered'; readonly key: KeySnapshot }
  | ({ readonly kind: 'refresh' } & DutiesNow)
  | { readonly kind: 'fault'; readonly fault: 'unknown_key' }

const UNKNOWN_KEY: ControlReply = { kind: 'fault', fault: 'unknown_key' }

/** The most lookups that one order hands out: a Worker may make a limited number of calls. */
const MAX_LOOKUPS = 30

/**
 * Carries out an operator's order, and notes it in the audit.
 * @param by by what the operator signed in
 */
export function control(step: Step, order: ControlOrder, by: string): ControlReply {
  const { state, nowMs } = step
  const reply = order.kind === 'refresh_credit' ? refresh(step, order.keyId) : steered(step, order)
  if (reply.kind === 'fault') return reply
  const target = order.keyId === null ? 'pool' : `key:${order.keyId}`
  noteInAudit(state.audit, { atMs: nowMs, by, what: order.kind, target })
  return reply
}

function steered(step: Step, order: SteeringOrder): ControlReply {
  if (steer(step, order) === null) return UNKNOWN_KEY
  const key = snapshot(step.state, step.nowMs).keys.find(({ id }) => id === order.keyId)
  return key === undefined ? UNKNOWN_KEY : { kind: 'steered', key }
}

function refresh({ state, nowMs }: Step, keyId: KeyId | null): ControlReply {
  const keys = keyId === null ? enabledKeys(state) : [...enabledKeys(state, keyId)]
  if (keyId !== null && !state.keys.has(keyId)) return UNKNOWN_KEY
  return { kind: 'refresh', ...takeDutiesNow(state, keys, MAX_LOOKUPS, nowMs) }
}

/** A key that is disabled is not looked up by anybody. */
function enabledKeys({ keys }: PoolState, only?: KeyId): readonly KeyState[] {
  return [...keys.values()].filter(
    ({ id, config }) => !config.disabled && (only === undefined || id === only),
  )
}
