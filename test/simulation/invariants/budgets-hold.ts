import {
  type Budget,
  committedNanos,
  limitNanos,
  nanosOf,
} from '../../../src/balancing/clients/budget.ts'
import { quotas } from '../../../src/balancing/clients/client-records.ts'
import { quotasOf } from '../../../src/balancing/clients/clients.ts'
import { clientId, type LeaseId } from '../../../src/balancing/ids.ts'
import type { Hold, QuotaOwner } from '../../../src/balancing/limits/quota-charge.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import type { ChatCall } from '../openrouter-model.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { SimulatedWorld } from '../simulated-world.ts'
import type { Accuse, Watcher } from './invariant.ts'

/** What OpenRouter charged for the attempts of a budget's period of which the pool has heard. */
interface Charged {
  nanos: number
  endsAtMs: number | null
  /** Whether nothing happened that makes the pool count more than this. */
  isExact: boolean
  /** Whether an operator has changed what the budget pays for. */
  isChanged: boolean
}

/** What one step has heard, which a crash may take back. */
interface Heard {
  readonly step: ObjectStep
  readonly leases: LeaseId[]
  readonly booked: (readonly [Charged, number])[]
}

const nameOf = (owner: QuotaOwner, period: string) => `${owner} ${period}`

/**
 * 15. What OpenRouter charged is counted: exactly, and after a crash never less. Under `exact` no
 * budget is passed at any instant.
 */
export function budgetsHold(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  const charged = new Map<string, Charged>()
  const calls = new Map<LeaseId, { readonly call: ChatCall; readonly holds: readonly Hold[] }>()
  /** What all calls have cost that were made for a budget without an end, heard of or not. */
  const totals = new Map<string, number>()
  const known = new Set<LeaseId>()
  let recent: Heard[] = []

  const chargedOf = (owner: QuotaOwner, { terms, endsAtMs }: Budget): Charged => {
    const name = nameOf(owner, terms.period)
    const before = charged.get(name)
    if (before !== undefined && before.endsAtMs === endsAtMs) return before
    const isChanged = before?.isChanged ?? false
    const fresh = { nanos: 0, endsAtMs, isExact: true, isChanged }
    charged.set(name, fresh)
    return fresh
  }

  const hear = (heard: Heard, settlement: Settlement, state: PoolState) => {
    const { leaseId, usage, lease, unused } = settlement
    if (unused || known.has(leaseId)) return
    known.add(leaseId)
    heard.leases.push(leaseId)
    const call = calls.get(leaseId)?.call
    const isSure = usage !== undefined && !usage.estimated
    if (isSure && call !== undefined && usage.costUsd !== call.costUsd) {
      accuse(15, `${leaseId} cost $${call.costUsd}, and $${usage.costUsd} was told`)
    }
    const nanos = isSure ? nanosOf(call?.costUsd ?? 0) : mayCost(settlement) ? null : 0
    for (const hold of lease?.held?.holds ?? []) bookFor(heard, hold, nanos, state)
  }

  /** @param nanos null if nobody has told what it cost */
  const bookFor = (heard: Heard, hold: Hold, nanos: number | null, state: PoolState) => {
    const budget = budgetOf(state, hold.owner, hold.period)
    if (budget === undefined) return
    const sum = chargedOf(hold.owner, budget)
    sum.isExact &&= nanos !== null
    sum.nanos += nanos ?? 0
    heard.booked.push([sum, nanos ?? 0])
  }

  const check = (owner: QuotaOwner, budget: Budget, { kind, nowMs }: ObjectStep) => {
    const { terms, spentNanos, lostNanos, endsAtMs } = budget
    if (endsAtMs !== null && nowMs >= endsAtMs) return
    const sum = chargedOf(owner, budget)
    // An operator has forgotten what was spent.
    if (kind === 'order' && spentNanos + lostNanos === 0) sum.nanos = 0
    const name = nameOf(owner, terms.period)
    if (spentNanos + lostNanos < sum.nanos) {
      accuse(15, `${name}: ${spentNanos} spent, ${lostNanos} lost, and ${sum.nanos} were charged`)
    }
    if (sum.isExact && spentNanos !== sum.nanos) {
      accuse(15, `${name}: ${spentNanos} spent, and exactly ${sum.nanos} were charged`)
    }
    if (!sum.isChanged && isStrict(budget)) checkLimit(name, budget, nowMs)
  }

  const checkLimit = (name: string, budget: Budget, nowMs: number) => {
    const committed = committedNanos(budget)
    const limit = limitNanos(budget, nowMs)
    if (committed > limit) accuse(15, `${name}: ${committed} are committed of ${limit}`)
  }

  const addTotals = () => {
    for (const { call, holds } of calls.values()) {
      for (const { owner, period } of holds) {
        const name = nameOf(owner, period)
        totals.set(name, (totals.get(name) ?? 0) + nanosOf(call.costUsd))
      }
    }
  }
  const checkTotal = (owner: QuotaOwner, budget: Budget) => {
    const { endsAtMs, terms } = budget
    const name = nameOf(owner, terms.period)
    const isKept = endsAtMs === null && isStrict(budget) && !charged.get(name)?.isChanged
    const cost = totals.get(name) ?? 0
    if (isKept && cost > nanosOf(terms.usd)) accuse(15, `${name}: ${cost} were charged`)
  }
  const takeBack = ({ leases, booked }: Heard) => {
    for (const id of leases) known.delete(id)
    for (const [sum, nanos] of booked) sum.nanos = Math.max(0, sum.nanos - nanos)
  }
  const ofAll = ({ clients }: PoolState, each: (owner: QuotaOwner, budget: Budget) => void) => {
    for (const { owner, budgets } of quotas(clients)) {
      for (const budget of budgets) each(owner, budget)
    }
  }

  return {
    born(_state, _life, how) {
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
      ofAll(state, (owner, budget) => check(owner, budget, step))
    },
    released(step) {
      const at = recent.findIndex((heard) => heard.step === step)
      if (at >= 0) recent = recent.slice(at + 1)
    },
    leased({ id, plan }, { leaseId }) {
      const { clients } = world().object.state
      const isPaid = quotasOf(clients, clientId(plan.client)).some(
        ({ budgets }) => budgets.length > 0,
      )
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
      addTotals()
      ofAll(world().object.state, checkTotal)
      calls.clear()
      known.clear()
      recent = []
    },
  }
}

function budgetOf({ clients }: PoolState, owner: QuotaOwner, period: string): Budget | undefined {
  const quota = quotas(clients).find((one) => one.owner === owner)
  return quota?.budgets.find(({ terms }) => terms.period === period)
}

/** Whether nothing may be spent beyond what the budget pays for. */
function isStrict({ terms }: Budget): boolean {
  return terms.mode === 'exact' && terms.onExceeded === 'reject'
}

/** As an attempt that ended without its cost, and may have had some. */
function mayCost({ usage, outcome, fault }: Settlement): boolean {
  return usage !== undefined || outcome === 'success' || fault === 'nobody'
}
