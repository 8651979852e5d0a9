import { describe, expect, it } from 'vitest'
import type { ClientTerms, GroupTerms } from '../../src/balancing/clients/clients.ts'
import { clientId, groupId } from '../../src/balancing/ids.ts'
import { budgetOf, clientOf, groupOf } from '../balancing/clients/client-terms.ts'
import { seededRandom } from '../balancing/seeded-random.ts'
import { HELLO } from './stream-texts.ts'
import { openStream, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type Sent, type VirtualWorld } from './virtual-world.ts'

const CHAT = 'chat/completions'

/** What an answer of the script costs, and what its request says it may cost. */
const COST_NANOS = 500_000
const BOUND_NANOS = 2_000_000

function worldOf(clients: readonly ClientTerms[], groups: readonly GroupTerms[] = []) {
  const world = createVirtualWorld({
    strategy: 'least-busy',
    clients: { clients, groups },
  })
  world.upstream.on(CHAT, { ...streamOf(HELLO), headersAfterMs: 100 })
  return world
}

/** Sends a request of `app` each `everyMs`, and returns them all. */
async function sendEach(world: VirtualWorld, count: number, everyMs: number, given = {}) {
  const sent: Sent[] = []
  for (let i = 0; i < count; i++) {
    sent.push(world.send({ client: 'app', costNanos: BOUND_NANOS, ...given }))
    await world.time.advance(everyMs)
  }
  return sent
}

const reasonOf = (sent: Sent) => sent.report()?.error?.reason ?? sent.report()?.outcome ?? null

function tallyOf(sent: readonly Sent[]) {
  const all: Record<string, number> & { answered?: number } = {}
  for (const one of sent) {
    const reason = String(reasonOf(one))
    all[reason] = (all[reason] ?? 0) + 1
  }
  return all
}

function quotaOf({ pool }: VirtualWorld, id = 'app') {
  const client = pool.state.clients.byId.get(clientId(id))
  if (client === undefined) throw new Error(`No client ${id}`)
  return client.quota
}

describe('the busy isolate of a client', () => {
  it.each([
    { of: 'limits per minute', terms: { rpm: 100_000, tpm: 10_000_000 } },
    { of: 'limits of all kinds', terms: { rpd: 100_000, maxConcurrent: 1_000, rpm: 100_000 } },
    { of: 'an exact budget', terms: { budgets: [budgetOf({ usd: 10 })] } },
    { of: 'a capped budget', terms: { budgets: [budgetOf({ usd: 10, mode: 'capped' })] } },
    {
      of: 'a budget that is told afterwards',
      terms: { budgets: [budgetOf({ usd: 10, mode: 'after' })] },
    },
    {
      of: 'several budgets',
      terms: { budgets: [budgetOf({ usd: 10 }), budgetOf({ usd: 50, period: 'total' })] },
    },
  ])('that is far from $of asks for one request in ten or fewer', async ({ terms }) => {
    const world = worldOf([clientOf({ id: 'app', ...terms })])
    await sendEach(world, 150, 10, { tokens: 50 })
    const before = world.pool.exchanges()
    const sent = await sendEach(world, 200, 10, { tokens: 50 })
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(20)
    await world.time.advance(10_000)
    expect(tallyOf(sent)).toEqual({ answered: 200 })
    const quota = quotaOf(world)
    expect(quota.inFlight).toBe(0)
    expect(quota.requestsToday).toBe(350)
    for (const { reservedNanos, lostNanos, spentNanos } of quota.budgets) {
      expect({ reservedNanos, lostNanos }).toEqual({ reservedNanos: 0, lostNanos: 0 })
      expect(spentNanos).toBe(350 * COST_NANOS)
    }
    expect(world.pool.bugs).toEqual([])
  })

  it('whose requests are large and small asks for few of them, and holds no more than each may cost', async () => {
    const world = worldOf([
      clientOf({ id: 'app', tpm: 10_000_000, budgets: [budgetOf({ usd: 10 })] }),
    ])
    const random = seededRandom(5)
    const mixed = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const size = 0.1 + 0.9 * random()
        const tokens = Math.round(1_000 * size)
        world.send({ client: 'app', tokens, costNanos: Math.round(BOUND_NANOS * size) })
        await world.time.advance(10)
      }
    }
    await mixed(150)
    const before = world.pool.exchanges()
    await mixed(300)
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(30)
    world.upstream.on(CHAT, openStream(HELLO))
    world.send({ client: 'app', tokens: 100, costNanos: 1_000 })
    await world.time.advance(2_500)
    expect(quotaOf(world)).toMatchObject({ inFlight: 1, budgets: [{ reservedNanos: 1_000 }] })
  })

  it('of which a tenth of the budget is used still does, whatever share of it one request may cost', async () => {
    // 1 USD pays for five hundred bounds, and for two thousand answers.
    const world = worldOf([clientOf({ id: 'app', budgets: [budgetOf({ usd: 1 })] })])
    const first = await sendEach(world, 200, 10)
    expect(quotaOf(world).budgets[0]?.spentNanos).toBeGreaterThan(0.09e9)
    const before = world.pool.exchanges()
    const sent = await sendEach(world, 200, 10)
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(20)
    await world.time.advance(1_000)
    expect(tallyOf([...first, ...sent])).toEqual({ answered: 400 })
  })
})

describe('near a limit', () => {
  it.each([
    { of: 'a rate', terms: { rpm: 300 }, answered: 100, refused: 'client_rate_limited' },
    { of: 'a day', terms: { rpd: 300 }, answered: 100, refused: 'client_rate_limited' },
    {
      of: 'a budget',
      // It pays for 350 answers, and for the most that ten which run may cost.
      terms: { budgets: [budgetOf({ usd: 0.2 })] },
      answered: 150,
      refused: 'budget_exceeded',
    },
  ])('each request costs one call and no more, and is served if $of allows it', async (one) => {
    const world = worldOf([clientOf({ id: 'app', ...one.terms })])
    await sendEach(world, 200, 10)
    const before = world.pool.exchanges()
    const sent = await sendEach(world, 150, 10)
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(150)
    await world.time.advance(1_000)
    const refused = 150 - one.answered
    const expected = { answered: one.answered, ...(refused > 0 ? { [one.refused]: refused } : {}) }
    expect(tallyOf(sent)).toEqual(expected)
  })

  it('a budget is spent to less than one bound of its end, by several isolates', async () => {
    const world = worldOf([clientOf({ id: 'app', budgets: [budgetOf({ usd: 0.2 })] })])
    const sent: Sent[] = []
    for (let i = 0; i < 600; i++) {
      sent.push(world.send({ client: 'app', costNanos: BOUND_NANOS, isolate: i % 3 }))
      await world.time.advance(5)
      const [budget] = quotaOf(world).budgets
      const { spentNanos = 0, reservedNanos = 0, lostNanos = 0 } = budget ?? {}
      expect(spentNanos + reservedNanos + lostNanos).toBeLessThanOrEqual(0.2e9)
    }
    await world.time.advance(10_000)
    const [budget] = quotaOf(world).budgets
    expect(budget?.reservedNanos).toBe(0)
    expect(budget?.lostNanos).toBe(0)
    // What runs reserves its bound, so the last requests are refused by what is not spent in the end.
    expect(budget?.spentNanos).toBeGreaterThan(0.9 * 0.2e9)
    expect(budget?.spentNanos).toBe(500_000 * (tallyOf(sent).answered ?? 0))
  })

  it('no request is refused for what idle leases of another isolate hold', async () => {
    const world = worldOf([clientOf({ id: 'app', maxConcurrent: 40 })])
    await sendEach(world, 100, 20)
    // The first isolate rests now, with leases ahead in its stock.
    await world.time.advance(350)
    expect(quotaOf(world).inFlight).toBeGreaterThan(10)
    world.upstream.on(CHAT, openStream(HELLO))
    const burst = Array.from({ length: 41 }, () => world.send({ client: 'app', isolate: 1 }))
    await world.time.advance(1_000)
    expect(burst.filter((one) => one.report() === null)).toHaveLength(40)
    expect(tallyOf(burst)).toMatchObject({ client_rate_limited: 1 })
  })

  it('nor for what those of another client of its group hold, in whichever isolate', async () => {
    const world = worldOf(
      [clientOf({ id: 'app', group: 'team' }), clientOf({ id: 'other', group: 'team' })],
      [groupOf({ id: 'team', budgets: [budgetOf({ usd: 0.15 })] })],
    )
    await sendEach(world, 100, 20)
    await world.time.advance(350)
    const budget = world.pool.state.clients.groups.get(groupId('team'))?.quota.budgets[0]
    const leftNanos = 0.15e9 - (budget?.spentNanos ?? 0)
    expect(budget?.reservedNanos).toBeGreaterThan(3 * BOUND_NANOS)
    world.upstream.on(CHAT, openStream(HELLO))
    const others = Array.from({ length: 60 }, (_, i) =>
      world.send({ client: 'other', costNanos: BOUND_NANOS, isolate: i % 2 }),
    )
    // Those that only what runs keeps out wait for as long as for a key.
    await world.time.advance(15_000)
    const running = others.filter((one) => one.report() === null)
    expect(running).toHaveLength(Math.floor(leftNanos / BOUND_NANOS))
    expect(tallyOf(others)).toMatchObject({ budget_exceeded: 60 - running.length })
  })

  it('a client that is over its limit costs the others none of their leases ahead', async () => {
    const world = worldOf([clientOf({ id: 'app', rpm: 10 })])
    const both = async (count: number) => {
      const others: Sent[] = []
      for (let i = 0; i < count; i++) {
        world.send({ client: 'app' })
        others.push(world.send({ client: 'other' }))
        await world.time.advance(10)
      }
      return others
    }
    await both(150)
    const before = world.pool.exchanges()
    const others = await both(200)
    // One call for each refusal, and for the others as few as ever.
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(220)
    await world.time.advance(1_000)
    expect(tallyOf(others)).toEqual({ answered: 200 })
  })

  it('a request that is really over the limit is refused at once', async () => {
    const world = worldOf([clientOf({ id: 'app', maxConcurrent: 2 })])
    world.upstream.on(CHAT, openStream(HELLO))
    await sendEach(world, 2, 10)
    const refused = world.send({ client: 'app' })
    await world.time.advance(10)
    expect(reasonOf(refused)).toBe('client_rate_limited')
  })
})

describe('an isolate that falls silent', () => {
  it('loses the money of its leases ahead, and gives concurrency and the minute back', async () => {
    const world = worldOf([
      clientOf({ id: 'app', rpm: 1_000, rpd: 1_000, budgets: [budgetOf({ usd: 10 })] }),
    ])
    await sendEach(world, 80, 20)
    await world.time.advance(350)
    const quota = quotaOf(world)
    const [budget] = quota.budgets
    const ahead = quota.inFlight
    expect(ahead).toBeGreaterThan(5)
    world.silence(0)
    await world.time.advance(3_200)
    await world.pool.snapshot()
    expect(quota.inFlight).toBe(0)
    expect(quota.rpm?.window.total).toBe(80)
    expect(quota.requestsToday).toBe(80)
    expect(budget?.reservedNanos).toBe(0)
    expect(budget?.lostNanos).toBe(ahead * BOUND_NANOS)
    expect(budget?.spentNanos).toBe(80 * COST_NANOS)
  })
})
