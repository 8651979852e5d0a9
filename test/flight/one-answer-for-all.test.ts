import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest'
import { createFlightClient } from '../../src/flight/flight-client.ts'
import { MEMORY } from '../../src/http/composition-root.ts'
import { CACHE_EXAMPLES } from '../documents/cache-examples.ts'
import { answered, reasonOf, roleOf, type World } from './flight-answers.ts'
import { chunk, createFlightWorld, END, WHOLE } from './flight-driver.ts'

let lines: MockInstance<typeof console.log>
beforeEach(() => {
  lines = vi.spyOn(console, 'log').mockImplementation(() => undefined)
})
afterEach(async () => {
  vi.restoreAllMocks()
  // Whatever became of the answers, nothing of them is held: neither bodies nor bytes.
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 2_000 })
})

const GROUP = { ttl_s: 60, scope: 'group' }

describe('a kept answer', () => {
  it('is given byte for byte, with its age, and tells of no attempt', async () => {
    const world = createFlightWorld(GROUP)
    const { response, text } = await answered(world, 0)
    expect([roleOf(response), response.headers.get('x-switchyard-attempts')]).toEqual(['miss', '1'])
    await world.pass(7_000)
    world.flights.evict()
    const hit = await world.ask({ client: 'mate' })
    expect([roleOf(hit), hit.headers.get('age'), await hit.text()]).toEqual(['hit', '7', text])
    expect(hit.headers.get('x-generation-id')).toBe('gen-1')
    expect(hit.headers.get('x-switchyard-attempts')).toBeNull()
    expect(hit.headers.get('x-switchyard-key')).toBeNull()
    expect(world.calls).toHaveLength(1)
  })

  it('is never given past its end', async () => {
    const world = createFlightWorld(GROUP)
    await answered(world, 0)
    await world.pass(59_998)
    const last = await world.ask()
    expect(roleOf(last)).toBe('hit')
    await last.text()
    await world.pass(1)
    expect(roleOf((await answered(world, 1)).response)).toBe('miss')
  })

  it('is given exactly while it is young enough, for its route and for who asks', async () => {
    const cases = fc.record({
      ttlS: fc.integer({ min: 1, max: 100 }),
      maxAgeS: fc.integer({ min: 0, max: 120 }),
      // Around the ends, where a mistake would be.
      end: fc.constantFrom('ttlS', 'maxAgeS'),
      offMs: fc.integer({ min: -2, max: 2 }),
    })
    await fc.assert(
      fc.asyncProperty(cases, async ({ offMs, ...limits }) => {
        const { ttlS, maxAgeS, end } = limits
        const world = createFlightWorld({ ttl_s: ttlS })
        await answered(world, 0)
        // It is a millisecond old already.
        const ageMs = Math.max(1, limits[end] * 1000 + offMs)
        await world.pass(ageMs - 1)
        world.flights.evict()
        const by = { headers: { 'x-switchyard-cache': `max-age=${maxAgeS}` } }
        const isYoung = ageMs < ttlS * 1000 && ageMs <= maxAgeS * 1000
        if (!isYoung) {
          expect(roleOf((await answered(world, 1, by)).response)).toBe('miss')
          return
        }
        const hit = await world.ask(by)
        expect([roleOf(hit), await hit.text()]).toEqual(['hit', chunk('a') + END])
      }),
      { numRuns: 20 },
    )
  })

  it('is what a whole answer is too', async () => {
    const world = createFlightWorld(GROUP)
    const asked = { body: { stream: false } }
    const first = world.ask(asked)
    ;(await world.call(0)).answer(Response.json(WHOLE))
    expect(await (await first).json()).toEqual(WHOLE)
    await world.pass(1)
    const hit = await world.ask(asked)
    expect([roleOf(hit), await hit.json()]).toEqual(['hit', WHOLE])
  })

  it('is passed over, replaced or demanded by who says so', async () => {
    const world = createFlightWorld(GROUP)
    const by = (word: string) => ({ headers: { 'x-switchyard-cache': word } })
    const none = await world.ask(by('only-if-cached'))
    expect([none.status, await reasonOf(none)]).toEqual([504, 'not_cached'])
    await answered(world, 0)
    const kept = await world.ask(by('only-if-cached'))
    expect([roleOf(kept), await kept.text()]).toEqual(['hit', chunk('a') + END])
    await world.pass(9_999)
    const young = await world.ask(by('max-age=10'))
    expect([roleOf(young), await young.text()]).toEqual(['hit', chunk('a') + END])
    expect(roleOf((await answered(world, 1, by('max-age=9'))).response)).toBe('miss')
    expect(roleOf((await answered(world, 2, by('refresh'))).response)).toBe('miss')
    expect(roleOf((await answered(world, 3, by('off'))).response)).toBe('bypass')
    const wrong = await world.ask(by('no-store'))
    expect([wrong.status, await reasonOf(wrong)]).toEqual([400, 'invalid_request'])
    expect(world.calls).toHaveLength(4)
  })

  it('is there no more after a purge, at once where that was made', async () => {
    const world = createFlightWorld({ ttl_s: 3600, scope: 'group' })
    await answered(world, 0)
    const orders = [{ client: 'app' }, { model: 'vendor/model' }, { route: 0 }, { all: true }]
    for (const [purged, order] of orders.entries()) {
      expect((await world.admin('cache/purge', order)).status).toBe(200)
      expect(roleOf((await answered(world, purged + 1)).response)).toBe('miss')
    }
    for (const wrong of [{}, { client: 'a', all: true }, { all: false }, { route: 9 }, { x: 1 }]) {
      expect((await world.admin('cache/purge', wrong)).status).toBe(400)
    }
  })

  it.each<[string, string, object]>([
    ['was cut by its length', chunk('a', 'length'), {}],
    ['was filtered', chunk('a', 'content_filter'), {}],
    ['is longer than max_bytes', chunk('x'.repeat(2_000), 'stop'), {}],
    ['is private', chunk('a', 'stop'), { provider: { zdr: true } }],
    ['may not be collected', chunk('a', 'stop'), { provider: { data_collection: 'deny' } }],
    ['may have been searched for', chunk('a', 'stop'), { plugins: [{ id: 'web' }] }],
    [
      'a tool may have searched for',
      chunk('a', 'stop'),
      { tools: [{ type: 'openrouter:web_search' }] },
    ],
  ])('is none that %s', async (_, text, body) => {
    const world = createFlightWorld({ ...GROUP, max_bytes: 1024 })
    for (const number of [0, 1]) {
      const response = world.ask({ body })
      const call = await world.call(number)
      call.answer()
      call.end(`${text}data: [DONE]\n\n`)
      expect(await (await response).text()).toBe(`${text}data: [DONE]\n\n`)
      expect(['miss', 'bypass']).toContain(roleOf(await response))
      await world.pass(1)
    }
  })
})

describe('those who ask meanwhile', () => {
  it('get one answer, an error of upstream too, and begin no second call by it', async () => {
    const world = createFlightWorld(GROUP)
    const asked = [world.ask(), world.ask(), world.ask({ client: 'mate' })]
    const error = { error: { code: 400, message: 'No.', metadata: {} } }
    ;(await world.call(0)).answer(Response.json(error, { status: 400 }))
    for (const response of await Promise.all(asked)) {
      expect([response.status, await response.json()]).toEqual([400, error])
    }
    expect(world.calls).toHaveLength(1)
    await world.pass(1)
    // Who comes later asks upstream again.
    expect(roleOf((await answered(world, 1)).response)).toBe('miss')
  })

  it('all hear once of an answer that breaks off', async () => {
    const world = createFlightWorld(GROUP, { max_attempts: 1 })
    const asked = [world.ask(), world.ask()]
    const call = await world.call(0)
    call.answer()
    call.write(chunk('a'))
    const responses = await Promise.all(asked)
    call.end()
    for (const response of responses) {
      const text = await response.text()
      expect(text.startsWith(chunk('a'))).toBe(true)
      expect(text.match(/"finish_reason":"error"/g)).toHaveLength(1)
    }
    await world.pass(1)
    expect(roleOf((await answered(world, 1)).response)).toBe('miss')
  })

  it('do not pay for a refusal that is another client’s alone', async () => {
    const world = createFlightWorld(GROUP)
    const asked = [world.ask({ client: 'broke' }), world.ask({ client: 'app' })]
    const call = await world.call(0)
    call.answer()
    call.end(chunk('a') + END)
    const [broke, app] = await Promise.all(asked)
    expect([broke?.status, app?.status]).toEqual([402, 200])
    expect(app === undefined ? null : roleOf(app)).toBe('miss')
    expect(await app?.text()).toBe(chunk('a') + END)
    await broke?.text()
    expect(world.calls).toHaveLength(1)
    // Nor does a client whose budget is spent get what is kept.
    await world.pass(1)
    const spent = await world.ask({ client: 'broke' })
    expect([spent.status, roleOf(spent)]).toEqual([402, null])
    await spent.text()
  })

  it('count for their own limits of requests, and are refused by them alone', async () => {
    const world = createFlightWorld(GROUP)
    await answered(world, 0)
    for (const status of [200, 200, 429]) {
      const response = await world.ask({ client: 'mate' })
      expect([response.status, roleOf(response)]).toEqual([status, status === 200 ? 'hit' : null])
      await response.text()
    }
    await (await world.ask({ client: 'app' })).text()
    expect(world.calls).toHaveLength(1)
  })

  it('get what is there at once, however late they come: no clock runs, and upstream says nothing', async () => {
    const world = createFlightWorld(GROUP)
    const first = world.ask()
    const call = await world.call(0)
    call.answer()
    let text = ''
    for (let i = 0; i < 200; i += 1) text += chunk(`part ${i} ${'x'.repeat(1_000)}`)
    call.write(text)
    await first
    // The clock of this world stands still, so whatever waited for it would never come.
    const late = (await world.ask({ client: 'mate' })).body?.getReader()
    let got = ''
    while (got.length < text.length) got += new TextDecoder().decode((await late?.read())?.value)
    expect(got).toBe(text)
    call.end(END)
    expect(await (await first).text()).toBe(text + END)
    while ((await late?.read())?.done === false);
    await world.pass(1)
    expect(world.calls).toHaveLength(1)
  })

  it('make calls of their own where nothing is shared', async () => {
    const world = createFlightWorld({ ttl_s: 60, share: false })
    const first = world.ask()
    await world.call(0)
    const second = world.ask()
    await world.call(1)
    for (const number of [0, 1]) {
      const call = await world.call(number)
      call.answer()
      call.end(chunk('a') + END)
    }
    expect([await first, await second].map(roleOf)).toEqual(['miss', 'bypass'])
    await Promise.all([(await first).text(), (await second).text()])
  })

  it('are not held up by one that does not read, who is cut', async () => {
    const world = createFlightWorld(GROUP, { timeouts: { idle_ms: 1_000 } })
    const asked = [world.ask(), world.ask()]
    const call = await world.call(0)
    call.answer()
    call.write(chunk('a'))
    const [reading, idle] = await Promise.all(asked)
    const long = chunk('x'.repeat(50_000))
    for (let i = 0; i < 10; i += 1) call.write(long)
    const reader = reading?.body?.getReader()
    let got = 0
    while (got < chunk('a').length + 10 * long.length) {
      got += (await reader?.read())?.value?.length ?? 0
    }
    // Upstream goes on meanwhile.
    for (let i = 0; i < 3; i += 1) {
      await world.pass(600)
      call.write(': more\n\n')
      await reader?.read()
    }
    call.end(END)
    for (let read = await reader?.read(); !read?.done; read = await reader?.read()) {
      got += read?.value?.length ?? 0
    }
    expect(got).toBe((chunk('a') + END).length + 10 * long.length)
    const rest = await idle?.text().catch(() => 'broken')
    expect(rest === 'broken' || rest?.includes('"finish_reason":"error"')).toBe(true)
  })

  it('have lines in the log that say what the answer was to them', async () => {
    const world = createFlightWorld(GROUP)
    const asked = [world.ask(), world.ask()]
    const call = await world.call(0)
    call.answer()
    call.end(chunk('a') + END)
    await Promise.all((await Promise.all(asked)).map((response) => response.text()))
    await world.pass(1)
    await (await world.ask()).text()
    await world.pass(1)
    const told = lines.mock.calls.map(([line]) => JSON.parse(String(line)))
    expect(told.map(({ cache, attempts }) => [cache, attempts.length]).toSorted()).toEqual([
      ['hit', 0],
      ['joined', 0],
      ['miss', 1],
    ])
    expect(told.every(({ outcome, status }) => outcome === 'answered' && status === 200)).toBe(true)
  })
})

describe('what operators see', () => {
  /** One that makes an answer, one that joins it, one that bypasses it, and one that gets it later. */
  async function fourRequests(): Promise<World> {
    const world = createFlightWorld(GROUP)
    const named = (id: string, more: object = {}) => ({
      headers: { 'x-request-id': id, ...more },
      body: { stream: false },
    })
    const asked = [world.ask(named('made')), world.ask({ ...named('met'), client: 'mate' })]
    ;(await world.call(0)).answer(Response.json(WHOLE))
    await Promise.all(asked.map(async (one) => await (await one).text()))
    await world.pass(1)
    await (await world.ask(named('later'))).text()
    const own = world.ask(named('own', { 'x-switchyard-cache': 'off' }))
    ;(await world.call(1)).answer(Response.json(WHOLE))
    await (await own).text()
    await world.pass(1_000)
    return world
  }

  it('is each of them by its id, and what the cache was to it', async () => {
    const world = await fourRequests()
    const rows = await Promise.all(
      ['made', 'met', 'later', 'own'].map(async (id) => {
        const found = JSON.parse(await world.shown(`/admin/api/requests?id=${id}`))
        const [row] = found.requests
        return [row.client, row.cache, row.attempts.length, row.usage?.cost_usd ?? null, row.status]
      }),
    )
    expect(rows).toEqual([
      ['app', 'miss', 1, 0.001, 200],
      ['mate', 'joined', 0, null, 200],
      ['app', 'hit', 0, null, 200],
      ['app', 'bypass', 1, 0.001, 200],
    ])
  })

  it('is how many there were, and what they have saved', async () => {
    const world = await fourRequests()
    const bytes = JSON.stringify(WHOLE).length
    const counted = {
      hits: 1,
      joins: 1,
      misses: 1,
      bypasses: 1,
      kept_bytes: bytes,
      saved_usd: 0.002,
    }
    const { cache, total } = JSON.parse(await world.shown('/admin/api/pool'))
    expect(cache).toEqual({ total: counted, today: counted })
    expect(total.cost_usd).toBe(0.002)
    const metrics = await world.shown('/metrics')
    for (const line of [
      ...['hit', 'joined', 'miss', 'bypass'].map(
        (outcome) => `switchyard_cache_requests_total{outcome="${outcome}"} 1`,
      ),
      ...[`switchyard_cache_kept_bytes_total ${bytes}`, 'switchyard_cache_saved_usd_total 0.002'],
    ]) {
      expect(metrics).toContain(`\n${line}\n`)
    }
    expect(await world.shown('/admin')).toMatch(/Shared answers today:.*1 hit.*1 join.*\$0\.0020/s)
  })
})

describe('an object that fails', () => {
  it.each([
    ['is asked twice', new Error('gone'), 2],
    [
      'is asked once if it has too much to do',
      Object.assign(new Error('busy'), { overloaded: true }),
      1,
    ],
  ])('%s, and then the request goes its own way', async (_, error, times) => {
    const world = createFlightWorld(GROUP)
    world.flights.fail(error)
    const { response, text } = await answered(world, 0)
    expect([roleOf(response), text]).toEqual(['bypass', chunk('a') + END])
    expect(world.flights.asked.filter((method) => method === 'join')).toHaveLength(times)
  })

  it('is given up after three seconds of silence', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const join = vi.fn(() => new Promise<never>(() => undefined))
      const client = createFlightClient({
        getByName: () => ({ join, durable: join, fetchAnswer: join, leave: join, isolate: join }),
      })
      const asked = client.fetchAnswer('owner', 'id', null)
      await vi.advanceTimersByTimeAsync(2_999)
      expect(await Promise.race([asked, Promise.resolve('waiting')])).toBe('waiting')
      await vi.advanceTimersByTimeAsync(1)
      expect(await asked).toBeNull()
      expect(join).toHaveBeenCalledTimes(1)
    } finally {
      vi.useRealTimers()
    }
  })
})

it('a gateway without flights serves, and says that it can keep no answer', async () => {
  const world = createFlightWorld({ share: false }, {}, { FLIGHT: undefined })
  const { response, text } = await answered(world, 0)
  expect([roleOf(response), text]).toEqual([null, chunk('a') + END])
  const durable = await world.ask({ headers: { 'x-switchyard-durable': '60' } })
  expect([durable.status, await reasonOf(durable)]).toEqual([503, 'pool_unavailable'])
  expect((await world.fetchAnswer('a')).status).toBe(503)
})

it('a route without a cache asks no object, whatever its requests say but that they want nothing else', async () => {
  const world = createFlightWorld({ share: false })
  const { response } = await answered(world, 0, { headers: { 'x-switchyard-cache': 'refresh' } })
  expect(roleOf(response)).toBeNull()
  const only = await world.ask({ headers: { 'x-switchyard-cache': 'only-if-cached' } })
  expect([only.status, await reasonOf(only)]).toEqual([504, 'not_cached'])
  expect(world.flights.asked).toEqual([])
})

it('a route without a cache costs the objects what it does where no route has one', async () => {
  const asked = await Promise.all(
    [[], [{ models: ['shared/*'], cache: { ttl_s: 60, scope: 'pool' } }]].map(async (routes) => {
      const world = createFlightWorld({}, { routes })
      for (let number = 0; number < 5; number += 1) await answered(world, number)
      await world.pass(1_000)
      return { pool: world.poolAsked, flights: world.flights.asked }
    }),
  )
  expect(asked[1]).toEqual(asked[0])
  expect(asked[0]?.flights).toEqual([])
  expect(asked[0]?.pool).toContain('exchange')
})

describe('the examples of the document', () => {
  const ALIASES = { 'task:classify': 'vendor/model', 'class/helper': 'vendor/model' }

  it('embeddings are made once in a week, for everybody', async () => {
    const world = createFlightWorld({}, { routes: [CACHE_EXAMPLES.embeddings] })
    const body = { model: 'openai/text-embedding-3-small', input: 'Hi', stream: false }
    const asked = { path: 'embeddings', body }
    const made = { data: [{ index: 0, embedding: [0.5] }], usage: { prompt_tokens: 1, cost: 1e-6 } }
    const first = world.ask(asked)
    ;(await world.call(0)).answer(Response.json(made))
    expect(await (await first).json()).toEqual(made)
    await world.pass(7 * 86_400_000 - 1_000)
    const hit = await world.ask({ ...asked, client: 'mate' })
    expect([roleOf(hit), await hit.json()]).toEqual(['hit', made])
    await world.pass(1_000)
    const anew = world.ask(asked)
    ;(await world.call(1)).answer(Response.json(made))
    expect(roleOf(await anew)).toBe('miss')
    await (await anew).text()
  })

  it('a question with temperature 0 is answered once in an hour, for its group', async () => {
    const routes = [CACHE_EXAMPLES.temperatureZero]
    const world = createFlightWorld({}, { routes, aliases: ALIASES })
    const body = { model: 'task:classify', temperature: 0, stream: false }
    const first = world.ask({ body })
    ;(await world.call(0)).answer(Response.json(WHOLE))
    await (await first).text()
    await world.pass(3_599_000)
    const hit = await world.ask({ body, client: 'mate' })
    expect([roleOf(hit), await hit.json()]).toEqual(['hit', WHOLE])
    const warmer = world.ask({ body: { ...body, temperature: 1 } })
    ;(await world.call(1)).answer(Response.json(WHOLE))
    expect(roleOf(await warmer)).toBe('miss')
    await (await warmer).text()
  })

  it('a class of thirty that runs a cell at once makes one call, and another when it runs it again', async () => {
    const tokens = Array.from({ length: 30 }, (_, i) => `sy-token-of-pupil-${i}-of-30`)
    const clients = tokens.map((token, i) => ({ id: `pupil-${i}`, token, group: 'class' }))
    const CLIENT_KEYS = JSON.stringify({ groups: [{ id: 'class' }], clients })
    const policy = { routes: [CACHE_EXAMPLES.class], aliases: ALIASES }
    const world = createFlightWorld({}, policy, { CLIENT_KEYS })
    for (const run of [0, 1]) {
      const asked = tokens.map((token) =>
        world.ask({
          headers: { authorization: `Bearer ${token}` },
          body: { model: 'class/helper' },
        }),
      )
      const call = await world.call(run)
      call.answer()
      call.write(chunk('a'))
      const responses = await Promise.all(asked)
      call.end(END)
      const roles = Object.groupBy(responses.map(roleOf), (role) => String(role))
      expect([roles.miss?.length, roles.joined?.length]).toEqual([1, 29])
      const texts = await Promise.all(responses.map((response) => response.text()))
      expect(new Set(texts)).toEqual(new Set([chunk('a') + END]))
      await world.pass(1)
    }
    expect(world.calls).toHaveLength(2)
  })
})
