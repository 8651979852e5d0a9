import { describe, expect, it } from 'vitest'
import type { Caller } from '../../../src/balancing/clients/caller.ts'
import { HELLO } from '../stream-texts.ts'
import { errorAnswer, openStream, streamOf } from '../upstream-script.ts'
import type { Sent } from '../virtual-world.ts'
import { ANSWER_MS, CHAT, type Limits, type Team, worldOfTeam } from './team-world.ts'

/** Requests of both clients, one each 5 ms, which reach three isolates in turn. */
async function load({ world, caller }: Team, count: number, given = {}): Promise<Sent[]> {
  const sent: Sent[] = []
  for (let i = 0; i < count; i++) {
    const whose = i % 2 === 0 ? caller.ada : caller.ben
    sent.push(world.send({ caller: whose, isolate: i % 3, ...given }))
    await world.time.advance(5)
  }
  return sent
}

const served = (sent: readonly Sent[]) =>
  sent.filter((one) => one.report()?.outcome === 'answered').length

/** The most upstream calls that ran at once. */
function peakOf({ world }: Team): number {
  const times = world.upstream.calls.filter(({ path }) => path === CHAT).map(({ atMs }) => atMs)
  return Math.max(...times.map((at) => times.filter((t) => t > at - ANSWER_MS && t <= at).length))
}

describe('a limit that the clients of a group share holds exactly, over isolates with leases ahead', () => {
  it.each([
    ['rpm', { rpm: 600 }],
    ['rpd', { rpd: 600 }],
  ] as const)('%s', async (_, limits) => {
    const team = worldOfTeam({ team: limits })
    const sent = await load(team, 1_200)
    await team.world.time.advance(10_000)
    expect(served(sent)).toBe(600)
    // While the limit is far, the requests of an isolate have leases ahead.
    expect(team.world.pool.wants.length).toBeLessThan(1_150)
    expect(await team.usedOf('ada')).toMatchObject([{ inFlight: 0 }, { inFlight: 0 }])
    expect(team.world.pool.bugs).toEqual([])
  })

  it('tpm', async () => {
    const team = worldOfTeam({ team: { tpm: 24 * 200 } })
    const sent = await load(team, 800, { tokens: 40 })
    await team.world.time.advance(10_000)
    // An answer of upstream has 24 tokens, and what was reserved above that is given back.
    expect(served(sent)).toBeGreaterThan(190)
    expect(served(sent)).toBeLessThanOrEqual(200)
  })

  it('max_concurrent', async () => {
    const team = worldOfTeam({ team: { maxConcurrent: 60 } })
    const { world, caller } = team
    // Some twenty at once, with leases ahead for more, and then all at once.
    await load(team, 400)
    const isAhead = world.pool.wants.length < 400
    const burst = Array.from({ length: 120 }, (_, i) =>
      world.send({ caller: i % 2 === 0 ? caller.ada : caller.ben, isolate: i % 3 }),
    )
    await world.time.advance(ANSWER_MS + 10_000)
    expect(isAhead).toBe(true)
    expect(peakOf(team)).toBe(60)
    expect(served(burst)).toBeGreaterThanOrEqual(60 - 20)
    expect(await team.usedOf('ben')).toMatchObject([{ inFlight: 0 }, { inFlight: 0 }])
  })

  it('and so does each client’s own, beside that of the group', async () => {
    const team = worldOfTeam({ team: { rpm: 100 }, ada: { rpm: 30 } })
    const sent = await load(team, 400)
    await team.world.time.advance(10_000)
    expect(served(sent.filter((_, i) => i % 2 === 0))).toBe(30)
    expect(served(sent.filter((_, i) => i % 2 === 1))).toBe(70)
  })
})

describe('a request that a limit refuses', () => {
  it('of the client’s takes nothing of the group, and of the group’s takes nothing of the client', async () => {
    const { world, caller, usedOf } = worldOfTeam({
      team: { rpd: 5 },
      ada: { rpd: 2 },
      ben: { rpd: 9 },
    })
    const send = async (whose: Caller, count: number) => {
      const sent = Array.from({ length: count }, () => world.send({ caller: whose }))
      for (const one of sent) await world.finish(one)
      return served(sent)
    }
    expect(await send(caller.ada, 4)).toBe(2)
    expect(await send(caller.ben, 5)).toBe(3)
    expect(await usedOf('ada')).toMatchObject([{ requestsToday: 2 }, { requestsToday: 5 }])
    expect(await usedOf('ben')).toMatchObject([{ requestsToday: 3 }, { requestsToday: 5 }])
  })
})

/** A team whose only key is busy, so that the next request waits. */
async function withBusyKey(limits: Limits) {
  const team = worldOfTeam({ ada: limits }, { keys: [{ id: 'a', maxConcurrent: 1 }] })
  const { world, caller } = team
  world.upstream.on(CHAT, openStream(HELLO), streamOf(HELLO))
  world.send({ caller: caller.ben })
  await world.time.drain()
  const free = () => world.upstream.calls[0]?.finish('close')
  return { ...team, free }
}

describe('a request that waits for a key', () => {
  it('counts as in flight', async () => {
    const { world, caller, usedOf, free } = await withBusyKey({ maxConcurrent: 1 })
    const waiting = world.send({ caller: caller.ada })
    await world.time.drain()
    expect(await usedOf('ada')).toMatchObject([{ inFlight: 1 }, {}])
    const refused = world.send({ caller: caller.ada, isolate: 1 })
    await world.time.drain()
    expect(refused.report()?.error).toMatchObject({ status: 429, reason: 'client_rate_limited' })
    free()
    expect((await world.finish(waiting)).outcome).toBe('answered')
  })

  it('gives all back if its client leaves, and if nobody has a key for it', async () => {
    const { world, caller, usedOf } = await withBusyKey({
      maxConcurrent: 2,
      rpm: 9,
      tpm: 99,
      rpd: 9,
    })
    const client = new AbortController()
    const left = world.send({ caller: caller.ada, signal: client.signal, tokens: 9 })
    const unserved = world.send({ caller: caller.ada, tokens: 9 })
    await world.time.drain()
    expect(await usedOf('ada')).toMatchObject([{ inFlight: 2, tokensInMinute: 18 }, {}])
    client.abort()
    expect((await world.finish(left)).outcome).toBe('client_gone')
    expect((await world.finish(unserved)).outcome).toBe('failed')
    const nothing = { inFlight: 0, requestsInMinute: 0, tokensInMinute: 0, requestsToday: 0 }
    expect(await usedOf('ada')).toMatchObject([nothing, {}])
  })
})

describe('a request that is tried again', () => {
  it('counts once, and has its place while it waits for the next attempt', async () => {
    const { world, caller, usedOf } = worldOfTeam({ ada: { rpm: 1, rpd: 1, maxConcurrent: 1 } })
    world.upstream.on(
      CHAT,
      errorAnswer(401, 'No auth'),
      errorAnswer(502, 'Bad gateway'),
      streamOf(HELLO),
    )
    const report = await world.finish(world.send({ caller: caller.ada }))
    expect(report.attempts).toHaveLength(3)
    expect(report.outcome).toBe('answered')
    const used = { inFlight: 0, requestsInMinute: 1, requestsToday: 1 }
    expect(await usedOf('ada')).toMatchObject([used, {}])
  })
})
