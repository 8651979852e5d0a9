import type { Counters } from '../../../src/balancing/accounting/ledger.ts'
import { isActive } from '../../../src/balancing/health/bench.ts'
import type { LeaseId } from '../../../src/balancing/ids.ts'
import type { KeyState, PoolState } from '../../../src/balancing/pool-state.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import type { ChatCall } from '../openrouter-model.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, StepChanges, Watcher } from './invariant.ts'

interface Sum {
  attempts: number
  costUsd: number
}

/** 4. A caller's fault changes no key. 8. What a lease used is counted once. */
export function booksAgree(accuse: Accuse): Watcher {
  /** In which life the pool heard the settlement of a lease, and in which it granted it. */
  const heard = new Map<LeaseId, number>()
  const granted = new Map<LeaseId, number>()
  const faults = new Map<LeaseId, ChatCall['fault']>()
  let before = { all: noSum(), byKey: noSum(), byClient: noSum(), health: [] as readonly Health[] }

  const expected = (step: ObjectStep, { before: live }: StepChanges) => {
    const sure = noSum()
    const perhaps = noSum()
    let isTold = true
    const settlements = step.request?.settlements ?? []
    for (const settlement of new Map(settlements.map((one) => [one.leaseId, one])).values()) {
      const { leaseId, keyId, unused } = settlement
      const known = heard.get(leaseId)
      heard.set(leaseId, step.life)
      if (unused || known === step.life) continue
      const isSure =
        live.has(leaseId) || (granted.get(leaseId) === step.life && known === undefined)
      add(isSure ? sure : perhaps, settlement)
      isTold &&= step.state.keys.has(live.get(leaseId)?.keyId ?? keyId)
      isTold &&= settlement.lease !== undefined || live.has(leaseId)
    }
    return { sure, perhaps, isTold }
  }

  const checkBooks = (step: ObjectStep, changes: StepChanges) => {
    const { sure, perhaps, isTold } = expected(step, changes)
    const now = sumsOf(step.state)
    const booked = minus(now.all, before.all)
    const isCounted =
      isWithin(booked.attempts, sure.attempts, perhaps.attempts) &&
      isWithin(booked.costUsd, sure.costUsd, perhaps.costUsd)
    if (!isCounted) {
      accuse(
        8,
        `booked ${plainly(booked)}, and ${plainly(sure)} to ${plainly(perhaps)} more were told`,
      )
    }
    if (!isTold) return
    for (const name of ['byKey', 'byClient'] as const) {
      const part = minus(now[name], before[name])
      if (!isSame(part, booked))
        accuse(8, `booked ${plainly(booked)}, and ${name} ${plainly(part)}`)
    }
  }

  const checkHealth = ({ state, nowMs, request }: ObjectStep) => {
    const isBad = (settlement: Settlement) =>
      settlement.outcome === 'failure' || settlement.benches.length > 0 || settlement.suspect
    if (request === null || request.lookups.length > 0 || request.settlements.some(isBad)) return
    for (const [at, key] of [...state.keys.values()].entries()) {
      const was = before.health[at]
      const is = healthOf(key, nowMs)
      if (was === undefined) continue
      const isWorse =
        is.failures > was.failures || is.strikes > was.strikes || is.benches > was.benches
      if (isWorse) accuse(4, `${key.id} got worse, and nothing bad was told of it`)
    }
  }

  return {
    before(step) {
      if (step.kind !== 'exchange') return
      const health = [...step.state.keys.values()].map((key) => healthOf(key, step.nowMs))
      before = { ...sumsOf(step.state), health }
    },
    after(step, changes) {
      for (const { id } of changes.granted) granted.set(id, step.life)
      if (step.kind !== 'exchange') return
      checkBooks(step, changes)
      checkHealth(step)
      for (const { leaseId, outcome, benches, suspect } of step.request?.settlements ?? []) {
        if (faults.get(leaseId) !== 'caller') continue
        if (outcome !== 'ignorable' || benches.length > 0 || suspect) {
          accuse(4, `a caller’s fault was told as ${outcome}`)
        }
      }
    },
    called({ leased }, { fault }) {
      const id = leased.at(-1)?.leased.leaseId ?? null
      if (id !== null) faults.set(id, fault)
    },
    atRest() {
      faults.clear()
    },
  }
}

interface Health {
  readonly failures: number
  readonly strikes: number
  readonly benches: number
}

function healthOf(
  { breaker, bench, strikes, account, modelBenches }: KeyState,
  nowMs: number,
): Health {
  const failures = breaker.kind === 'closed' ? breaker.failuresAtMs.length : 1_000
  const all = [bench, account.bench, account.freeBench, ...modelBenches.values()]
  const benches = all.filter((one) => isActive(one, nowMs)).length
  return { failures: breaker.kind === 'half_open' ? 1_000 : failures, strikes, benches }
}

const noSum = (): Sum => ({ attempts: 0, costUsd: 0 })

function add(sum: Sum, { usage }: Settlement): void {
  sum.attempts += 1
  sum.costUsd += usage?.costUsd ?? 0
}

function sumOf(all: Iterable<{ readonly total: Counters }>): Sum {
  const sum = noSum()
  for (const { total } of all) {
    sum.attempts += total.attempts
    sum.costUsd += total.costUsd
  }
  return sum
}

function sumsOf({ ledger }: PoolState) {
  return {
    all: sumOf([ledger.all]),
    byKey: sumOf(ledger.byKey.values()),
    byClient: sumOf(ledger.byClient.values()),
  }
}

function minus(a: Sum, b: Sum): Sum {
  return { attempts: a.attempts - b.attempts, costUsd: a.costUsd - b.costUsd }
}

const TINY = 1e-9

function isSame(a: Sum, b: Sum): boolean {
  return a.attempts === b.attempts && Math.abs(a.costUsd - b.costUsd) < TINY
}

function isWithin(value: number, least: number, more: number): boolean {
  return value >= least - TINY && value <= least + more + TINY
}

const plainly = ({ attempts, costUsd }: Sum) => `${attempts} attempts of $${costUsd}`
