import { describe, expect, it } from 'vitest'
import type { BudgetTerms } from '../../../src/balancing/clients/budget.ts'
import { eventOf, HELLO, ROLE, STOP, said } from '../stream-texts.ts'
import { errorAnswer, openStream, streamOf } from '../upstream-script.ts'
import { modelOf } from '../virtual-world.ts'
import { CHAT, worldOfTeam } from './team-world.ts'

/** What `HELLO` costs, by its own usage. It names the same sum as the price of the provider. */
const HELLO_NANOS = 500_000
const BOUND_NANOS = 800_000

const BUDGET: BudgetTerms = {
  ...{ usd: 0.002, period: 'day', mode: 'exact', onExceeded: 'reject' },
  ...{ capUsd: 0.5, reserveUsd: 0.5, strict: false, includeByok: false, assumeOutputTokens: 4096 },
}

/** A world in which the group pays for the requests of `ada`. */
function worldWith(
  terms: Partial<BudgetTerms> = {},
  options: Parameters<typeof worldOfTeam>[1] = {},
) {
  const budgets = [{ ...BUDGET, ...terms }]
  const team = worldOfTeam({ team: { budgets }, ada: { budgets } }, options)
  const { world, caller, usedOf } = team
  const send = (given = {}) => world.send({ caller: caller.ada, costNanos: BOUND_NANOS, ...given })
  /** The client's budget and the group's, which always say the same here. */
  const budget = async () => {
    const [own, shared] = (await usedOf('ada')).map(({ budgets: [one] }) => ({
      spent: one?.spentNanos,
      reserved: one?.reservedNanos,
      lost: one?.lostNanos,
    }))
    expect(shared).toEqual(own)
    return own
  }
  return { world, send, budget }
}

describe('what an answer costs is charged once, and nothing stays reserved', () => {
  it('of one that has ended', async () => {
    const { world, send, budget } = worldWith()
    const sent = send()
    await world.time.drain()
    expect(await budget()).toEqual({ spent: 0, reserved: BOUND_NANOS, lost: 0 })
    await world.finish(sent)
    expect(await budget()).toEqual({ spent: HELLO_NANOS, reserved: 0, lost: 0 })
  })

  it.each([
    ['provider’s price is the account’s own only with BYOK', false, false, HELLO_NANOS],
    ['provider’s price is counted where the budget says so', true, true, 2 * HELLO_NANOS],
    ['provider’s price is not counted where the budget does not', true, false, HELLO_NANOS],
    ['provider’s price is none beside the cost without BYOK', false, true, HELLO_NANOS],
  ])('%s', async (_, isByok, includeByok, spent) => {
    const { world, send, budget } = worldWith({ includeByok })
    const usage = {
      ...{ prompt_tokens: 21, completion_tokens: 3, cost: 0.0005, is_byok: isByok },
      cost_details: { upstream_inference_cost: 0.0005 },
    }
    const text = ROLE + said('Hi') + STOP + eventOf({ choices: [], usage })
    world.upstream.on(CHAT, streamOf(text))
    await world.finish(send())
    expect(await budget()).toEqual({ spent, reserved: 0, lost: 0 })
  })

  it('of attempts that failed before one was good', async () => {
    const { world, send, budget } = worldWith()
    world.upstream.on(CHAT, errorAnswer(401, 'No'), errorAnswer(502, 'No'), streamOf(HELLO))
    await world.finish(send())
    expect(await budget()).toEqual({ spent: HELLO_NANOS, reserved: 0, lost: 0 })
  })

  it.each([
    ['before any of its answer', ''],
    ['in the middle of its answer', ROLE + said('Hi')],
  ])('of a client that leaves %s', async (_, text) => {
    const { world, send, budget } = worldWith()
    world.upstream.on(CHAT, openStream(text))
    const client = new AbortController()
    const sent = send({ signal: client.signal, promptTokens: 10 })
    await world.time.advance(200)
    client.abort()
    await world.finish(sent)
    const { spent, reserved, lost } = (await budget()) ?? {}
    expect([reserved, lost]).toEqual([0, 0])
    expect(spent).toBeGreaterThan(0)
    expect(spent).toBeLessThanOrEqual(BOUND_NANOS)
  })

  it('of a request that ran while the object began anew', async () => {
    const { world, send, budget } = worldWith()
    world.upstream.on(CHAT, openStream(ROLE + said('Hi')))
    const sent = send()
    // By then its row says what is committed, and no more.
    await world.time.advance(12_000)
    world.pool.restart()
    const { spent = 0, reserved = 0, lost = 0 } = (await budget()) ?? {}
    expect(spent + reserved + lost).toBeGreaterThanOrEqual(BOUND_NANOS)
    world.upstream.calls[0]?.finish('close')
    await world.finish(sent)
    await world.time.advance(20_000)
    expect(await budget()).toMatchObject({ reserved: 0, lost: 0 })
  })

  it('of a request whose period ends while it runs: the period in which it ends pays', async () => {
    const { world, send, budget } = worldWith({ usd: 0.001 })
    const midnightMs = 12 * 60 * 60_000
    await world.time.advance(midnightMs - 100)
    await world.time.drain()
    const sent = send()
    await world.time.advance(50)
    expect(await budget()).toEqual({ spent: 0, reserved: BOUND_NANOS, lost: 0 })
    // The new day has its budget, less what still runs of the old one.
    await world.finish(sent)
    expect(await budget()).toEqual({ spent: HELLO_NANOS, reserved: 0, lost: 0 })
    const over = send()
    await world.time.drain()
    expect(over.report()?.error).toMatchObject({ status: 402, reason: 'budget_exceeded' })
  })
})

describe('a request that the budget does not pay for', () => {
  it('waits while running ones hold what it lacks, and is refused once they have spent it', async () => {
    const { world, send, budget } = worldWith({ usd: 0.0018 })
    const sent = Array.from({ length: 5 }, () => send())
    await world.time.drain()
    expect(world.upstream.calls).toHaveLength(2)
    expect(sent.map((one) => one.report())).toEqual([null, null, null, null, null])
    for (const one of sent) await world.finish(one)
    // Two at once, and one more that waits: 0.0003 USD do not pay for the most that a fourth may cost.
    expect(await budget()).toEqual({ spent: 3 * HELLO_NANOS, reserved: 0, lost: 0 })
    const outcomes = sent.map((one) => one.report()?.outcome)
    expect(outcomes.filter((outcome) => outcome === 'answered')).toHaveLength(3)
  })

  it('waits no longer than for a key, and is then told to come again soon', async () => {
    const { world, send } = worldWith({ usd: 0.001 }, { queue: { maxWaitMs: 10_000 } })
    world.upstream.on(CHAT, openStream(ROLE + said('Hi')))
    send()
    await world.time.drain()
    const asked = world.pool.wants.length
    const sent = send()
    await world.time.advance(11_000)
    expect(sent.report()?.error).toMatchObject({ status: 402, retryAfterMs: 1_000 })
    expect(world.pool.wants.length - asked).toBeLessThanOrEqual(12)
  })

  it('leaves when its client does, and has taken nothing', async () => {
    const { world, send, budget } = worldWith({ usd: 0.001 })
    world.upstream.on(CHAT, openStream(ROLE + said('Hi')))
    send()
    await world.time.drain()
    const client = new AbortController()
    const sent = send({ signal: client.signal })
    await world.time.advance(300)
    client.abort()
    await world.time.drain()
    expect(sent.report()).toMatchObject({ outcome: 'client_gone' })
    expect(await budget()).toMatchObject({ reserved: BOUND_NANOS })
  })

  it('goes to the fallback model at once where the budget says so, and is charged for it', async () => {
    const { world, send, budget } = worldWith({ usd: 0.0008, onExceeded: 'fallback_model' })
    const given = { model: 'dear/model', fallbacks: ['cheap/model'] }
    for (let i = 0; i < 3; i++) await world.finish(send(given))
    expect(world.upstream.calls.map(modelOf)).toEqual(['dear/model', 'cheap/model', 'cheap/model'])
    expect(await budget()).toEqual({ spent: 3 * HELLO_NANOS, reserved: 0, lost: 0 })
    const without = send({ model: 'dear/model' })
    await world.time.drain()
    expect(without.report()?.error).toMatchObject({ status: 402 })
  })
})
