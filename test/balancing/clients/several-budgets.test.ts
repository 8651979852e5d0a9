import { describe, expect, it } from 'vitest'
import {
  createBudget,
  lose,
  nanosOf,
  reserve,
  spend,
} from '../../../src/balancing/clients/budget.ts'
import { loseCharge, settleCharge } from '../../../src/balancing/clients/charge-settling.ts'
import {
  budgetRecords,
  quotaOf,
  quotas,
  restoreBudgets,
} from '../../../src/balancing/clients/client-records.ts'
import {
  type ClientDemand,
  type Clients,
  chargeAnyway,
  createClients,
  refusalFor,
  undoCharge,
} from '../../../src/balancing/clients/clients.ts'
import { clientId, keyId, leaseId } from '../../../src/balancing/ids.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { usageOf } from '../pool-driver.ts'
import { budgetOf, clientOf, groupOf } from './client-terms.ts'

const NOON = Date.UTC(2026, 0, 15, 12)
const SETTLEMENT: Settlement = {
  ...{ leaseId: leaseId('l'), keyId: keyId('k'), outcome: 'success', benches: [], suspect: false },
}

describe('a charge of several budgets', () => {
  const DAY = budgetOf({ usd: 10 })
  const MONTH = budgetOf({ usd: 50, period: 'month', mode: 'capped', capUsd: 0.25 })
  const clientsOf = () =>
    createClients(
      {
        clients: [clientOf({ id: 'app', group: 'team', budgets: [DAY, MONTH] })],
        groups: [groupOf({ id: 'team', budgets: [budgetOf({ usd: 99, mode: 'after' })] })],
      },
      NOON,
    )
  /** Of the client's day and month, and of the group's day, in USD. */
  const amounts = (clients: Clients, of: 'reservedNanos' | 'lostNanos' | 'spentNanos') =>
    quotas(clients).flatMap(({ budgets }) => budgets.map((budget) => budget[of] / 1e9))
  const demand: ClientDemand = {
    ...{ clientId: clientId('app'), attempt: 'first', tokens: 100, bound: nanosOf(2) },
    isFallback: false,
  }

  it('reserves of each by its own terms, and gives each its own back', () => {
    const clients = clientsOf()
    const first = chargeAnyway(clients, demand, NOON).charge
    const second = chargeAnyway(clients, demand, NOON).charge
    if (first === null || second === null) throw new Error('no limits')
    expect(amounts(clients, 'reservedNanos')).toEqual([4, 0.5, 0])
    undoCharge(clients, first, NOON)
    expect(amounts(clients, 'reservedNanos')).toEqual([2, 0.25, 0])
    loseCharge(clients, { kind: 'running', charge: second }, NOON)
    expect(amounts(clients, 'reservedNanos')).toEqual([0, 0, 0])
    expect(amounts(clients, 'lostNanos')).toEqual([2, 0.25, 0])
    const told = { ...SETTLEMENT, usage: usageOf(1, 1, 1) }
    settleCharge(clients, { charge: second, lostAtMs: NOON }, told, NOON)
    expect(amounts(clients, 'lostNanos')).toEqual([0, 0, 0])
    expect(amounts(clients, 'spentNanos')).toEqual([1, 1, 1])
  })

  it('is restored to each after a restart', () => {
    const before = clientsOf()
    for (const [at, { budgets }] of quotas(before).entries()) {
      for (const [i, budget] of budgets.entries()) spend(budget, nanosOf(1 + 2 * at + i), NOON)
    }
    const records = (['client:app', 'group:team'] as const).map(
      (owner) => [owner, budgetRecords(before, owner) ?? []] as const,
    )
    const after = clientsOf()
    restoreBudgets(after, new Map(records), NOON)
    expect(amounts(after, 'spentNanos')).toEqual([1, 2, 3])
  })

  it('takes nothing of a budget that was made after it, and its part of one made in that moment', () => {
    for (const [inMs, reserved] of [
      [0, 0],
      [1, 2],
    ] as const) {
      const clients = clientsOf()
      const charge = chargeAnyway(clients, demand, NOON).charge
      const quota = quotaOf(clients, 'client:app')
      if (quota === undefined || charge === null) throw new Error('no limits')
      const budget = createBudget(DAY, NOON, NOON + inMs)
      quota.budgets = [budget]
      reserve(budget, nanosOf(2), NOON)
      undoCharge(clients, charge, NOON)
      expect(budget.reservedNanos).toBe(nanosOf(reserved))
    }
  })

  it('is refused with what is spent and lost of the budget that does not pay for it', () => {
    const clients = clientsOf()
    const [day] = quotaOf(clients, 'client:app')?.budgets ?? []
    if (day === undefined) throw new Error('no budget')
    spend(day, nanosOf(6), NOON)
    lose(day, nanosOf(3), NOON)
    expect(refusalFor(clients, demand, NOON)).toMatchObject({
      ...{ kind: 'budget', owner: 'client:app', period: 'day', limitNanos: nanosOf(10) },
      ...{ spentNanos: nanosOf(9), reservedNanos: 0, isPassing: false },
    })
  })
})
