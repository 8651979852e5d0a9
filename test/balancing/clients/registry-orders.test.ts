import { describe, expect, it } from 'vitest'
import {
  budgetRecords,
  clientRecord,
  groupRecord,
  type QuotaRecord,
  quotaOf,
  quotaRecords,
  restoreBudgets,
  restoreClients,
  restoreQuotas,
} from '../../../src/balancing/clients/client-records.ts'
import { createClients } from '../../../src/balancing/clients/clients.ts'
import { type Quota, quotaView, takeRates } from '../../../src/balancing/clients/quota.ts'
import {
  type ClientsOrder,
  carryOut,
  MAX_GROUPS,
  targetOf,
} from '../../../src/balancing/clients/registry.ts'
import { clientId, groupId } from '../../../src/balancing/ids.ts'
import type { QuotaOwner } from '../../../src/balancing/limits/quota-charge.ts'
import { budgetOf, clientOf, groupOf } from './client-terms.ts'

const NOW = Date.UTC(2026, 10, 26)
const [APP, TEAM] = [clientId('app'), groupId('team')]
const terms = clientOf({ id: 'app', budgets: [budgetOf({ usd: 10 })] })
const teamTerms = groupOf({ id: 'team', budgets: [budgetOf({ usd: 100, period: 'month' })] })

/** Carries orders out, and tells the answer with the rows that have to be written for it. */
function registry() {
  const state = createClients(
    { clients: [clientOf({ id: 'configured' })], groups: [groupOf({ id: 'house' })] },
    NOW,
  )
  const order = (what: ClientsOrder) => {
    const touched = {
      ...{ clients: new Set<never>(), groups: new Set<never>(), budgets: new Set<never>() },
    }
    const reply = carryOut(state, what, touched, NOW)
    return {
      reply,
      rows: [touched.clients, touched.groups, touched.budgets].map((ids) => [...ids]),
    }
  }
  const makeClient = (changes = {}, sha256 = 'one') =>
    order({ kind: 'make_client', terms: { ...terms, ...changes }, sha256 })
  const makeTeam = () => order({ kind: 'make_group', terms: teamTerms })
  return { state, order, makeClient, makeTeam }
}

const REMOVED = { kind: 'removed' }
const fault = (of: string) => ({ kind: 'fault', fault: of })

describe('each order names the rows that have to be written for it', () => {
  it('of a client', () => {
    const { order, makeClient } = registry()
    const token = { sha256: 'one', createdAtMs: NOW, expiresAtMs: null }
    expect(makeClient()).toMatchObject({
      reply: {
        kind: 'client',
        client: { terms, tokens: [token], source: { kind: 'minted', createdAtMs: NOW } },
      },
      rows: [['app'], [], []],
    })
    expect(order({ kind: 'change_client', id: APP, changes: { maxConcurrent: 3 } })).toMatchObject({
      reply: { kind: 'client', client: { terms: { ...terms, maxConcurrent: 3 } } },
      rows: [['app'], [], ['client:app']],
    })
    expect(order({ kind: 'rotate', id: APP, sha256: 'two', graceMs: 0 })).toMatchObject({
      reply: { kind: 'client', client: { tokens: [{ sha256: 'two' }] } },
      rows: [['app'], [], []],
    })
    expect(order({ kind: 'remove_client', id: APP })).toEqual({
      reply: REMOVED,
      rows: [['app'], [], ['client:app']],
    })
  })

  it('of a group', () => {
    const { order, makeTeam } = registry()
    expect(makeTeam()).toMatchObject({
      reply: { kind: 'group', group: { terms: teamTerms, source: { createdAtMs: NOW } } },
      rows: [[], ['team'], []],
    })
    expect(order({ kind: 'change_group', id: TEAM, changes: { rpm: 5 } })).toMatchObject({
      reply: { kind: 'group', group: { terms: { rpm: 5 } } },
      rows: [[], ['team'], ['group:team']],
    })
    expect(order({ kind: 'remove_group', id: TEAM })).toEqual({
      reply: REMOVED,
      rows: [[], ['team'], ['group:team']],
    })
  })

  it('of a budget', () => {
    const { state, order, makeClient } = registry()
    makeClient()
    const budget = state.byId.get(APP)?.quota.budgets[0]
    if (budget !== undefined) budget.spentNanos = 4e9
    const of = { owner: 'client:app', period: 'day' } as const
    const more = { nanos: 5e9, untilMs: NOW + 1_000 }
    expect(order({ kind: 'increase_budget', ...of, ...more })).toMatchObject({
      reply: {
        kind: 'budgets',
        used: { owner: 'client:app', budgets: [{ limitNanos: 15e9, leftNanos: 11e9 }] },
      },
      rows: [[], [], ['client:app']],
    })
    expect(order({ kind: 'reset_budget', ...of })).toMatchObject({
      reply: { used: { budgets: [{ spentNanos: 0, limitNanos: 15e9, increase: more }] } },
      rows: [[], [], ['client:app']],
    })
  })
})

describe('an order that is not carried out touches no row', () => {
  const budgetOrder = (owner: QuotaOwner, period: 'day' | 'month') =>
    ({ kind: 'reset_budget', owner, period }) as const
  it.each<[string, ClientsOrder, string]>([
    ['a client that is there', { kind: 'make_client', terms, sha256: 'x' }, 'exists'],
    [
      'a client under a token that is taken, beside others of its owner',
      { kind: 'make_client', terms: clientOf({ id: 'new' }), sha256: 'first' },
      'same_token',
    ],
    [
      'a client of a group that is not there',
      { kind: 'make_client', terms: clientOf({ id: 'new', group: 'x' }), sha256: 'x' },
      'no_such_group',
    ],
    [
      'a rotation of nobody',
      { kind: 'rotate', id: clientId('x'), sha256: 'x', graceMs: 0 },
      'unknown_client',
    ],
    ['a group that is there', { kind: 'make_group', terms: teamTerms }, 'exists'],
    ['a removal of no group', { kind: 'remove_group', id: groupId('x') }, 'unknown_group'],
    ['a configured group', { kind: 'remove_group', id: groupId('house') }, 'configured'],
    [
      'a change of a configured group',
      { kind: 'change_group', id: groupId('house'), changes: { rpm: 1 } },
      'configured',
    ],
    ['a group with clients', { kind: 'remove_group', id: TEAM }, 'has_clients'],
    ['a budget of no client', budgetOrder('client:x', 'day'), 'unknown_client'],
    ['a budget of no group', budgetOrder('group:x', 'day'), 'unknown_group'],
    ['a budget of another period', budgetOrder('client:app', 'month'), 'unknown_budget'],
  ])('%s', (_, what, of) => {
    const { order, makeClient, makeTeam } = registry()
    makeTeam()
    makeClient({ groupId: TEAM }, 'first')
    order({ kind: 'rotate', id: APP, sha256: 'second', graceMs: 1_000 })
    expect(order(what)).toEqual({ reply: fault(of), rows: [[], [], []] })
  })

  it('a group more than there may be', () => {
    const { order } = registry()
    for (let i = 1; i < MAX_GROUPS; i++) {
      order({ kind: 'make_group', terms: groupOf({ id: `g${i}` }) })
    }
    expect(order({ kind: 'make_group', terms: teamTerms }).reply).toEqual(fault('too_many'))
  })
})

describe('a list', () => {
  function listed() {
    const { order, makeClient } = registry()
    for (const id of ['c', 'a', 'b']) makeClient({ id: clientId(id) }, id)
    for (const id of ['z', 'y']) order({ kind: 'make_group', terms: groupOf({ id }) })
    return (what: Omit<Extract<ClientsOrder, { kind: 'list' }>, 'kind'>) => {
      const { reply } = order({ kind: 'list', ...what })
      if (reply.kind !== 'all') throw new Error(reply.kind)
      const idsOf = (all: readonly { readonly terms: { readonly id: string } }[]) =>
        all.map((one) => one.terms.id).join(' ')
      return [idsOf(reply.clients), idsOf(reply.groups), reply.hasMore]
    }
  }

  it('without a page is of all, and says nothing of more', () => {
    expect(listed()({})).toEqual(['configured c a b', 'house z y', undefined])
  })

  it('in pages is in the order of ids, and tells whether there are more', () => {
    const list = listed()
    const page = (of: 'clients' | 'groups', after: string | null, limit = 2) =>
      list({ page: { of, after, limit } })
    expect(page('clients', null)).toEqual(['a b', '', true])
    expect(page('clients', 'b')).toEqual(['c configured', '', false])
    expect(page('clients', 'bb')).toEqual(['c configured', '', false])
    expect(page('clients', null, 4)).toEqual(['a b c configured', '', false])
    expect(page('groups', null)).toEqual(['', 'house y', true])
    expect(page('groups', 'y')).toEqual(['', 'z', false])
  })

  it('of one client or group is of that alone', () => {
    const list = listed()
    expect(list({ only: 'client:a' })).toEqual(['a', '', undefined])
    expect(list({ only: 'group:z' })).toEqual(['', 'z', undefined])
  })
})

it('the audit names the client, the group or the budget of an order', () => {
  const changed = { changes: {} }
  const money = { owner: 'group:team', period: 'month' } as const
  const orders: readonly Exclude<ClientsOrder, { kind: 'list' }>[] = [
    { kind: 'make_client', terms, sha256: 'x' },
    { kind: 'change_client', id: APP, ...changed },
    { kind: 'remove_client', id: APP },
    { kind: 'rotate', id: APP, sha256: 'x', graceMs: 0 },
    { kind: 'make_group', terms: teamTerms },
    { kind: 'change_group', id: TEAM, ...changed },
    { kind: 'remove_group', id: TEAM },
    { kind: 'reset_budget', ...money },
    { kind: 'increase_budget', ...money, nanos: 1, untilMs: 1 },
  ]
  expect(orders.map(targetOf)).toEqual([
    ...Array(4).fill('client:app'),
    ...Array(3).fill('group:team'),
    ...Array(2).fill('group:team month'),
  ])
})

describe('what is stored of clients and groups', () => {
  it('is of those that were made at run time, and of nobody else', () => {
    const { state, makeClient, makeTeam } = registry()
    makeClient()
    makeTeam()
    expect(clientRecord(state, APP)).toMatchObject({ terms, createdAtMs: NOW })
    expect(groupRecord(state, TEAM)).toEqual({ terms: teamTerms, createdAtMs: NOW })
    for (const id of ['configured', 'nobody']) expect(clientRecord(state, clientId(id))).toBeNull()
    for (const id of ['house', 'nobody']) expect(groupRecord(state, groupId(id))).toBeNull()
    expect(budgetRecords(state, 'client:nobody')).toBeNull()
    expect(budgetRecords(state, 'group:team')).toMatchObject([{ period: 'month' }])
  })

  it('comes back with its tokens and with what it has spent', () => {
    const before = registry()
    before.makeTeam()
    before.makeClient({ groupId: TEAM })
    for (const owner of ['client:app', 'group:team'] as const) {
      const budget = quotaOf(before.state, owner)?.budgets[0]
      if (budget !== undefined) budget.spentNanos = 7
    }
    const kept = clientRecord(before.state, APP)
    const team = groupRecord(before.state, TEAM)
    const budgets = (['client:app', 'group:team', 'client:gone'] as const).map(
      (owner) => [owner, budgetRecords(before.state, owner) ?? []] as const,
    )
    const { state } = registry()
    restoreClients(
      state,
      { clients: kept === null ? [] : [kept], groups: team === null ? [] : [team] },
      NOW + 5,
    )
    restoreBudgets(state, new Map(budgets), NOW + 5)
    expect(clientRecord(state, APP)).toEqual(kept)
    expect(groupRecord(state, TEAM)).toEqual(team)
    for (const owner of ['client:app', 'group:team'] as const) {
      expect(quotaOf(state, owner)?.budgets).toMatchObject([{ spentNanos: 7 }])
    }
  })

  it('of a minute and a day is of those that have used something, and comes back as it was', () => {
    const limits = { rpm: 5, tpm: 100, rpd: 9 }
    const created = () =>
      createClients(
        {
          clients: ['used', 'idle', 'today'].map((id) => clientOf({ id, ...limits })),
          groups: [groupOf({ id: 'free' })],
        },
        NOW,
      )
    const before = created()
    const use = (owner: QuotaOwner, nowMs: number, requests: 0 | 1, tokens: number) => {
      const quota = quotaOf(before, owner)
      if (quota !== undefined) takeRates(quota, { requests, tokens }, nowMs)
    }
    use('client:used', NOW, 1, 40)
    use('client:today', NOW - 120_000, 1, 0)
    use('group:free', NOW, 1, 1)
    const slotsOf = (meter: Quota['rpm']) => [...(meter?.window.slots ?? [])]
    const records = quotaRecords(before, slotsOf, NOW)
    expect(records.map(({ owner, requestsToday }) => [owner, requestsToday])).toEqual([
      ['client:used', 1],
      ['client:today', 1],
    ])
    expect(records[0]).toMatchObject({ dayEndsAtMs: NOW + 86_400_000 })
    // What has left the minute is not written.
    expect([records[1]?.rpm, records[1]?.tpm]).toEqual([[], []])
    const after = created()
    restoreQuotas(after, [...records, { ...(records[0] as QuotaRecord), owner: 'client:gone' }])
    for (const owner of ['client:used', 'client:idle', 'client:today'] as const) {
      const [old, restored] = [quotaOf(before, owner), quotaOf(after, owner)]
      if (old === undefined || restored === undefined) throw new Error(owner)
      expect(quotaView(restored, NOW)).toEqual(quotaView(old, NOW))
    }
    // A client that has no limit any more takes none back.
    const unlimited = createClients({ clients: [clientOf({ id: 'used' })], groups: [] }, NOW)
    restoreQuotas(unlimited, records)
    expect(quotaOf(unlimited, 'client:used')).toMatchObject({ rpm: null, tpm: null })
  })

  it('under a name that the configuration has since taken is only remembered, until it is removed', () => {
    const { state, order } = registry()
    const id = clientId('configured')
    const made = { terms: clientOf({ id: 'configured', maxConcurrent: 1 }), tokens: [] }
    const house = { terms: groupOf({ id: 'house', rpm: 1 }), createdAtMs: 1 }
    restoreClients(state, { clients: [{ ...made, createdAtMs: 1 }], groups: [house] }, NOW)
    expect(state.byId.get(id)).toMatchObject({ terms: { maxConcurrent: null }, shadowsMade: true })
    expect(state.groups.get(groupId('house'))).toMatchObject({ terms: { rpm: null } })
    expect(order({ kind: 'remove_client', id })).toEqual({
      reply: REMOVED,
      rows: [['configured'], [], []],
    })
    expect(order({ kind: 'remove_group', id: groupId('house') })).toEqual({
      reply: REMOVED,
      rows: [[], ['house'], []],
    })
    expect(order({ kind: 'remove_client', id }).reply).toEqual(fault('configured'))
    expect(order({ kind: 'remove_group', id: groupId('house') }).reply).toEqual(fault('configured'))
  })
})
