import {
  type Budget,
  committedNanos,
  limitNanos,
  nanosOf,
} from '../../../src/balancing/clients/budget.ts'
import { quotas } from '../../../src/balancing/clients/client-records.ts'
import { quotasOf } from '../../../src/balancing/clients/clients.ts'
import { clientId, type LeaseId } from '../../../src/balancing/ids.ts'
import type { BudgetOwner, Hold } from '../../../src/balancing/limits/quota-charge.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import type { ChatCall } from '../openrouter-model.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedWorld } from './observed-world.ts'

/** What OpenRouter charged for the attempts of a budget's period of which the pool has heard. */
interface Charged {
  nanos: number
  endsAtMs: number | null
  /** Whether nothing happened that makes the pool count more than this. */
  isExact: boolean
  /** What the budget paid for when it was last looked at. */
  limitNanos: number
  /** Whether an operator has changed that. Less may then be paid for than is spent already. */
  isChanged: boolean
}

/** What one step has heard, which a crash may take back. */
interface Heard {
  readonly step: ObjectStep
  readonly leases: LeaseId[]
  readonly booked: (readonly [Charged, number])[]
}

/** By the name of the budget. */
type ChargedByName = Map<string, Charged>

interface PaidCall {
  readonly call: ChatCall
  readonly holds: readonly Hold[]
}

const nameOf = (owner: BudgetOwner, period: string) => `${owner} ${period}`

/**
 * 15. What OpenRouter charged is counted: exactly, and after a crash never less. Under `exact` no
 * answer costs more than was held for it, and no budget is passed at any instant.
 */
export function budgetsHold(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  const charged: ChargedByName = new Map()
  const calls = new Map<LeaseId, PaidCall>()
  /** What all calls have cost that were made for a budget without an end, heard of or not. */
  const totals = new Map<string, number>()
  const known = new Set<LeaseId>()
  let recent: Heard[] = []
  /** The leases that the object has restored. */
  let ofBefore: ReadonlySet<LeaseId> = new Set()

  const hear = (heard: Heard, settlement: Settlement, state: PoolState) => {
    const { leaseId, lease, unused } = settlement
    if (unused || known.has(leaseId)) return
    known.add(leaseId)
    heard.leases.push(leaseId)
    const nanos = costOf(settlement, calls.get(leaseId)?.call, accuse)
    checkHolds(settlement, nanos ?? 0, state, accuse)
    for (const { owner, period } of lease?.held?.holds ?? []) {
      const budget = budgetOf(state, owner, period)
      if (budget !== undefined) book(heard, chargedOf(charged, owner, budget), nanos)
    }
  }

  const check = (owner: BudgetOwner, budget: Budget, { kind, nowMs, state }: ObjectStep) => {
    const { terms, spentNanos, lostNanos, endsAtMs } = budget
    if (endsAtMs !== null && nowMs >= endsAtMs) return
    const sum = chargedOf(charged, owner, budget)
    noteLimit(sum, budget, nowMs, kind === 'order')
    const name = nameOf(owner, terms.period)
    if (spentNanos + lostNanos + heldOf(state, ofBefore, name) < sum.nanos) {
      accuse(15, `${name}: ${spentNanos} spent, ${lostNanos} lost, and ${sum.nanos} were charged`)
    }
    if (sum.isExact && spentNanos !== sum.nanos) {
      accuse(15, `${name}: ${spentNanos} spent, and exactly ${sum.nanos} were charged`)
    }
    if (!sum.isChanged && isStrict(budget)) checkLimit(name, budget, nowMs, accuse)
  }

  const checkTotal = (owner: BudgetOwner, budget: Budget) => {
    const name = nameOf(owner, budget.terms.period)
    const isKept = budget.endsAtMs === null && isStrict(budget) && !charged.get(name)?.isChanged
    const cost = totals.get(name) ?? 0
    if (isKept && cost > nanosOf(budget.terms.usd)) accuse(15, `${name}: ${cost} were charged`)
  }
  const takeBack = ({ leases, booked }: Heard) => {
    for (const id of leases) known.delete(id)
    for (const [sum, nanos] of booked) sum.nanos = Math.max(0, sum.nanos - nanos)
  }

  return {
    born(state, _life, how) {
      ofBefore = new Set(state.leases.live.keys())
      if (how === 'crash') recent.forEach(takeBack)
      recent = []
      if (how === 'eviction') return
      for (const sum of charged.values()) sum.isExact = false
    },
    after(step) {
      if (step.kind === 'claim') return
      const { state, request } = step
      const heard: Heard = { step, leases: [], booked: [] }
      for (const settlement of request?.settlements ?? []) hear(heard, settlement, state)
      if (heard.leases.length > 0) recent.push(heard)
      forEachBudget(state, (owner, budget) => check(owner, budget, step))
    },
    released(step) {
      const at = recent.findIndex((heard) => heard.step === step)
      if (at >= 0) recent = recent.slice(at + 1)
    },
    leased({ id, plan }, { leaseId }) {
      const isPaid = hasBudget(world().object.state.clients, plan.client)
      if (leaseId === null && isPaid) accuse(15, `${id} has a budget, and went without the pool`)
    },
    called({ leased }, call) {
      const { leaseId = null, terms } = leased.at(-1)?.leased ?? {}
      if (leaseId !== null) calls.set(leaseId, { call, holds: terms?.held?.holds ?? [] })
    },
    ordered(order) {
      if (order.kind !== 'change_client' && !order.kind.endsWith('_budget')) return
      const of = 'owner' in order ? order.owner : 'id' in order ? `client:${order.id}` : ''
      const changed = [...charged].filter(([name]) => name.startsWith(`${of} `))
      for (const [, sum] of changed) sum.isChanged = true
    },
    atRest() {
      for (const call of calls.values()) addTo(totals, call)
      forEachBudget(world().object.state, checkTotal)
      calls.clear()
      known.clear()
      recent = []
    },
  }
}

/**
 * What leases of an earlier life of the object hold. One that was settled after the last checkpoint holds
 * what it has cost until it expires: the row tells how much, and not that it was settled.
 */
function heldOf({ leases }: PoolState, ofBefore: ReadonlySet<LeaseId>, name: string): number {
  return [...leases.live.values()]
    .filter(({ id }) => ofBefore.has(id))
    .flatMap(({ charge, keyHold }) => [...(charge?.holds ?? []), ...(keyHold ? [keyHold] : [])])
    .filter(({ owner, period }) => nameOf(owner, period) === name)
    .reduce((sum, { nanos }) => sum + nanos, 0)
}

/** What was charged in the period that the budget is in. */
function chargedOf(
  charged: ChargedByName,
  owner: BudgetOwner,
  { terms, endsAtMs }: Budget,
): Charged {
  const name = nameOf(owner, terms.period)
  const before = charged.get(name)
  if (before !== undefined && before.endsAtMs === endsAtMs) return before
  const isChanged = before?.isChanged ?? false
  const fresh = { nanos: 0, endsAtMs, isExact: true, limitNanos: nanosOf(terms.usd), isChanged }
  charged.set(name, fresh)
  return fresh
}

/** What the call of a settlement cost, or null if it may have cost something that nobody has told. */
function costOf(settlement: Settlement, call: ChatCall | undefined, accuse: Accuse): number | null {
  const { leaseId, usage } = settlement
  if (usage === undefined || usage.estimated) return mayCost(settlement) ? null : 0
  if (call !== undefined && usage.costUsd !== call.costUsd) {
    accuse(15, `${leaseId} cost $${call.costUsd}, and $${usage.costUsd} was told`)
  }
  return nanosOf(call?.costUsd ?? 0)
}

/** Under `exact` the most that an answer can cost is held for it. */
function checkHolds(
  { leaseId, lease }: Settlement,
  nanos: number,
  state: PoolState,
  accuse: Accuse,
): void {
  for (const { owner, period, nanos: held } of lease?.held?.holds ?? []) {
    const isExact = budgetOf(state, owner, period)?.terms.mode === 'exact'
    const name = nameOf(owner, period)
    if (isExact && nanos > held) accuse(15, `${leaseId} cost ${nanos}, and ${name} held ${held}`)
  }
}

/** @param nanos null if nobody has told what it cost */
function book(heard: Heard, sum: Charged, nanos: number | null): void {
  sum.isExact &&= nanos !== null
  sum.nanos += nanos ?? 0
  heard.booked.push([sum, nanos ?? 0])
}

/** An order is in force at once, and its answer may be lost. */
function noteOrder(sum: Charged, budget: Budget, nowMs: number): void {
  sum.isChanged ||= limitNanos(budget, nowMs) !== sum.limitNanos
  // An operator has forgotten what was spent.
  if (budget.spentNanos + budget.lostNanos === 0) sum.nanos = 0
}

/** Notes what a budget pays for now, and what an order has changed of it. */
function noteLimit(sum: Charged, budget: Budget, nowMs: number, isOfOrder: boolean): void {
  if (isOfOrder) noteOrder(sum, budget, nowMs)
  sum.limitNanos = limitNanos(budget, nowMs)
}

function checkLimit(name: string, budget: Budget, nowMs: number, accuse: Accuse): void {
  const committed = committedNanos(budget)
  const limit = limitNanos(budget, nowMs)
  if (committed > limit) accuse(15, `${name}: ${committed} are committed of ${limit}`)
}

function addTo(totals: Map<string, number>, { call, holds }: PaidCall): void {
  for (const { owner, period } of holds) {
    const name = nameOf(owner, period)
    totals.set(name, (totals.get(name) ?? 0) + nanosOf(call.costUsd))
  }
}

function forEachBudget(
  { clients, keys }: PoolState,
  each: (owner: BudgetOwner, budget: Budget) => void,
): void {
  for (const { owner, budgets } of quotas(clients)) {
    for (const budget of budgets) each(owner, budget)
  }
  for (const { id, spend } of keys.values()) if (spend !== null) each(`key:${id}`, spend)
}

function budgetOf(state: PoolState, owner: BudgetOwner, period: string): Budget | undefined {
  let found: Budget | undefined
  forEachBudget(state, (of, budget) => {
    if (of === owner && budget.terms.period === period) found = budget
  })
  return found
}

function hasBudget(clients: PoolState['clients'], client: string): boolean {
  return quotasOf(clients, clientId(client)).some(({ budgets }) => budgets.length > 0)
}

/** Whether nothing may be spent beyond what the budget pays for. */
function isStrict({ terms }: Budget): boolean {
  return terms.mode === 'exact' && terms.onExceeded === 'reject'
}

/** As an attempt that ended without its cost, and may have had some. */
function mayCost({ usage, outcome, fault }: Settlement): boolean {
  return usage !== undefined || outcome === 'success' || fault === 'nobody'
}
