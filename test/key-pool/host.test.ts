import { runInDurableObject } from 'cloudflare:test'
import { describe, expect, it } from 'vitest'
import { isolateId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { Grant } from '../../src/balancing/lease-request.ts'
import { createPool, type PoolConfig, type PoolPolicy } from '../../src/balancing/pool-state.ts'
import { checkpoint } from '../../src/balancing/records/checkpoint.ts'
import type { BenchOrder, Settlement } from '../../src/balancing/settlement.ts'
import { PoolHost } from '../../src/key-pool/host.ts'
import type { HostPorts } from '../../src/key-pool/host-ports.ts'
import { createStore, type RecordRows } from '../../src/key-pool/rows/record-store.ts'
import { createSqlRows } from '../../src/key-pool/rows/sql-rows.ts'
import { type KeySpec, keyConfig, POLICY, routeConfig } from '../balancing/pool-driver.ts'
import { createInMemoryRows } from '../gateway/in-memory-rows.ts'
import { createVirtualTime } from '../gateway/virtual-time.ts'
import { keyReportOf, leaseRequestOf, NOTHING, newPool } from './object-driver.ts'

const START_MS = Date.UTC(2026, 0, 15, 12)

function configOf(keys: readonly KeySpec[], policy: Partial<PoolPolicy>): PoolConfig {
  return {
    keys: keys.map(keyConfig),
    clients: { clients: [], groups: [] },
    routes: [routeConfig({ models: ['*'] }, 'round-robin')],
    policy: { ...POLICY, ...policy },
  }
}

/** A host on virtual time. */
function hostOf(
  keys: readonly KeySpec[],
  changes: Partial<HostPorts> = {},
  rows?: RecordRows,
  policy: Partial<PoolPolicy> = {},
) {
  const time = createVirtualTime(START_MS)
  const kept = createInMemoryRows()
  const bugs: unknown[] = []
  const running: Grant[] = []
  let syncs = 0
  const state = createPool(configOf(keys, policy), time.nowMs())
  const host = new PoolHost(state, {
    nowMs: time.nowMs,
    timer: time.timer,
    random: () => 0.5,
    store: createStore(rows ?? kept),
    sync: () => {
      syncs += 1
    },
    logBug: (bug) => void bugs.push(bug),
    logTransition: () => undefined,
    logAlert: () => undefined,
    logUndelivered: () => undefined,
    logDrift: () => undefined,
    ...changes,
  })
  const reportOf = (id: string, given: Parameters<typeof keyReportOf>[1] = {}) =>
    keyReportOf(id, { askedAtMs: time.nowMs(), ...given })
  return { time, rows: kept, bugs, running, state, host, reportOf, syncs: () => syncs }
}

type Hosted = ReturnType<typeof hostOf>

const KEYS = ['a', 'b', 'c'].map((id) => ({ id, account: `account-${id}` }))

function settlementOf(lease: string, key: string, changes: Partial<Settlement> = {}): Settlement {
  const told = { outcome: 'success', benches: [], suspect: false } as const
  return { leaseId: leaseId(lease), keyId: keyId(key), ...told, ...changes }
}

const USAGE = {
  promptTokens: 10,
  completionTokens: 5,
  cachedTokens: 0,
  reasoningTokens: 0,
  costUsd: 0.01,
  estimated: false,
}

/** One request begins, and the one before it ends: a lease is always out. */
function request(hosted: Hosted, n: number): void {
  const { host, running } = hosted
  const want = leaseRequestOf({ models: [modelId(`vendor/model-${n % 7}`)], tokens: 10 })
  const told = { usage: USAGE, generationId: `gen-${n}` }
  const settlements = running
    .splice(0)
    .map(({ leaseId: id, keyId: key }) => settlementOf(id, key, told))
  const [decision] = host.exchange({ ...NOTHING, wants: [want], settlements }).decisions
  if (decision?.kind !== 'grant') throw new Error('Refused')
  running.push(decision)
}

/** Requests at a steady pace. Returns how many rows were written, five seconds at a time. */
async function rowsUnderLoad(hosted: Hosted, everyMs: number, forMs: number): Promise<number[]> {
  const counts: number[] = []
  for (let ms = 0; ms < forMs; ms += 5_000) {
    const before = hosted.rows.written()
    for (let passed = 0; passed < 5_000; passed += everyMs) {
      request(hosted, ms + passed)
      await hosted.time.advance(everyMs)
    }
    counts.push(hosted.rows.written() - before)
  }
  return counts
}

describe('what it writes', () => {
  const LIMITED = KEYS.map((key) => ({ ...key, rpm: 100_000, tpm: 10_000_000 }))

  it.each([
    ['ten requests a second', 100],
    ['one request in two seconds', 2_500],
  ])('under %s are three rows in five seconds', async (_, everyMs) => {
    const hosted = hostOf(LIMITED)
    const [first, second, ...steady] = await rowsUnderLoad(hosted, everyMs, 60_000)
    // The mark that the checkpoint is outdated comes and goes.
    expect(Math.max(first ?? 9, second ?? 9)).toBeLessThanOrEqual(5)
    expect(steady).toEqual(steady.map(() => 3))
  })

  it('at rest is nothing, and no timer is left', async () => {
    const hosted = hostOf(LIMITED)
    await rowsUnderLoad(hosted, 500, 20_000)
    await hosted.time.advance(10_000)
    const written = hosted.rows.written()
    expect(hosted.time.openTimers()).toBe(0)
    for (let minute = 0; minute < 60; minute++) {
      await hosted.time.advance(60_000)
      hosted.host.health()
      hosted.host.snapshot()
      expect(hosted.host.duties({ max: 30 }).lookups).toEqual([])
    }
    expect(hosted.rows.written()).toBe(written)
    expect(hosted.time.openTimers()).toBe(0)
  })

  it('is all there after the last request, however long the pool was busy', async () => {
    for (const forMs of [10_000, 15_000, 20_000]) {
      const hosted = hostOf(LIMITED)
      await rowsUnderLoad(hosted, 500, forMs)
      expect(hosted.rows.isOutdated()).toBe(true)
      await hosted.time.advance(10_000)
      expect(hosted.rows.isOutdated()).toBe(false)
      const again = hostOf(LIMITED, { nowMs: hosted.time.nowMs }, hosted.rows)
      const nowMs = hosted.time.nowMs()
      const { counters, ...parts } = checkpoint(again.state, nowMs)
      const { counters: saved, ...before } = checkpoint(hosted.state, nowMs)
      expect(parts).toEqual(before)
      expect(counters.byKey).toEqual(saved.byKey)
      expect(counters.byClient).toEqual(saved.byClient)
    }
  })

  it('waits for the disk after each checkpoint, and a single request keeps it awake for one', async () => {
    const hosted = hostOf(KEYS)
    request(hosted, 1)
    await hosted.time.advance(5_000)
    expect(hosted.syncs()).toBe(1)
    expect(hosted.time.openTimers()).toBe(0)
  })

  it('costs one row for each record in SQLite, whether it is new or written again', async () => {
    await runInDurableObject(newPool(), (_, { storage }) => {
      const rows = createSqlRows(storage)
      rows.put({ kind: 'key', id: 'a', record: '1' })
      const insert = 'INSERT OR REPLACE INTO records (kind, id, record) VALUES (?, ?, ?)'
      expect(storage.sql.exec(insert, 'key', 'a', '2').rowsWritten).toBe(1)
      expect(rows.all()).toEqual([{ kind: 'key', id: 'a', record: '2' }])
    })
  })
})

describe('a pool of a thousand keys', () => {
  const MANY = Array.from({ length: 1_000 }, (_, i) => ({
    id: `key-${i}`,
    rpm: 1_000,
    tpm: 1_000_000,
  }))

  it('comes up with all that was known of it', async () => {
    const hosted = hostOf(MANY)
    const owner = (i: number) => `org-${i % 300}` as never
    const lookups = MANY.map(({ id }, i) =>
      hosted.reportOf(id, { limitUsd: 100, remainingUsd: 50, owner: owner(i) }),
    )
    hosted.host.exchange({ ...NOTHING, lookups })
    for (let n = 0; n < 3_000; n++) request(hosted, n)
    const failures = MANY.slice(0, 100).map(({ id }, i) =>
      settlementOf(`lost-${i}`, id, {
        outcome: 'failure',
        fault: 'upstream',
        lease: {
          clientId: 'c' as never,
          model: modelId(`m-${i}`),
          grantedAtMs: START_MS,
          tokens: 0,
        },
      }),
    )
    hosted.host.exchange({ ...NOTHING, settlements: failures })
    await hosted.time.advance(10_000)
    const known = hosted.host.snapshot()
    const again = hostOf(MANY, { nowMs: hosted.time.nowMs }, hosted.rows)
    expect(again.host.snapshot().keys).toEqual(known.keys.map(withoutLatency))
  })

  it('writes no more rows than a small one', async () => {
    const hosted = hostOf(MANY)
    hosted.host.exchange({ ...NOTHING, lookups: MANY.map(({ id }) => hosted.reportOf(id)) })
    const [, , ...steady] = await rowsUnderLoad(hosted, 50, 30_000)
    expect(Math.max(...steady)).toBeLessThanOrEqual(3)
  })
})

const withoutLatency = <T extends { latencyMs: number | null }>(key: T) => ({
  ...key,
  latencyMs: null,
})

describe('a bug', () => {
  it('in one item costs that item: the transitions of the others are written', () => {
    let isBroken = false
    const random = () => {
      if (isBroken) throw new Error('A bug')
      return 0.5
    }
    const hosted = hostOf(KEYS, { random })
    const wants = Array.from({ length: 12 }, () => leaseRequestOf())
    const { decisions } = hosted.host.exchange({ ...NOTHING, wants })
    const leases = decisions.flatMap((one) =>
      one.kind === 'grant' && one.keyId === 'a' ? [one.leaseId] : [],
    )
    const failure = { outcome: 'failure', fault: 'upstream' } as const
    const term = { kind: 'for', forMs: 1_000 } as const
    const guess: BenchOrder = { scope: 'key', reason: 'account_rate_limited', term }
    isBroken = true
    const reply = hosted.host.exchange({
      ...NOTHING,
      settlements: [
        settlementOf('of b', 'b', { benches: [guess], lease: TERMS }),
        ...leases.map((lease) => settlementOf(lease, 'a', failure)),
      ],
      wants: [leaseRequestOf(), leaseRequestOf()],
    })
    expect(hosted.bugs.length).toBeGreaterThan(0)
    expect(reply.decisions).toHaveLength(2)
    expect(hosted.rows.all().map(({ kind, id }) => `${kind} ${id}`)).toContain('key a')
  })
})

const TERMS = {
  clientId: 'c' as never,
  model: modelId('vendor/model'),
  grantedAtMs: START_MS,
  tokens: 0,
}

describe('health', () => {
  it('is that of the snapshot, at most a second old, and at once after a bench', async () => {
    const hosted = hostOf(KEYS)
    expect(hosted.host.health()).toEqual({ version: 1, usableKeys: 3 })
    const term = { kind: 'until', untilMs: START_MS + 30_000 } as const
    const bench: BenchOrder = { scope: 'key', reason: 'account_rate_limited', term }
    const settlements = [settlementOf('x', 'a', { benches: [bench], lease: TERMS })]
    expect(hosted.host.exchange({ ...NOTHING, settlements }).usableKeys).toBe(2)
    expect(hosted.host.snapshot().usable).toBe(2)
    await hosted.time.advance(31_000)
    expect(hosted.host.health().usableKeys).toBe(3)
  })
})

describe('the duties at rest', () => {
  const handed = ({ host }: Hosted, max = 30) =>
    host.duties({ max }).lookups.map(({ keyId: id }) => id)

  /** A pool whose keys were all looked up and found well, and whose duties are all due again. */
  async function rested(keys: readonly KeySpec[] = KEYS): Promise<Hosted> {
    const hosted = hostOf(keys)
    const lookups = keys.map(({ id }) => hosted.reportOf(id))
    hosted.host.exchange({ ...NOTHING, lookups })
    await hosted.time.advance(120_000)
    return hosted
  }

  function bench({ host }: Hosted, key: string, order: Omit<BenchOrder, 'term'>): void {
    const term = { kind: 'lookup', lapseMs: null } as const
    const benches = [{ ...order, term }]
    const settlements = [settlementOf(`of ${key}`, key, { benches, lease: TERMS })]
    host.exchange({ ...NOTHING, settlements, takesNoDuties: true })
  }

  const SPENT = { scope: 'key', reason: 'key_spent' } as const

  it('are none while every key is well, however long ago the lookups were', async () => {
    const hosted = await rested()
    expect(handed(hosted)).toEqual([])
    expect(hosted.host.exchange(NOTHING).lookups).toHaveLength(3)
  })

  it('are those of a key that is spent, once in each refresh_s, until it is well', async () => {
    const hosted = await rested()
    bench(hosted, 'b', SPENT)
    for (let i = 0; i < 5; i++) {
      expect(handed(hosted)).toEqual(['b'])
      expect(handed(hosted)).toEqual([])
      const lookups = [hosted.reportOf('b', { limitUsd: 5, remainingUsd: 0 })]
      hosted.host.exchange({ ...NOTHING, lookups, takesNoDuties: true })
      await hosted.time.advance(59_000)
      expect(handed(hosted)).toEqual([])
      await hosted.time.advance(8_000)
    }
    handed(hosted)
    const lookups = [hosted.reportOf('b', { limitUsd: 50, remainingUsd: 45 })]
    const { usableKeys } = hosted.host.exchange({ ...NOTHING, lookups, takesNoDuties: true })
    expect(usableKeys).toBe(3)
    await hosted.time.advance(600_000)
    expect(handed(hosted)).toEqual([])
  })

  it('are those of a key whose cap is near', async () => {
    const hosted = await rested()
    const lookups = [hosted.reportOf('c', { limitUsd: 5, remainingUsd: 0.5 })]
    hosted.host.exchange({ ...NOTHING, lookups })
    await hosted.time.advance(120_000)
    expect(handed(hosted)).toEqual(['c'])
  })

  it('are those of every key of an account without credit, and ask for its balance', async () => {
    const two = [...KEYS, { id: 'd', account: 'account-a' }]
    const hosted = await rested(two)
    bench(hosted, 'a', { scope: 'account', reason: 'account_out_of_credit' })
    const { lookups } = hosted.host.duties({ max: 30 })
    expect(lookups.map(({ keyId: id, withBalance }) => [id, withBalance])).toEqual([
      ['a', true],
      ['d', true],
    ])
  })

  it('of an account without credit are due every five minutes, however long refresh_s is', async () => {
    const hosted = hostOf(KEYS, {}, undefined, {
      credit: { refreshMs: 3_600_000, thresholdUsd: 1 },
    })
    hosted.host.exchange({ ...NOTHING, lookups: KEYS.map(({ id }) => hosted.reportOf(id)) })
    bench(hosted, 'a', { scope: 'account', reason: 'account_out_of_credit' })
    await hosted.time.advance(299_000)
    expect(handed(hosted)).toEqual([])
    await hosted.time.advance(1_000)
    expect(handed(hosted)).toEqual(['a'])
  })

  it('are thirty at most, the most overdue first, and never a disabled key’s', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => ({ id: `k${i}`, disabled: i === 7 }))
    const hosted = await rested(keys)
    for (const { id } of keys.toReversed()) bench(hosted, id, SPENT)
    const first = handed(hosted, 1_000)
    expect(first).toHaveLength(30)
    expect(handed(hosted, Number.NaN)).toHaveLength(19)
    expect(first).not.toContain('k7')
    // Lookups of a pool are spread by the position of the key.
    expect(first.slice(0, 3)).toEqual(['k0', 'k1', 'k2'])
  })
})

describe('isolates that tell of themselves', () => {
  const [dead, alive] = [isolateId('dead'), isolateId('alive')]

  /** Two isolates, each with a lease. */
  function twoIsolates() {
    const hosted = hostOf([{ id: 'a', maxConcurrent: 2 }])
    const wants = [dead, alive].map((isolate) => leaseRequestOf({ isolate }))
    const { decisions } = hosted.host.exchange({ ...NOTHING, wants })
    expect(decisions.map(({ kind }) => kind)).toEqual(['grant', 'grant'])
    const inFlight = () => hosted.state.keys.get(keyId('a'))?.inFlight
    const hear = (isolate: typeof alive) => hosted.host.exchange({ ...NOTHING, isolate })
    return { ...hosted, inFlight, hear }
  }

  it('lose their leases when they are silent, without a call that would show it', async () => {
    const { time, hear, inFlight } = twoIsolates()
    for (let s = 0; s < 2; s++) {
      await time.advance(1_000)
      hear(alive)
    }
    expect(inFlight()).toBe(2)
    await time.advance(1_000)
    expect(inFlight()).toBe(1)
    await time.advance(10_000)
    expect(inFlight()).toBe(0)
  })

  it('lose nothing by a stall of the object, in which none of them could be heard', async () => {
    const { time, host, state, inFlight, hear } = twoIsolates()
    await time.advance(900)
    // Six seconds later the calls of the one come before the timers of the object, and the other’s last.
    time.stall(6_000)
    hear(alive)
    expect(inFlight()).toBe(2)
    await time.advance(1_900)
    expect(inFlight()).toBe(2)
    // The one that has died meanwhile is noticed all the same.
    hear(alive)
    await time.advance(1_100)
    hear(alive)
    expect(inFlight()).toBe(1)
    expect([...state.isolates.heardAtMs.keys()]).toEqual([alive])
    host.snapshot()
  })

  it('are not asked for by an older Worker, which keeps its lease for its term', async () => {
    const { time, host, state } = hostOf([{ id: 'a' }])
    host.exchange({ ...NOTHING, isolate: alive, wants: [leaseRequestOf({ leaseMs: 60_000 })] })
    await time.advance(59_000)
    host.snapshot()
    expect(state.leases.live.size).toBe(1)
  })
})

it('marks what follows a checkpoint, also while the surplus of a max_spend is to be taken back', async () => {
  const { host, time, rows } = hostOf([{ id: 'a', maxSpend: { usd: 10, period: 'day' } }])
  const want = leaseRequestOf({})
  host.exchange({ ...NOTHING, wants: [want] })
  const settlement = settlementOf(want.leaseId, 'a', { usage: USAGE })
  host.exchange({ ...NOTHING, settlements: [settlement] })
  await time.advance(5_000)
  expect(rows.isOutdated()).toBe(false)
  // If the object is lost now, the lease must not be taken for one that still runs.
  host.exchange({ ...NOTHING, wants: [leaseRequestOf({})] })
  expect(rows.isOutdated()).toBe(true)
})
