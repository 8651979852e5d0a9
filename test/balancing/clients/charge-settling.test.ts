import { describe, expect, it } from 'vitest'
import { type BudgetTerms, createBudget, nanosOf } from '../../../src/balancing/clients/budget.ts'
import {
  correctSpend,
  costOf,
  findCharge,
  findForgotten,
  loseCharge,
  retakeCharge,
  settleCharge,
  settleForgotten,
} from '../../../src/balancing/clients/charge-settling.ts'
import { quotaOf } from '../../../src/balancing/clients/client-records.ts'
import {
  admit,
  type ClientDemand,
  chargeAnyway,
  createClients,
  keysFor,
  putClient,
  putGroup,
  restoreCharge,
  undoCharge,
} from '../../../src/balancing/clients/clients.ts'
import { changeQuota, createQuota, quotaView } from '../../../src/balancing/clients/quota.ts'
import { clientId, groupId, keyId, leaseId } from '../../../src/balancing/ids.ts'
import type { QuotaCharge, QuotaOwner } from '../../../src/balancing/limits/quota-charge.ts'
import type { Settlement, Usage } from '../../../src/balancing/settlement.ts'
import { usageOf } from '../pool-driver.ts'
import { budgetOf, clientOf, groupOf } from './client-terms.ts'

const NOON = Date.UTC(2026, 0, 15, 12)
const HOUR = 3_600_000
const DAY_MS = 24 * HOUR
const APP = clientId('app')

const settlement = (more: Partial<Settlement> = {}): Settlement => ({
  ...{ leaseId: leaseId('l'), keyId: keyId('k'), outcome: 'success', benches: [], suspect: false },
  ...more,
})

/** `app` of `team`: both have limits of every kind. */
function twoOwners() {
  const limits = { rpm: 10, tpm: 1_000, rpd: 10, maxConcurrent: 10 }
  const clients = createClients(
    {
      clients: [
        clientOf({ id: 'app', group: 'team', ...limits, budgets: [budgetOf({ usd: 10 })] }),
      ],
      groups: [
        groupOf({ id: 'team', ...limits, budgets: [budgetOf({ usd: 100, period: 'month' })] }),
      ],
    },
    NOON,
  )
  const demand: ClientDemand = {
    ...{ clientId: APP, attempt: 'first', tokens: 100, bound: nanosOf(2), isFallback: false },
  }
  const charged = (nowMs = NOON): QuotaCharge => {
    const { charge } = chargeAnyway(clients, demand, nowMs)
    if (charge === null) throw new Error('no limits')
    return charge
  }
  /** In flight, requests of the minute and of the day, tokens; then USD spent, reserved and lost. */
  const taken = (owner: QuotaOwner, nowMs = NOON) => {
    const quota = quotaOf(clients, owner)
    if (quota === undefined) throw new Error(owner)
    const view = quotaView(quota, nowMs)
    const [budget] = view.budgets
    const { spentNanos = -1, reservedNanos = -1, lostNanos = -1 } = budget ?? {}
    const rates = [view.inFlight, view.requestsInMinute, view.requestsToday, view.tokensInMinute]
    return [...rates, ...[spentNanos, reservedNanos, lostNanos].map((nanos) => nanos / 1e9)]
  }
  const both = (nowMs = NOON) => {
    const [ofClient, ofGroup] = (['client:app', 'group:team'] as const).map((o) => taken(o, nowMs))
    expect(ofGroup).toEqual(ofClient)
    return ofClient
  }
  return { clients, demand, charged, both, taken }
}

describe('what an attempt has cost a budget', () => {
  const held = nanosOf(0.4)
  const estimated = (usd: number, tokens: number): Usage => ({
    ...usageOf(0, tokens, usd),
    estimated: true,
  })
  it.each<[string, Partial<Settlement>, number, Partial<BudgetTerms>?]>([
    ['its price', { usage: usageOf(1, 1, 0.1) }, 0.1],
    ['nothing, if its price is nothing', { usage: usageOf(1, 1, 0) }, 0],
    ['what it held, if it succeeded and nobody knows its cost', {}, 0.4],
    ['what it held, if nobody is to blame', { outcome: 'ignorable', fault: 'nobody' }, 0.4],
    ['nothing, if it failed', { outcome: 'failure', fault: 'upstream' }, 0],
    ['an estimate that has a price', { usage: estimated(0.3, 5) }, 0.3],
    ['what it held, if tokens were counted that have no price', { usage: estimated(0, 5) }, 0.4],
    ['nothing, if no token came', { usage: estimated(0, 0) }, 0],
    [
      'what a reservation would be, where none is made',
      { usage: estimated(0, 5) },
      0.7,
      { mode: 'after' },
    ],
    [
      'what the provider charged beside it, if that is to be counted',
      { usage: { ...usageOf(1, 1, 0.1), byokUsd: 0.2 } },
      0.3,
      { includeByok: true },
    ],
    [
      'and else not',
      { usage: { ...usageOf(1, 1, 0.1), byokUsd: 0.2 } },
      0.1,
      { includeByok: false },
    ],
  ])('%s', (_, told, usd, terms = {}) => {
    const budget = createBudget(budgetOf({ reserveUsd: 0.7, ...terms }), NOON)
    expect(costOf(budget, held, settlement(told))).toBe(nanosOf(usd))
  })
})

describe('a charge of a client and its group', () => {
  it('takes of each limit of both, and gives all back that was not used', () => {
    const { clients, charged, both } = twoOwners()
    const charge = charged()
    expect(both()).toEqual([1, 1, 1, 100, 0, 2, 0])
    undoCharge(clients, charge, NOON)
    expect(both()).toEqual([0, 0, 0, 0, 0, 0, 0])
  })

  it('is replaced by what was used, tokens too, more or less than reserved', () => {
    for (const [prompt, usd] of [
      [40, 0.5],
      [160, 3],
    ] as const) {
      const { clients, charged, both } = twoOwners()
      const told = settlement({ usage: usageOf(prompt, 0, usd) })
      const settled = settleCharge(clients, { charge: charged(), lostAtMs: null }, told, NOON)
      expect(both()).toEqual([0, 1, 1, prompt, usd, 0, 0])
      expect(settled.booked).toEqual([
        { owner: 'client:app', period: 'day', nanos: nanosOf(usd) },
        { owner: 'group:team', period: 'month', nanos: nanosOf(usd) },
      ])
    }
  })

  it('is lost with its lease, taken back by a late word, and booked once', () => {
    const { clients, charged, both } = twoOwners()
    const charge = charged()
    loseCharge(clients, { kind: 'running', charge }, NOON + 1)
    expect(both()).toEqual([0, 1, 1, 100, 0, 0, 2])
    const lost = { kind: 'running', charge, lostAtMs: NOON + 1 } as const
    retakeCharge(clients, lost, NOON + 2)
    expect(both()).toEqual([1, 1, 1, 100, 0, 2, 0])
    loseCharge(clients, { kind: 'running', charge }, NOON + 3)
    const ended = { charge, lostAtMs: NOON + 3 }
    settleCharge(clients, ended, settlement({ usage: usageOf(100, 0, 1) }), NOON + 4)
    expect(both()).toEqual([0, 1, 1, 100, 1, 0, 0])
  })

  it('that was held ahead gives its minute and its day back when it is lost', () => {
    const { clients, charged, both } = twoOwners()
    const charge = charged()
    loseCharge(clients, { kind: 'reserved', charge }, NOON)
    expect(both()).toEqual([0, 0, 0, 0, 0, 0, 2])
    findCharge(clients, { charge, lostAtMs: NOON })
    expect(both()).toEqual([0, 0, 0, 0, 0, 0, 0])
  })

  it('names the owners whose rows no longer say enough', () => {
    const { clients, charged } = twoOwners()
    const charge = charged()
    // The next day begins with a row that says nothing, and the month's row says enough.
    expect(loseCharge(clients, { kind: 'running', charge }, NOON + DAY_MS)).toEqual(['client:app'])
    const lost = { kind: 'running', charge, lostAtMs: NOON + DAY_MS } as const
    expect(retakeCharge(clients, lost, NOON + DAY_MS)).toEqual([])
    expect(retakeCharge(clients, lost, NOON + 2 * DAY_MS)).toEqual(['client:app'])
  })

  it('names who has passed a share of a budget, and its row is to be written', () => {
    const { clients, charged } = twoOwners()
    const ended = { charge: charged(), lostAtMs: null }
    for (const [usd, percents] of [
      [4, []],
      [4, [80]],
      [3, [100]],
    ] as const) {
      const told = settlement({ usage: usageOf(1, 1, usd) })
      const { passed, owners } = settleCharge(clients, ended, told, NOON)
      expect(passed.map(({ owner, percent }) => [owner, percent])).toEqual(
        percents.map((percent) => ['client:app', percent]),
      )
      if (percents.length > 0) expect(owners).toContain('client:app')
    }
  })

  it('comes back after a restart as what runs', () => {
    const { charged } = twoOwners()
    const charge = charged()
    const next = twoOwners()
    restoreCharge(next.clients, charge)
    expect(next.both()).toEqual([1, 0, 0, 0, 0, 2, 0])
  })

  it('that a crash has forgotten counts as lost, until its lease goes on or is settled', () => {
    for (const told of [null, { usage: usageOf(1, 1, 1) }, { unused: true } as const]) {
      const { clients, charged, both } = twoOwners()
      const charge = charged()
      loseCharge(clients, { kind: 'running', charge }, NOON)
      const forgotten = { ...charge, groupId: undefined, chargedAtMs: NOON }
      if (told === null) findForgotten(clients, forgotten)
      else settleForgotten(clients, forgotten, settlement(told), NOON)
      expect(both()?.slice(4)).toEqual([told?.usage?.costUsd ?? 0, 0, 0])
    }
  })

  it('of a client without any limit is none', () => {
    const clients = createClients({ clients: [clientOf({ id: 'app' })], groups: [] }, NOON)
    const demand = { ...twoOwners().demand }
    expect(chargeAnyway(clients, demand, NOON)).toEqual({ charge: null, mustWrite: false })
    expect(admit(clients, demand, NOON)).toEqual({
      ...{ kind: 'admitted', charge: null, mustWrite: false },
    })
  })

  it('asks for its rows to be written only where one says too little', () => {
    const { clients, demand } = twoOwners()
    const mustWrite = () => chargeAnyway(clients, demand, NOON).mustWrite
    expect([mustWrite(), mustWrite()]).toEqual([true, false])
    // The next day begins with a row that says nothing; the month's says enough.
    const next = twoOwners()
    undoCharge(next.clients, next.charged(), NOON)
    expect(chargeAnyway(next.clients, demand, NOON + DAY_MS).mustWrite).toBe(true)
  })
})

it('a request that is given back leaves the others of its minute and its day', () => {
  const { clients, charged, both } = twoOwners()
  const charge = charged()
  charged()
  undoCharge(clients, charge, NOON)
  expect(both()).toEqual([1, 1, 1, 100, 0, 2, 0])
})

describe('what an answer has really cost', () => {
  const holds = [
    { owner: 'client:app', period: 'day', nanos: nanosOf(1) },
    { owner: 'group:team', period: 'month', nanos: nanosOf(1) },
    // Of another period, and of nobody.
    { owner: 'client:app', period: 'week', nanos: nanosOf(1) },
    { owner: 'client:gone', period: 'day', nanos: nanosOf(1) },
  ] as const
  function corrected(usd: number, nowMs: number) {
    const owners = twoOwners()
    const { clients, charged } = owners
    const told = settlement({ usage: usageOf(1, 1, 1) })
    settleCharge(clients, { charge: charged(), lostAtMs: null }, told, NOON)
    const estimate = { holds, bookedAtMs: NOON }
    const settled = correctSpend(clients, estimate, usageOf(1, 1, usd), nowMs)
    return { ...owners, settled }
  }

  it('takes the place of its estimate in each budget, up or down', () => {
    for (const usd of [0.25, 3]) {
      const { both, settled } = corrected(usd, NOON + HOUR)
      expect(both(NOON + HOUR)?.[4]).toBe(usd)
      const difference = nanosOf(usd - 1)
      expect(settled.booked).toEqual([
        { owner: 'client:app', period: 'day', nanos: difference },
        { owner: 'group:team', period: 'month', nanos: difference },
      ])
    }
  })

  it('is left alone in a period that has ended since', () => {
    const { taken } = corrected(3, NOON + DAY_MS)
    expect(taken('client:app', NOON + DAY_MS)[4]).toBe(0)
    expect(taken('group:team', NOON + DAY_MS)[4]).toBe(3)
  })

  it('is left alone in a budget and of a client that were made since', () => {
    const { clients, taken } = twoOwners()
    const team = clients.groups.get(groupId('team'))
    const budgets = [budgetOf({ usd: 100, period: 'week' })]
    if (team !== undefined) {
      putGroup(clients, { ...team.terms, budgets }, team.source, NOON)
      const again = [...budgets, budgetOf({ usd: 100, period: 'month' })].toReversed()
      putGroup(clients, { ...team.terms, budgets: again }, team.source, NOON + 2)
    }
    clients.byId.clear()
    const made = { kind: 'minted', createdAtMs: NOON + 2 } as const
    const terms = clientOf({ id: 'app', budgets: [budgetOf()] })
    putClient(clients, terms, made, NOON + 2)
    correctSpend(clients, { holds, bookedAtMs: NOON + 1 }, usageOf(1, 1, 3), NOON + 3)
    expect(taken('client:app')[4]).toBe(0)
    expect(taken('group:team')[4]).toBe(0)
    // At the very moment it counts: an estimate may be of the step that made it.
    correctSpend(clients, { holds, bookedAtMs: NOON + 2 }, usageOf(1, 1, 3), NOON + 3)
    expect(taken('client:app')[4]).toBe(2)
    expect(taken('group:team')[4]).toBe(2)
  })
})

describe('other limits for a client', () => {
  it('leave what is used as it is, and begin at nothing where there was no limit', () => {
    const { clients, charged, taken } = twoOwners()
    charged()
    const team = quotaOf(clients, 'group:team')
    if (team === undefined) throw new Error('no team')
    const terms = { ...team.terms, rpm: 5, tpm: null }
    changeQuota(team, { ...terms, budgets: [budgetOf({ usd: 50, period: 'month' })] }, NOON)
    expect(team.rpm?.limit).toBe(5)
    expect(taken('group:team')).toEqual([1, 1, 1, null, 0, 2, 0])
    expect(quotaView(team, NOON).budgets).toMatchObject([{ limitNanos: 50e9, leftNanos: 48e9 }])
    changeQuota(team, { ...terms, tpm: 7, budgets: [budgetOf({ usd: 1, period: 'month' })] }, NOON)
    expect(taken('group:team')).toEqual([1, 1, 1, 0, 0, 2, 0])
    // It is lower than what runs: nothing is left, and not less.
    expect(quotaView(team, NOON).budgets).toMatchObject([{ leftNanos: 0 }])
    const week = budgetOf({ usd: 1, period: 'week' })
    changeQuota(team, { ...terms, budgets: [week] }, NOON + 5)
    expect(team.budgets).toMatchObject([{ terms: week, madeAtMs: NOON + 5, spentNanos: 0 }])
  })
})

describe('the keys of a client', () => {
  const ofTeam = [{ kind: 'tag', tag: 'team' }] as const
  const own = [{ kind: 'id', id: keyId('a') }] as const
  it.each([
    ['are all, if nobody names any', null, null, []],
    ['are those that it names', own, null, [own]],
    ['are those that its group names', null, ofTeam, [ofTeam]],
    ['are those that both name', own, ofTeam, [own, ofTeam]],
  ])('%s', (_, keys, groupKeys, lists) => {
    const terms = clientOf({ id: 'app', group: 'team', keys })
    const clients = createClients(
      {
        clients: [terms, clientOf({ id: 'loner' })],
        groups: [groupOf({ id: 'team', keys: groupKeys })],
      },
      NOON,
    )
    expect(keysFor(clients, APP)).toEqual(lists)
    for (const id of ['loner', 'nobody']) expect(keysFor(clients, clientId(id))).toEqual([])
  })
})

it('a quota of which nothing is limited takes nothing of a minute', () => {
  const quota = createQuota('client:app', clientOf({ id: 'app' }), NOON)
  expect(quotaView(quota, NOON)).toMatchObject({
    ...{ requestsInMinute: null, tokensInMinute: null, requestsToday: 0, inFlight: 0, budgets: [] },
  })
})
