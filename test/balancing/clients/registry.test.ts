import { describe, expect, it } from 'vitest'
import { directory } from '../../../src/balancing/clients/caller.ts'
import { clientRecord, restoreClients } from '../../../src/balancing/clients/client-records.ts'
import {
  type Clients,
  type ClientTerms,
  createClients,
  type GroupTerms,
} from '../../../src/balancing/clients/clients.ts'
import {
  type ClientsOrder,
  carryOut,
  MAX_CLIENTS,
  type Touched,
} from '../../../src/balancing/clients/registry.ts'
import { clientId, groupId } from '../../../src/balancing/ids.ts'

const NOW = Date.UTC(2026, 10, 26)
const DAY_MS = 24 * 60 * 60_000

const UNLIMITED = {
  ...{ rpm: null, tpm: null, rpd: null, maxConcurrent: null, budgets: [] },
  ...{ models: null, keys: null, expiresAtMs: null },
}
const client = (id: string, changes: Partial<ClientTerms> = {}): ClientTerms => {
  return { id: clientId(id), groupId: null, ...UNLIMITED, ...changes }
}
const group = (id: string, changes: Partial<GroupTerms> = {}): GroupTerms => {
  return { id: groupId(id), ...UNLIMITED, ...changes }
}

const touched = (): Touched => ({ clients: new Set(), groups: new Set(), budgets: new Set() })

function registry(state: Clients = createClients({ clients: [], groups: [] }, NOW)) {
  const order = (what: ClientsOrder, nowMs = NOW) => carryOut(state, what, touched(), nowMs)
  const make = (terms: ClientTerms, sha256: string) => order({ kind: 'make_client', terms, sha256 })
  const rotate = (id: string, sha256: string, graceMs: number, nowMs = NOW) =>
    order({ kind: 'rotate', id: clientId(id), sha256, graceMs }, nowMs)
  const tokens = (id: string) =>
    state.byId.get(clientId(id))?.tokens.map(({ sha256, expiresAtMs }) => [sha256, expiresAtMs])
  return { state, order, make, rotate, tokens }
}

describe('the version of the clients', () => {
  it('rises with each change, and with nothing else', () => {
    const { state, order, make, rotate } = registry()
    const versions: number[] = []
    const note = () => void versions.push(state.version)
    note()
    order({ kind: 'make_group', terms: group('team') })
    note()
    make(client('a'), 'a1')
    note()
    rotate('a', 'a2', 0)
    note()
    order({ kind: 'change_client', id: clientId('a'), changes: { groupId: groupId('team') } })
    note()
    order({ kind: 'change_group', id: groupId('team'), changes: { expiresAtMs: NOW } })
    note()
    order({ kind: 'remove_client', id: clientId('a') })
    note()
    order({ kind: 'remove_group', id: groupId('team') })
    note()
    expect(versions).toEqual([...new Set(versions)].toSorted((a, b) => a - b))
    const last = state.version
    order({ kind: 'list' })
    order({ kind: 'remove_client', id: clientId('a') })
    rotate('nobody', 'x', 0)
    expect(state.version).toBe(last)
  })

  it('is higher after a restart, also when fewer clients are put back than there were', () => {
    const before = registry()
    const made = Array.from({ length: 2_000 }, (_, i) => client(`c${i}`))
    for (const [i, terms] of made.entries()) before.make(terms, `hash-${i}`)
    for (const { id } of made.slice(1)) before.order({ kind: 'remove_client', id })
    // A second later the object lives again, with the one client that is left.
    const after = createClients({ clients: [], groups: [] }, NOW + 1_000)
    const kept = clientRecord(before.state, clientId('c0'))
    restoreClients(after, { clients: kept === null ? [] : [kept], groups: [] }, NOW + 1_000)
    expect(after.byId.size).toBe(1)
    expect(after.version).toBeGreaterThan(before.state.version)
    expect(Number.isSafeInteger(after.version)).toBe(true)
  })
})

describe('a rotation', () => {
  it('leaves the token before for the time of grace, and never more than two', () => {
    const { make, rotate, tokens } = registry()
    make(client('a'), 'one')
    rotate('a', 'two', DAY_MS)
    expect(tokens('a')).toEqual([
      ['one', NOW + DAY_MS],
      ['two', null],
    ])
    rotate('a', 'three', 1_000, NOW + 5)
    expect(tokens('a')).toEqual([
      ['two', NOW + 1_005],
      ['three', null],
    ])
    rotate('a', 'four', 0)
    expect(tokens('a')).toEqual([['four', null]])
  })

  it('to a token that somebody has is refused', () => {
    const { make, rotate } = registry()
    make(client('a'), 'one')
    make(client('b'), 'two')
    expect(rotate('a', 'two', 0)).toEqual({ kind: 'fault', fault: 'same_token' })
    expect(make(client('c'), 'one')).toEqual({ kind: 'fault', fault: 'same_token' })
  })
})

describe('what the configuration holds', () => {
  const configured = () =>
    registry(
      createClients(
        { clients: [client('app', { groupId: groupId('team') })], groups: [group('team')] },
        NOW,
      ),
    )

  it('cannot be changed', () => {
    const { order, rotate, make } = configured()
    const fault = { kind: 'fault', fault: 'configured' }
    const [id, team] = [clientId('app'), groupId('team')]
    expect(order({ kind: 'change_client', id, changes: {} })).toEqual(fault)
    expect(order({ kind: 'remove_client', id })).toEqual(fault)
    expect(rotate('app', 'x', 0)).toEqual(fault)
    expect(order({ kind: 'change_group', id: team, changes: {} })).toEqual(fault)
    expect(order({ kind: 'remove_group', id: team })).toEqual(fault)
    expect(make(client('app'), 'x')).toEqual({ kind: 'fault', fault: 'exists' })
  })

  it('is not in the directory, and goes before what was made under the same name', () => {
    const { state, order } = configured()
    const record = {
      terms: client('app', { rpm: 1 }),
      tokens: [{ sha256: 'old', createdAtMs: NOW, expiresAtMs: null }],
      createdAtMs: NOW,
    }
    const groups = [{ terms: group('team', { rpm: 1 }), createdAtMs: NOW }]
    restoreClients(state, { clients: [record], groups }, NOW)
    expect(directory(state)).toEqual([])
    expect(state.byId.get(clientId('app'))?.terms.rpm).toBe(null)
    // It is shown, and the one that it shadows can be removed: else its token would be good again some day.
    const list = order({ kind: 'list' })
    expect(list).toMatchObject({
      clients: [{ source: { kind: 'configured' }, shadowsMade: true, tokens: [] }],
      groups: [{ shadowsMade: true }],
    })
    const id = clientId('app')
    expect(order({ kind: 'change_client', id, changes: {} })).toMatchObject({ fault: 'configured' })
    expect(order({ kind: 'remove_client', id })).toEqual({ kind: 'removed' })
    expect(order({ kind: 'remove_group', id: groupId('team') })).toEqual({ kind: 'removed' })
    expect(clientRecord(state, id)).toBeNull()
    expect(state.byId.get(id)?.shadowsMade).toBe(false)
    expect(order({ kind: 'remove_client', id })).toMatchObject({ fault: 'configured' })
  })
})

describe('a group', () => {
  it('with clients is not removed, and one that does not exist takes none', () => {
    const { order, make } = registry()
    order({ kind: 'make_group', terms: group('team') })
    make(client('a', { groupId: groupId('team') }), 'one')
    const fault = (of: string) => ({ kind: 'fault', fault: of })
    expect(order({ kind: 'remove_group', id: groupId('team') })).toEqual(fault('has_clients'))
    expect(make(client('b', { groupId: groupId('nope') }), 'two')).toEqual(fault('no_such_group'))
    const move = { kind: 'change_client', id: clientId('a'), changes: { groupId: groupId('nope') } }
    expect(order(move as ClientsOrder)).toEqual(fault('no_such_group'))
    order({ kind: 'change_client', id: clientId('a'), changes: { groupId: null } })
    expect(order({ kind: 'remove_group', id: groupId('team') })).toEqual({ kind: 'removed' })
  })

  it('that cannot be read keeps its clients out, and they can be moved or removed', () => {
    const { state, order } = registry()
    const record = {
      terms: client('a', { groupId: groupId('lost') }),
      tokens: [{ sha256: 'one', createdAtMs: NOW, expiresAtMs: null }],
      createdAtMs: NOW,
    }
    restoreClients(state, { clients: [record], groups: [] }, NOW)
    expect(directory(state)).toEqual([])
    order({ kind: 'change_client', id: clientId('a'), changes: { groupId: null } })
    expect(directory(state).map(({ caller }) => caller.id)).toEqual(['a'])
  })

  it('that ends ends its clients, the earlier end first', () => {
    const { state, order, make } = registry()
    order({ kind: 'make_group', terms: group('team', { expiresAtMs: NOW + 5 }) })
    make(client('a', { groupId: groupId('team'), expiresAtMs: NOW + 9 }), 'one')
    make(client('b', { groupId: groupId('team') }), 'two')
    expect(directory(state).map(({ caller }) => caller.expiresAtMs)).toEqual([NOW + 5, NOW + 5])
  })
})

it('a reset of a budget says whether the client or the budget is what there is not', () => {
  const { order, make } = registry()
  make(client('a'), 'one')
  const reset = (owner: 'client:a' | 'client:b' | 'group:b') =>
    order({ kind: 'reset_budget', owner, period: 'day' })
  expect(reset('client:a')).toEqual({ kind: 'fault', fault: 'unknown_budget' })
  expect(reset('client:b')).toEqual({ kind: 'fault', fault: 'unknown_client' })
  expect(reset('group:b')).toEqual({ kind: 'fault', fault: 'unknown_group' })
})

it('one client or group can be asked for without all the others', () => {
  const { order, make } = registry()
  make(client('a'), 'one')
  make(client('b'), 'two')
  const one = order({ kind: 'list', only: 'client:b' })
  expect(one.kind === 'all' && one.clients.map(({ terms }) => terms.id)).toEqual(['b'])
  const none = { kind: 'all', clients: [], groups: [] }
  expect(order({ kind: 'list', only: 'group:b' })).toEqual(none)
})

it('ten thousand clients are the most, and their directory fits into one reply', () => {
  const { state, make } = registry()
  const restored = Array.from({ length: MAX_CLIENTS - 1 }, (_, i) => ({
    terms: client(`client-number-${i}`, { models: ['openai/*', 'anthropic/*'], rpm: 60 }),
    tokens: [{ sha256: `${i}`.padStart(64, '0'), createdAtMs: NOW, expiresAtMs: null }],
    createdAtMs: NOW,
  }))
  restoreClients(state, { clients: restored, groups: [] }, NOW)
  expect(make(client('last'), 'f'.repeat(64)).kind).toBe('client')
  expect(make(client('too-many'), 'e'.repeat(64))).toEqual({ kind: 'fault', fault: 'too_many' })
  const bytes = JSON.stringify(directory(state)).length
  // The platform takes 32 MiB in a call.
  expect(bytes).toBeLessThan(4 * 1024 * 1024)
})
