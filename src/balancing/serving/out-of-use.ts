import {
  creditExclusions,
  type Exclusion,
  haltExclusions,
  spendExclusions,
} from '../eligibility.ts'
import type { AccountState } from '../health/account.ts'
import { type Bench, isActive, reportedReason } from '../health/bench.ts'
import { asOf } from '../health/circuit-breaker.ts'
import type { KeyState, PoolState } from '../pool-state.ts'
import type { Reason } from '../reasons.ts'

/** A key, an account or a model that does not serve, for a reason of its own. Load is none. */
export interface OutOfUse {
  readonly what: 'key' | 'account' | 'model'
  readonly id: string
  readonly reason: Reason | Bench['reason'] | 'model_failed'
  /** When that probably ends by itself, in epoch milliseconds; null if time does not end it. */
  readonly untilMs: number | null
}

/** Something has gone out of use, for another reason than before, or has come back. */
export interface Transition extends OutOfUse {
  readonly kind: 'out' | 'back'
}

/**
 * All that is out of use, by a name of its own. A half-open breaker counts as out, since only its
 * probe goes there. Keys that the operator has disabled do not count.
 */
export function outOfUse(state: PoolState, nowMs: number): ReadonlyMap<string, OutOfUse> {
  const found = new Map<string, OutOfUse>()
  const add = (out: OutOfUse | null) => {
    if (out !== null) found.set(`${out.what} ${out.id}`, out)
  }
  for (const key of state.keys.values()) if (!key.config.disabled) add(keyOut(key, nowMs))
  for (const groups of [state.accounts, state.budgets]) {
    for (const account of groups.values()) add(accountOut(account, nowMs))
  }
  // A model's bench is stored with the reason of a limit, whatever it is for. What it says is this.
  for (const [model, bench] of state.modelBenches) {
    if (!isActive(bench, nowMs)) continue
    add({ what: 'model', id: model, reason: 'model_failed', untilMs: bench.untilMs })
  }
  return found
}

/** What has changed between two looks at the pool. */
export function transitions(
  before: ReadonlyMap<string, OutOfUse>,
  after: ReadonlyMap<string, OutOfUse>,
): Transition[] {
  const changes: Transition[] = []
  for (const [name, out] of after) {
    if (before.get(name)?.reason !== out.reason) changes.push({ kind: 'out', ...out })
  }
  for (const [name, out] of before) if (!after.has(name)) changes.push({ kind: 'back', ...out })
  return changes
}

function keyOut(key: KeyState, nowMs: number): OutOfUse | null {
  const { id } = key
  const [halted] = haltExclusions(key)
  if (halted !== undefined) return { what: 'key', id, reason: halted.reason, untilMs: null }
  const benched = benchOut('key', id, key.bench, nowMs)
  if (benched !== null) return benched
  const [exclusion]: readonly Exclusion[] = [
    ...creditExclusions(key, nowMs),
    ...spendExclusions(key, nowMs),
  ]
  if (exclusion !== undefined) {
    return { what: 'key', id, reason: exclusion.reason, untilMs: exclusion.clearsAtMs }
  }
  const breaker = asOf(key.breaker, nowMs)
  if (breaker.kind === 'closed') return null
  const untilMs = breaker.kind === 'open' ? breaker.untilMs : null
  return { what: 'key', id, reason: 'breaker_open', untilMs }
}

function accountOut({ id, bench, freeBench }: AccountState, nowMs: number): OutOfUse | null {
  return benchOut('account', id, bench, nowMs) ?? benchOut('account', id, freeBench, nowMs)
}

function benchOut(
  what: 'key' | 'account',
  id: string,
  bench: Bench | null,
  nowMs: number,
): OutOfUse | null {
  if (!isActive(bench, nowMs)) return null
  return { what, id, reason: reportedReason(bench), untilMs: bench.untilMs }
}
