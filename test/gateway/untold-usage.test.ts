import { describe, expect, it } from 'vitest'
import { type BudgetTerms, nanosOf } from '../../src/balancing/clients/budget.ts'
import { clientId, groupId } from '../../src/balancing/ids.ts'
import type { ExchangeRequest } from '../../src/key-pool/protocol.ts'
import { messages } from '../../src/openrouter/shapes/messages.ts'
import { API_SHAPES } from '../../src/openrouter/shapes/shape-registry.ts'
import { DONE, PROCESSING, ROLE, STOP, said, USAGE } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, keyOf, type SendOptions, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'
const ID = 'gen-1700000000-switchyard'

const BUDGET: BudgetTerms = {
  ...{ usd: 1, period: 'day', mode: 'exact', onExceeded: 'reject', capUsd: 0.5 },
  ...{ reserveUsd: 0.5, strict: false, includeByok: false, assumeOutputTokens: 100 },
}

const LIMITS = {
  ...{ rpm: null, tpm: null, rpd: null, maxConcurrent: null },
  ...{ budgets: [BUDGET], models: null, keys: null, expiresAtMs: null },
}

const CLIENTS: NonNullable<WorldOptions['clients']> = {
  clients: [{ id: clientId('client'), groupId: groupId('team'), ...LIMITS }],
  groups: [{ id: groupId('team'), ...LIMITS }],
}

const KEYS = [{ id: 'a', maxSpend: { usd: 5, period: 'day' } }, 'b'] as const

const MONEY: NonNullable<SendOptions['money']> = {
  cost: () => ({ nanos: nanosOf(0.1), isPending: false }),
  estimatePrice: (_, { promptTokens, completionTokens }) =>
    (promptTokens + 4 * completionTokens) / 1_000,
}

const withId = (script: Script): Script => ({
  ...script,
  headers: { ...script.headers, 'x-generation-id': ID },
})

const generationOf = (costUsd: number) =>
  jsonAnswer(200, {
    data: {
      ...{ id: ID, total_cost: costUsd, is_byok: false, upstream_inference_cost: costUsd },
      ...{ native_tokens_prompt: 12, native_tokens_completion: 7, native_tokens_cached: 0 },
    },
  })

const NOT_FOUND = errorAnswer(404, `Generation ${ID} not found`)

/** A request whose client leaves after 100 ms, unless its answer has ended before. */
async function served(script: Script, options: WorldOptions = {}) {
  const world = createVirtualWorld({ keys: KEYS, clients: CLIENTS, maxAttempts: 1, ...options })
  world.upstream.on((options.shape ?? { path: CHAT }).path, script)
  const client = new AbortController()
  const sent = world.send({ promptTokens: 10, money: MONEY, signal: client.signal })
  await world.time.advance(100)
  client.abort()
  // An answer that lacks only its usage is read on for two seconds.
  await world.time.advance(2_100)
  expect(sent.report()).not.toBeNull()
  return {
    world,
    /** Lets the scheduled handler's work be done, each minute. */
    async minutes(count: number) {
      for (let minute = 0; minute < count; minute++) {
        await world.time.advance(60_000)
        await world.atRest()
        await world.time.advance(6_000)
      }
    },
  }
}

type World = Awaited<ReturnType<typeof served>>['world']

function spentOf({ pool, time }: World) {
  const { state } = pool
  const [client, group] = [state.clients.byId, state.clients.groups].map(
    (owners) => [...owners.values()][0]?.quota.budgets[0],
  )
  const tallies = [state.ledger.byKey, state.ledger.byModel, state.ledger.byClient].map(
    (by) => [...by.values()].find(({ total }) => total.attempts > 0)?.total.costUsd ?? 0,
  )
  expect([client?.reservedNanos, group?.reservedNanos]).toEqual([0, 0])
  expect(pool.bugs).toEqual([])
  return {
    tallies: [...new Set(tallies.map(nanosOf))],
    budgets: [...new Set([client?.spentNanos, group?.spentNanos])],
    key: state.keys.values().next().value?.spend?.spentNanos,
    marked: state.ledger.all.total.estimated,
    atMs: time.nowMs(),
  }
}

const all = (usd: number) => ({
  ...{ tallies: [nanosOf(usd)], budgets: [nanosOf(usd)], key: nanosOf(usd) },
})

describe('an answer that ends without its usage', () => {
  const CUT = streamOf(ROLE, said('x'))
  const stages: readonly (readonly [string, Script, number])[] = [
    ['before its first output', openStream(PROCESSING, ROLE), 0.014],
    ['after some output', openStream(ROLE, said('x'), said('y')), 0.022],
    ['after its end', openStream(ROLE, said('x'), STOP), 0.022],
    ['whole, as a stream', streamOf(ROLE, said('x'), STOP, DONE), 0.026],
    ['cut off in the middle', { ...CUT, end: 'error', endAfterMs: 50 }, 0.018],
    ['within a JSON body', { ...jsonAnswer(200, '{"choices":['), end: 'hang' }, 0.01],
    ['within a JSON body whose end looks like one', jsonAnswer(200, '{"choices":['), 0.01],
  ]

  it.each(stages)('%s is booked as a marked estimate, then as what it was', async (...stage) => {
    const [, script, estimateUsd] = stage
    const { world, minutes } = await served(withId(script))
    expect(spentOf(world)).toMatchObject({ ...all(estimateUsd), marked: 1 })
    world.upstream.on('generation', NOT_FOUND, generationOf(0.0375))
    await minutes(3)
    expect(spentOf(world)).toMatchObject({ ...all(0.0375), marked: 0 })
    const asked = world.upstream.calls.filter(({ path }) => path === 'generation')
    expect(asked.map(keyOf)).toEqual(['a', 'a'])
    expect(asked[0]?.url).toContain(`?id=${ID}`)
  })

  it('costs its input at least, before anything of it comes, and stays marked', async () => {
    const { world, minutes } = await served({ connection: 'hang' })
    await minutes(5)
    expect(spentOf(world)).toMatchObject({ ...all(0.01), marked: 1 })
    expect(world.upstream.calls).toHaveLength(1)
  })

  it('stays an estimate if OpenRouter never knows it', async () => {
    const { world, minutes } = await served(withId(openStream(said('x'))))
    world.upstream.on('generation', NOT_FOUND)
    await minutes(20)
    expect(spentOf(world)).toMatchObject({ ...all(0.014), marked: 1 })
    expect(world.upstream.calls.filter(({ path }) => path === 'generation')).toHaveLength(4)
  })

  it('costs nothing if it was an error that its client did not wait for', async () => {
    const error = { ...errorAnswer(400, 'No'), end: 'hang' } as const
    const { world, minutes } = await served(withId(error))
    await minutes(3)
    expect(spentOf(world)).toMatchObject({ budgets: [0], marked: 0 })
    expect(world.upstream.calls).toHaveLength(1)
  })

  it.each(API_SHAPES.filter(({ isFree }) => !isFree).map((shape) => [shape.path, shape] as const))(
    'is looked up for %s: one that was whole, and one that was left',
    async (_, shape) => {
      const good = {
        ...{ choices: [{ message: { content: 'x' }, text: 'x' }], output: [{ type: 'message' }] },
        ...{ content: [{ type: 'text', text: 'x' }], data: [{}], results: [], text: 'x' },
        ...{ status: 'completed', stop_reason: 'end_turn', type: 'message' },
      }
      for (const end of ['close', 'hang'] as const) {
        const { world, minutes } = await served(withId({ ...jsonAnswer(200, good), end }), {
          shape,
        })
        const { marked, budgets } = spentOf(world)
        expect([marked, (budgets[0] ?? 0) >= nanosOf(0.01)]).toEqual([1, true])
        world.upstream.on('generation', generationOf(0.5))
        await minutes(2)
        expect(spentOf(world)).toMatchObject({ ...all(0.5), marked: 0 })
      }
    },
  )

  it('of messages counts what its beginning told', async () => {
    const begun = {
      ...{ type: 'message_start' },
      message: { id: ID, usage: { input_tokens: 33, output_tokens: 1 } },
    }
    const text = { type: 'content_block_delta', delta: { type: 'text_delta', text: 'x' } }
    const events = [begun, text].map((event) => {
      return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
    })
    const { world } = await served(withId(openStream(...events)), { shape: messages })
    expect(spentOf(world)).toMatchObject({ ...all(0.041), marked: 1 })
  })
})

describe('an answer that breaks off before its client gets any of it', () => {
  const begun: readonly (readonly [string, Script, number])[] = [
    ['within a JSON body', { ...jsonAnswer(200, '{"choices":['), end: 'close' }, 0.01],
    ['by a reset in a JSON body', { ...jsonAnswer(200, '{"choices":['), end: 'error' }, 0.01],
    ['before the first output', { ...streamOf(ROLE), end: 'error' }, 0.01],
    ['by our clock', openStream(ROLE), 0.014],
  ]

  it.each(begun)('%s may have cost something: OpenRouter is asked', async (...of) => {
    const [, script, estimateUsd] = of
    const clocks = { headersMs: 50, firstOutputMs: 50, idleMs: 50, totalMs: 10_000 }
    const { world, minutes } = await served(withId(script), { timeouts: clocks })
    expect(spentOf(world)).toMatchObject({ ...all(estimateUsd), marked: 1 })
    world.upstream.on('generation', generationOf(0.0375))
    await minutes(2)
    expect(spentOf(world)).toMatchObject({ ...all(0.0375), marked: 0 })
  })

  it.each([
    ['an error', withId(errorAnswer(502, 'No'))],
    ['an error in a 200', withId(jsonAnswer(200, { error: { code: 502 } }))],
    ['a page of the edge', { headers: { 'content-type': 'text/html' }, body: [{ text: '<p>' }] }],
  ])('costs nothing if it was %s: nobody is asked', async (_, script) => {
    const { world, minutes } = await served(script)
    expect(spentOf(world)).toMatchObject({ tallies: [0], marked: 0 })
    await minutes(2)
    expect(world.upstream.calls.map(({ path }) => path)).toEqual([CHAT])
  })
})

it('one that tells its usage is not looked up', async () => {
  const { world, minutes } = await served(withId(streamOf(ROLE, said('x'), USAGE, DONE)))
  await minutes(3)
  expect(spentOf(world)).toMatchObject({ ...all(0.0005), marked: 0 })
  expect(world.upstream.calls).toHaveLength(1)
})

describe('the object', () => {
  it('that restarts between the estimate and the report books the difference once', async () => {
    const { world, minutes } = await served(withId(openStream(said('x'))))
    await world.time.advance(11_000)
    world.pool.restart()
    expect(spentOf(world)).toMatchObject({ tallies: [nanosOf(0.014)], marked: 1 })
    world.upstream.on('generation', generationOf(0.0375))
    await minutes(2)
    world.pool.restart()
    await minutes(2)
    const { tallies, marked, budgets } = spentOf(world)
    expect([tallies, marked, budgets]).toEqual([[nanosOf(0.0375)], 0, [nanosOf(0.0375)]])
  })

  it('that crashes after a report, and before its checkpoint, asks again and books once', async () => {
    const { world, minutes } = await served(withId(openStream(said('x'))))
    await world.time.advance(20_000)
    world.upstream.on('generation', generationOf(0.0005))
    await world.atRest()
    expect(world.pool.state.reconciliations.found.size).toBe(1)
    world.pool.restart()
    await minutes(3)
    const { tallies, marked, budgets } = spentOf(world)
    expect([tallies, marked, budgets]).toEqual([[nanosOf(0.0005)], 0, [nanosOf(0.0005)]])
  })

  it('books a report once, however often and however late it is repeated', async () => {
    const { world, minutes } = await served(withId(openStream(said('x'))))
    world.upstream.on('generation', generationOf(0.0375))
    const usage = {
      ...{ promptTokens: 12, completionTokens: 7, cachedTokens: 0, reasoningTokens: 0 },
      ...{ costUsd: 0.9, estimated: false },
    }
    const late: ExchangeRequest = {
      ...{ version: 1, wants: [], settlements: [], lookups: [], takesNoDuties: true },
      reconciled: [{ generationId: ID, kind: 'found', usage }],
    }
    await minutes(2)
    for (const _ of [1, 2]) await world.pool.exchange(late)
    await minutes(1)
    expect(spentOf(world)).toMatchObject({ ...all(0.0375), marked: 0 })
  })

  it('leaves a period alone that began after the estimate', async () => {
    const { world, minutes } = await served(withId(openStream(said('x'))))
    world.upstream.on('generation', NOT_FOUND)
    await world.time.advance(12 * 60 * 60_000)
    world.upstream.on('generation', generationOf(0.0375))
    await minutes(2)
    const { budgets, key, marked } = spentOf(world)
    expect([budgets, key, marked]).toEqual([[0], 0, 0])
  })
})
