import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { nanosOf } from '../../src/balancing/clients/budget.ts'
import type { ClientsOrder } from '../../src/balancing/clients/registry.ts'
import { clientId, groupId } from '../../src/balancing/ids.ts'
import type { Grant } from '../../src/balancing/lease-request.ts'
import { createPool } from '../../src/balancing/pool-state.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { PoolHost } from '../../src/key-pool/host.ts'
import { createStore, type RecordRow } from '../../src/key-pool/rows/record-store.ts'
import {
  budgetOf,
  type ClientSpec,
  clientOf,
  type GroupSpec,
  groupOf,
} from '../balancing/clients/client-terms.ts'
import { keyConfig, POLICY, routeConfig } from '../balancing/pool-driver.ts'
import { createInMemoryRows } from '../gateway/in-memory-rows.ts'
import { createVirtualTime } from '../gateway/virtual-time.ts'
import { ask, give, leaseRequestOf, NOTHING, newPool } from './object-driver.ts'

// What clients with budgets have spent outlives the object, and costs few rows.

const NOON = Date.UTC(2026, 0, 15, 12)
const DAY_MS = 24 * 3_600_000

interface Configured {
  readonly clients?: readonly ClientSpec[]
  readonly groups?: readonly GroupSpec[]
}

const TEAM: Configured = {
  clients: [{ id: 'a', group: 'team', budgets: [budgetOf({ usd: 10, period: 'month' })] }],
  groups: [{ id: 'team', budgets: [budgetOf({ usd: 20 })] }],
}

/** The object's host over rows that outlive it, on virtual time. */
function objects(configured: Configured = TEAM) {
  const time = createVirtualTime(NOON)
  const rows = createInMemoryRows()
  const written: string[] = []
  const counted = {
    ...rows,
    put: (row: RecordRow) => {
      written.push(`${row.kind} ${row.id}`)
      rows.put(row)
    },
  }
  let life = 0
  function live({ clients = [], groups = [] }: Configured = configured) {
    life += 1
    const own = life
    const config = {
      keys: [keyConfig({ id: 'alpha' })],
      clients: { clients: clients.map(clientOf), groups: groups.map(groupOf) },
      ...{ routes: [routeConfig({ models: ['*'] }, 'round-robin')] as const, policy: POLICY },
    }
    return new PoolHost(createPool(config, time.nowMs()), {
      nowMs: time.nowMs,
      // The timers of an object that is gone never fire.
      timer: (ms, callback) => time.timer(ms, () => own === life && callback()),
      random: () => 0.5,
      store: createStore(counted),
      ...{ sync: () => undefined, logBug: fail, logDrift: () => undefined },
      ...{
        logTransition: () => undefined,
        logAlert: () => undefined,
        logUndelivered: () => undefined,
        logDrift: () => undefined,
      },
    })
  }
  const budgets = () => written.filter((name) => name.startsWith('budget'))
  return { time, rows, live, written, budgets }
}

function fail(bug: unknown): never {
  throw bug
}

const SETTLED = { outcome: 'success', benches: [], suspect: false } as const
const COUNTS = { promptTokens: 1, completionTokens: 1, cachedTokens: 0, reasoningTokens: 0 }

function lease(host: PoolHost, boundUsd: number): Grant | null {
  const costNanos = nanosOf(boundUsd)
  const want = leaseRequestOf({ clientId: clientId('a'), costNanos })
  const [decision] = host.exchange({ ...NOTHING, wants: [want] }).decisions
  return decision?.kind === 'grant' ? decision : null
}

function leases(host: PoolHost, boundUsd: number): Grant[] {
  const grant = lease(host, boundUsd)
  return grant === null ? [] : [grant]
}

function settle(host: PoolHost, grant: Grant, costUsd: number): void {
  const { leaseId, keyId, model, grantedAtMs = 0, held } = grant
  const usage = { ...COUNTS, costUsd, estimated: false }
  const terms = { clientId: clientId('a'), model, grantedAtMs, tokens: 0 }
  const told = held === undefined ? terms : { ...terms, held }
  host.exchange({ ...NOTHING, settlements: [{ leaseId, keyId, ...SETTLED, usage, lease: told }] })
}

/** In USD: what is spent, reserved and lost of the client's budget and of its group's. */
function amounts(host: PoolHost): number[][] {
  return host.quotas(clientId('a')).map(({ budgets }) => {
    const [budget] = budgets
    if (budget === undefined) return []
    const { spentNanos, reservedNanos, lostNanos } = budget
    return [spentNanos, reservedNanos, lostNanos].map((nanos) => nanos / 1e9)
  })
}

const committed = (host: PoolHost) =>
  amounts(host).map((of) => of.reduce((sum, usd) => sum + nanosOf(usd), 0))

describe('a budget that an operator lowers below what is reserved', () => {
  const id = clientId('a')
  const budgetTo = (host: PoolHost, usd: number) => {
    const changes = { budgets: [budgetOf({ usd })] }
    host.manageClients({ order: { kind: 'change_client', id, changes }, by: 'me' })
  }

  it('lets what runs end and starts nothing, also after a crash, until there is room', () => {
    const { live } = objects({})
    let host = live()
    const terms = clientOf({ id: 'a', budgets: [budgetOf({ usd: 1 })] })
    host.manageClients({ order: { kind: 'make_client', terms, sha256: 'aa' }, by: 'me' })
    const open = [...leases(host, 0.4), ...leases(host, 0.4)]
    expect(open).toHaveLength(2)
    budgetTo(host, 0.5)
    expect(amounts(host)).toEqual([[0, 0.8, 0]])
    expect(lease(host, 0.01)).toBeNull()
    host = live()
    expect(committed(host)[0]).toBeGreaterThanOrEqual(nanosOf(0.8))
    expect(lease(host, 0.01)).toBeNull()
    for (const grant of open) settle(host, grant, 0.1)
    const [[spent = 0, reserved] = []] = amounts(host)
    expect([spent, reserved]).toEqual([0.2, 0])
    expect(leases(host, 0.3)).toHaveLength(1)
    expect(lease(host, 0.01)).toBeNull()
  })
})

describe('after a crash', () => {
  it('at any step, nothing counts less than it did, and settlements bring it down', async () => {
    const { time, live } = objects()
    let host = live()
    const open: Grant[] = []
    let costUsd = 0
    for (let i = 0; i < 60; i++) {
      open.push(...leases(host, 0.05))
      const ended = i % 3 > 0 ? open.splice(0, 1) : []
      for (const grant of ended) settle(host, grant, 0.01)
      costUsd += 0.01 * ended.length
      await time.advance((i * 397) % 2_000)
      const before = committed(host)
      if (i % 5 === 0) host = live()
      const least = nanosOf(costUsd + open.length * 0.01)
      const isLess = committed(host).some((nanos, at) => nanos < Math.max(before[at] ?? 0, least))
      expect(isLess).toBe(false)
    }
    const most = committed(host)[0] ?? 0
    for (const grant of open) settle(host, grant, 0.01)
    expect(committed(host)[0]).toBeLessThan(most)
  })

  it('what the row was ahead is bounded, and stays lost until an operator forgets it', async () => {
    const { time, live } = objects()
    let host = live()
    const open: Grant[] = []
    for (let i = 0; i < 200; i++) {
      open.push(...leases(host, 0.05))
      if (open.length > 4) for (const grant of open.splice(0, 1)) settle(host, grant, 0.01)
      await time.advance(100)
    }
    const running = open.length
    const spentUsd = (200 - running) * 0.01
    host = live()
    for (const grant of open) settle(host, grant, 0.01)
    const [spent = 0, reserved, lost = 0] = amounts(host)[0] ?? []
    expect(reserved).toBe(0)
    const uncounted = spent + lost - (spentUsd + running * 0.01)
    expect(uncounted).toBeGreaterThanOrEqual(0)
    // Twice of what five seconds had spent, and of what ran at once; and once more what was reserved.
    expect(uncounted).toBeLessThanOrEqual(2 * (50 * 0.01 + 5 * 0.05) + 5 * 0.05)
    await time.advance(60_000)
    expect(amounts(host)[0]?.[2]).toBe(lost)
    host.manageClients({
      ...{ order: { kind: 'reset_budget', owner: 'client:a', period: 'month' }, by: 'me' },
    })
    expect(amounts(host)[0]).toEqual([0, 0, 0])
  })

  it('a request that is begun goes on holding what it held', () => {
    const { live } = objects()
    const grant = lease(live(), 2)
    if (grant?.grantedAtMs === undefined) throw new Error('Refused')
    const host = live()
    const [before] = committed(host)
    const { leaseId, keyId, model, grantedAtMs, held } = grant
    const told = { leaseId, keyId, model, grantedAtMs, tokens: 0, leaseMs: 60_000 }
    const of = { isolate: 'isolate-1' as never, clientId: clientId('a'), conversation: null }
    const bound = { costNanos: nanosOf(2), ...(held === undefined ? {} : { held }) }
    host.exchange({ ...NOTHING, begins: [{ ...told, ...of, ...bound }] })
    expect(committed(host)[0]).toBe(before)
    expect(amounts(host)[0]?.[1]).toBe(2)
    settle(host, grant, 0.5)
    // The rest is what the row was ahead of the lease.
    expect(amounts(host)[0]).toEqual([0.5, 0, 2])
  })

  it('what was never used is not lost', () => {
    const { live } = objects()
    const grant = lease(live(), 2)
    if (grant === null) throw new Error('Refused')
    const host = live()
    const before = committed(host)
    const { leaseId, keyId, model, grantedAtMs = 0, held } = grant
    const terms = { clientId: clientId('a'), model, grantedAtMs, tokens: 0 }
    const told = { ...terms, ...(held === undefined ? {} : { held }) }
    const unused = { ...SETTLED, outcome: 'ignorable', unused: true, lease: told } as const
    host.exchange({ ...NOTHING, settlements: [{ leaseId, keyId, ...unused }] })
    expect(committed(host)).toEqual(before.map((nanos) => nanos - nanosOf(2)))
  })

  it('at the end of a period, what the new one has spent counts', async () => {
    const { time, live } = objects()
    let host = live()
    const spend = (usd: number) => {
      const grant = lease(host, usd)
      if (grant !== null) settle(host, grant, usd)
    }
    spend(5)
    await time.advance(DAY_MS / 2)
    spend(0.5)
    const before = committed(host)
    host = live()
    expect(committed(host)[1]).toBeGreaterThanOrEqual(before[1] ?? 0)
    expect(before[1]).toBe(nanosOf(0.5))
  })
})

describe('the rows', () => {
  it('are exact at rest, and then no more is written', async () => {
    const { time, live, written } = objects()
    const host = live()
    for (let i = 0; i < 20; i++) {
      const grant = lease(host, 0.05)
      if (grant !== null) settle(host, grant, 0.01)
    }
    await time.advance(30_000)
    const before = written.length
    await time.advance(600_000)
    expect(written).toHaveLength(before)
    expect(amounts(live())).toEqual([
      [0.2, 0, 0],
      [0.2, 0, 0],
    ])
  })

  it.each([
    ['steady', { everyMs: 50, running: 10 }],
    ['rare', { everyMs: 10_000, running: 0 }],
  ])('of a %s client are written at most once in five seconds', async (_, { everyMs, running }) => {
    const { time, live, budgets } = objects({
      clients: [{ id: 'a', budgets: [budgetOf({ usd: 1_000 })] }],
    })
    const host = live()
    const open: Grant[] = []
    const seconds = 120
    const requests = (seconds * 1_000) / everyMs
    for (let i = 0; i < requests; i++) {
      open.push(...leases(host, 0.05))
      const ended = open.splice(0, Math.max(0, open.length - running))
      for (const grant of ended) settle(host, grant, 0.001 + (i % 7) / 1_000)
      await time.advance(everyMs)
    }
    // Besides the first ones, while nothing is known of the client.
    expect(budgets().length).toBeLessThanOrEqual(seconds / 5 + 6)
  })

  it('of another release are read entry by entry', () => {
    const { rows, live } = objects({
      clients: [
        {
          id: 'a',
          budgets: [budgetOf({ usd: 10, period: 'total' }), budgetOf({ usd: 9, period: 'month' })],
        },
      ],
    })
    const known = { endsAtMs: null, spentNanos: nanosOf(3), committedNanos: nanosOf(4) }
    const record = JSON.stringify([
      { period: 'fortnight', endsAtMs: 7, spentNanos: 1, committedNanos: 1 },
      { period: 'total', ...known, later: true, toldPercent: 'half', increase: 'soon' },
      { period: 'month', endsAtMs: null, spentNanos: 'some', committedNanos: 5 },
    ])
    rows.put({ kind: 'budget', id: 'client:a', record })
    rows.put({ kind: 'budget', id: 'client:odd', record: 'no json' })
    expect(amounts(live())).toEqual([[3, 0, 1]])
  })

  it('of clients and groups that are gone are kept for 35 days', async () => {
    const { time, rows, live } = objects()
    const host = live()
    const grant = lease(host, 1)
    if (grant !== null) settle(host, grant, 1)
    await time.advance(30_000)
    const kept = () => rows.all().filter(({ kind }) => kind === 'budget').length
    live({})
    expect(kept()).toBe(2)
    await time.advance(34 * DAY_MS)
    live({})
    expect(kept()).toBe(2)
    // It has come back: what it has spent of its total is spent still.
    await time.advance(2 * DAY_MS)
    live({ groups: TEAM.groups ?? [] })
    expect(kept()).toBe(1)
    live({})
    expect(kept()).toBe(0)
  })
})

describe('what operators made', () => {
  beforeEach(
    () => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: NOON }),
  )
  afterEach(() => void vi.useRealTimers())

  const ENDS = { eviction: evictDurableObject, crash: abortAllDurableObjects } satisfies Record<
    string,
    (pool: DurableObjectStub<KeyPool>) => Promise<void>
  >

  it.each(['eviction', 'crash'] as const)('survives %s at any step', async (end) => {
    let pool = newPool()
    const team = groupOf({ id: 'team', rpm: 100, budgets: [budgetOf({ usd: 5 })] })
    const app = clientOf({ id: 'app', group: 'team', budgets: [budgetOf({ usd: 2 })] })
    const id = clientId('app')
    const owner = 'client:app'
    const untilMs = NOON + DAY_MS
    const orders: readonly ClientsOrder[] = [
      { kind: 'make_group', terms: team },
      { kind: 'make_client', terms: app, sha256: 'aa' },
      { kind: 'rotate', id, sha256: 'bb', graceMs: 60_000 },
      { kind: 'change_client', id, changes: { rpm: 7, budgets: [budgetOf({ usd: 3 })] } },
      { kind: 'increase_budget', owner, period: 'day', nanos: nanosOf(1), untilMs },
      { kind: 'change_group', id: groupId('team'), changes: { rpm: 50 } },
      { kind: 'reset_budget', owner, period: 'day' },
      { kind: 'make_group', terms: groupOf({ id: 'gone' }) },
      { kind: 'remove_group', id: groupId('gone') },
    ]
    // Restored by id, and listed before in the order in which they were made.
    const view = async () => {
      const reply = await pool.manageClients({ order: { kind: 'list' }, by: 'me' })
      if (reply.kind !== 'all') throw new Error(reply.kind)
      const byId = (one: { terms: { id: string } }, other: { terms: { id: string } }) =>
        one.terms.id.localeCompare(other.terms.id)
      return [reply.clients.toSorted(byId), reply.groups.toSorted(byId)]
    }
    for (const order of orders) {
      const reply = await pool.manageClients({ order, by: 'me' })
      expect(reply.kind).not.toBe('fault')
      const before = await view()
      const audit = await pool.audit()
      await ENDS[end](pool)
      pool = env.KEY_POOL.get(pool.id)
      expect(await view()).toEqual(before)
      expect(await pool.audit()).toEqual(audit)
    }
    expect(await pool.audit()).toHaveLength(orders.length)
    const names = await runInDurableObject(pool, (_, { storage }) =>
      storage.sql.exec("SELECT id FROM records WHERE kind = 'group'").toArray(),
    )
    expect(names.filter(({ id }) => id === 'gone')).toEqual([])
  })

  it.each(['eviction', 'crash'] as const)('its spend survives %s at any step', async (end) => {
    let pool = newPool()
    const terms = clientOf({ id: 'app', budgets: [budgetOf({ usd: 3, period: 'total' })] })
    await pool.manageClients({ order: { kind: 'make_client', terms, sha256: 'aa' }, by: 'me' })
    const wanted = { clientId: clientId('app'), costNanos: nanosOf(0.5) }
    let costUsd = 0
    for (let i = 0; i < 4; i++) {
      const decision = await ask(pool, wanted)
      if (decision.kind !== 'grant') break
      await ENDS[end](pool)
      pool = env.KEY_POOL.get(pool.id)
      const { model, grantedAtMs = 0, held } = decision
      const told = { clientId: clientId('app'), model, grantedAtMs, tokens: 0 }
      await give(pool, decision, {
        usage: { ...COUNTS, costUsd: 0.25, estimated: false },
        lease: { ...told, ...(held === undefined ? {} : { held }) },
      })
      costUsd += 0.25
      await ENDS[end](pool)
      pool = env.KEY_POOL.get(pool.id)
      const [budget] = (await pool.quotas(clientId('app')))[0]?.budgets ?? []
      const { spentNanos = 0, lostNanos = 0, reservedNanos = 0 } = budget ?? {}
      expect(spentNanos + lostNanos + reservedNanos).toBeGreaterThanOrEqual(nanosOf(costUsd))
    }
    expect(costUsd).toBeGreaterThan(0)
  })
})
