import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { clientId } from '../../../src/balancing/ids.ts'
import { REQUESTS, type ShapePath, SOUND, STREAMING } from '../../simulator/shape-requests.ts'
import { booked, charged, createLedgerWorld, type LedgerWorld, pass } from './ledger-world.ts'

/** What has gone wrong with the budgets of other gateways, each with the test that it does not here. */

const NOON = Date.UTC(2026, 0, 15, 12)

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: NOON })
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
})
afterEach(() => void vi.useRealTimers())

const CHAT = '/chat/completions'
const MODEL = REQUESTS[CHAT].model
const ASK = { ...REQUESTS[CHAT], max_tokens: 20 }
const STREAM = { ...ASK, stream: true }

const exact = (usd: number, period = 'day') => ({ usd, period, mode: 'exact' })
const perToken = (prompt: string, completion: string) => ({ [MODEL]: { prompt, completion } })

/** An answer costs 0.02 USD, and a little for its prompt. It takes a second, or so many tokens a second. */
const COSTLY = {
  ...{ ttftMs: 1_000, tokensPerSecond: null, answerTokens: 20 },
  prices: perToken('0.000001', '0.001'),
}

/** The budgets of a client, or its group. */
const budgetsOf = async (world: LedgerWorld, id: string) => (await booked(world)).budgets[id] ?? []

/** Sends a first request, so that prices are known. */
async function learnPrices(world: LedgerWorld, client: string): Promise<void> {
  world.send(client, CHAT, ASK)
  await world.untilOver()
}

/** Whether nothing is held any more, and each budget of the world has just what was charged. */
async function expectClosed(world: LedgerWorld, owners: readonly string[]): Promise<number> {
  const { totalNanos } = await charged(world)
  const books = await booked(world)
  expect(books).toMatchObject({ live: 0, inFlight: 0, estimated: 0 })
  for (const owner of owners) {
    for (const budget of books.budgets[owner] ?? []) {
      const spent = { spentNanos: totalNanos, reservedNanos: 0, lostNanos: 0 }
      expect([owner, budget]).toEqual([owner, spent])
    }
  }
  return totalNanos
}

describe('a cancelled stream that never settles', () => {
  it.each([
    ['of an upstream that goes on', null],
    ['of an upstream that has fallen silent', 'stall'],
    ['of an upstream that has sent nothing but headers', 'hang-after-headers'],
  ])('%s', async (_, fault) => {
    const budget = exact(5)
    const world = await createLedgerWorld({
      ...{ clients: [{ id: 'app', group: 'team', budget }], groups: [{ id: 'team', budget }] },
      maxSpend: exact(5),
    })
    await world.control.patchSettings({ ttftMs: 100, tokensPerSecond: 10, answerTokens: 50 })
    await learnPrices(world, 'app')
    if (fault !== null) await world.control.rule({ fault, params: { events: 3 } })
    const sent = STREAMING.filter((path) => path !== '/images').map((path) =>
      world.send('app', path, { ...REQUESTS[path], stream: true }),
    )
    await pass(1_000)
    const [running] = await budgetsOf(world, 'app')
    expect(running?.reservedNanos).toBeGreaterThan(0)
    for (const { leave } of sent) leave()
    await world.untilOver()
    await world.minutes(5)
    expect(await expectClosed(world, ['app', 'team'])).toBeGreaterThan(0)
  })
})

describe('reservations leaked by an upgrade', () => {
  it('of the object, while requests run: nothing stays reserved, and nothing is forgotten', async () => {
    const world = await createLedgerWorld({ clients: [{ id: 'app', budget: exact(1) }] })
    await world.control.patchSettings({ ...COSTLY, tokensPerSecond: 1 })
    const sent = Array.from({ length: 3 }, () => world.send('app', CHAT, STREAM))
    for (let i = 0; i < 3; i++) {
      await pass(6_000, 100)
      world.pool.restart()
    }
    await world.untilOver()
    expect(await Promise.all(sent.map(({ status }) => status))).toContain(200)
    await world.minutes(5)
    const { totalNanos } = await charged(world)
    const [budget] = await budgetsOf(world, 'app')
    expect(budget?.reservedNanos).toBe(0)
    expect((budget?.spentNanos ?? 0) + (budget?.lostNanos ?? 0)).toBeGreaterThanOrEqual(totalNanos)
    expect(await booked(world)).toMatchObject({ live: 0, inFlight: 0 })
  })
})

/** Sends each event that tells usage twice. */
function toldTwice(response: Response): Response {
  if (!response.headers.get('content-type')?.includes('event-stream')) return response
  let rest = ''
  const twice = new TransformStream<string, string>({
    transform(text, controller) {
      const events = (rest + text).split('\n\n')
      rest = events.pop() ?? ''
      for (const event of events) {
        controller.enqueue(`${event}\n\n`)
        if (/"usage":\{/.test(event)) controller.enqueue(`${event}\n\n`)
      }
    },
  })
  const body = response.body
    ?.pipeThrough(new TextDecoderStream())
    .pipeThrough(twice)
    .pipeThrough(new TextEncoderStream())
  return new Response(body, response)
}

describe('spend booked twice', () => {
  const PATHS = STREAMING.filter((path) => path !== '/images')

  /** What is booked of one answer: its tokens and its cost. */
  async function bookedOfOne(path: ShapePath, stream: boolean, isToldTwice: boolean) {
    const world = await createLedgerWorld({
      ...{ clients: [{ id: 'app', group: 'team', budget: exact(5) }], maxSpend: exact(5) },
      groups: [{ id: 'team', budget: exact(5, 'total') }],
      ...(isToldTwice ? { tamper: toldTwice } : {}),
    })
    const { text } = world.send('app', path, { ...REQUESTS[path], stream })
    await world.untilOver()
    const usages = (await text).match(/"usage":\{/g)?.length
    const paid = await expectClosed(world, ['app', 'team'])
    const { byKey, byModel, byClient, byGroup, keySpend } = await booked(world)
    for (const sums of [byKey, byModel, byClient, byGroup]) {
      expect(Object.values(sums)).toEqual([paid])
    }
    expect(Object.values(keySpend)).toContain(paid)
    const tally = world.pool.state().ledger.byClient.get(clientId('app'))?.total
    return { usages, tally }
  }

  it.each(PATHS)(
    'on %s, streamed: told at the beginning and at the end, and again',
    async (path) => {
      const once = await bookedOfOne(path, true, false)
      const twice = await bookedOfOne(path, true, true)
      expect(twice.usages).toBe(2 * (once.usages ?? 0))
      if (path === '/messages') expect(once.usages).toBe(2)
      expect(twice.tally).toEqual(once.tally)
      expect(once.tally?.promptTokens).toBeGreaterThan(0)
    },
  )

  it.each(PATHS)('on %s, whole', async (path) => {
    expect(await bookedOfOne(path, false, false)).toMatchObject({ usages: 1 })
  })
})

describe('a route that forgets the reservation', () => {
  const form = (path: string, model: string) => {
    const body = new FormData()
    body.append('model', model)
    body.append('file', SOUND, 'sound.wav')
    return [path, body] as const
  }
  const question = (path: ShapePath) => [path, REQUESTS[path]] as const
  const ROUTES: readonly (readonly [string, string, object])[] = [
    ['a form', ...form('/audio/transcriptions', 'openai/whisper-1')],
    ['sound to text, as JSON', ...question('/audio/transcriptions')],
    ['text to sound', ...question('/audio/speech')],
    ['an extra path', '/videos', ASK],
    ['a form to an extra path', ...form('/videos', MODEL)],
    ['images', ...question('/images')],
    ['embeddings', ...question('/embeddings')],
    ['rerank', ...question('/rerank')],
  ]
  /** The simulator has no videos. */
  async function video(url: string): Promise<Response> {
    await new Promise<void>((resolve) => void setTimeout(resolve, 1_500))
    return Response.json({ id: 'video', url, usage: { cost: 0.03, prompt_tokens: 5 } })
  }

  it.each(ROUTES)('%s', async (_, path, body) => {
    const world = await createLedgerWorld({
      clients: [
        { id: 'app', group: 'team', budget: exact(5) },
        { id: 'poor', budget: exact(0.000_000_001) },
      ],
      ...{ groups: [{ id: 'team', budget: exact(5, 'month') }], maxSpend: exact(5) },
      policy: { extra_paths: ['videos'] },
      elsewhere: (url) => (url.endsWith('/videos') ? video(url) : null),
    })
    await world.control.patchSettings({ ttftMs: 1_000 })
    const { status } = world.send('app', path, body)
    await pass(700)
    const running = await booked(world)
    const reserved = [...(running.budgets.app ?? []), ...(running.budgets.team ?? [])].map(
      ({ reservedNanos }) => reservedNanos > 0,
    )
    expect(reserved).toEqual([true, true])
    await world.untilOver()
    expect(await status).toBe(200)
    await world.minutes(2)
    const spent = await expectSpent(world, path === '/videos' ? 0.03e9 : null)
    expect(spent).toBeGreaterThan(0)
    const refused = world.send('poor', path, body)
    await world.untilOver()
    expect(await refused.status).toBe(402)
  })

  async function expectSpent(world: LedgerWorld, nanos: number | null): Promise<number> {
    const spentNanos = nanos ?? (await charged(world)).totalNanos
    const { budgets } = await booked(world)
    const spent = [{ spentNanos, reservedNanos: 0, lostNanos: 0 }]
    expect([budgets.app, budgets.team]).toEqual([spent, spent])
    return spentNanos
  }
})

it('a long-context tier priced too low: what is reserved covers it on either side of the step', async () => {
  const lengths = [20, 60, 90, 99, 100, 101, 110, 150, 400, 2_000]
  const clients = lengths.map((length) => ({ id: `asks-${length}`, budget: exact(100) }))
  const world = await createLedgerWorld({
    clients: [{ id: 'app', budget: exact(100) }, ...clients],
  })
  const tier = { min_prompt_tokens: 100, prompt: '0.001', completion: '0.002' }
  await world.control.patchSettings({
    ...COSTLY,
    prices: { [MODEL]: { prompt: '0.000001', completion: '0.000001', overrides: [tier] } },
  })
  await learnPrices(world, 'app')
  const before = await charged(world)
  for (const length of lengths) {
    const messages = [{ role: 'user', content: 'word '.repeat(length) }]
    world.send(`asks-${length}`, CHAT, { ...ASK, messages })
  }
  await pass(500)
  const reserved = await Promise.all(
    clients.map(async ({ id }) => (await budgetsOf(world, id))[0]?.reservedNanos ?? 0),
  )
  await world.untilOver()
  const spent = await Promise.all(
    clients.map(async ({ id }) => (await budgetsOf(world, id))[0]?.spentNanos ?? 0),
  )
  const { totalNanos } = await charged(world)
  expect(spent.reduce((sum, nanos) => sum + nanos, before.totalNanos)).toBe(totalNanos)
  expect(Math.max(...spent)).toBeGreaterThan(100 * Math.min(...spent))
  const uncovered = lengths.filter((_, i) => (reserved[i] ?? 0) < (spent[i] ?? 0))
  expect(uncovered).toEqual([])
})

it('a worst-case bound that blocks a small budget: `capped` serves what `exact` cannot', async () => {
  const capped = { usd: 1, period: 'day', mode: 'capped' }
  const clients = [
    { id: 'capped', budget: capped },
    { id: 'exact', budget: exact(1) },
  ]
  const world = await createLedgerWorld({ clients })
  await world.control.patchSettings(COSTLY)
  await learnPrices(world, 'capped')
  // Without max_tokens it may cost sixteen dollars.
  const open = REQUESTS[CHAT]
  const sent = Array.from({ length: 8 }, () => world.send('capped', CHAT, open))
  const refused = world.send('exact', CHAT, open)
  await world.untilOver()
  expect(await Promise.all(sent.map(({ status }) => status))).toEqual(sent.map(() => 200))
  expect(await refused.status).toBe(402)
  expect(await expectClosed(world, ['capped'])).toBeGreaterThan(9 * 0.02e9)
})

describe('the first requests of a client that nobody has seen, at once', () => {
  it.each([
    ['a budget', { budget: exact(0.5) }, [22, 25]],
    ['a rate', { rpm: 7 }, [7, 7]],
    ['max_concurrent', { max_concurrent: 3 }, [3, 3]],
  ])('are held to %s, in three isolates', async (_, limits, [least = 0, most = 0]) => {
    const world = await createLedgerWorld({
      clients: [],
      policy: { queue: { max_wait_ms: 60_000 } },
    })
    await world.control.patchSettings({ ...COSTLY, ttftMs: 100 })
    const made = await world.admin('POST', 'clients', { id: 'fresh', ...limits })
    const headers = { authorization: `Bearer ${made.body.token}` }
    const sent = Array.from({ length: 100 }, (_, i) =>
      world.send('fresh', CHAT, i % 2 === 0 ? ASK : STREAM, { headers, isolate: i % 3 }),
    )
    await world.untilOver(90_000)
    const statuses = await Promise.all(sent.map(({ status }) => status))
    const served = statuses.filter((status) => status === 200).length
    expect(served).toBeGreaterThanOrEqual(least)
    expect(served).toBeLessThanOrEqual(most)
    const paid = await expectClosed(world, ['fresh'])
    expect(paid).toBeLessThanOrEqual(0.5e9)
  })
})

it('no budget configured, yet blocked: who has none is served, whatever others have spent', async () => {
  const clients = [
    { id: 'spent', budget: exact(0), group: 'poor' },
    { id: 'free' },
    { id: 'member', group: 'open' },
    { id: 'limited', rpm: 10 },
  ]
  const groups = [{ id: 'poor', budget: exact(0) }, { id: 'open' }]
  const world = await createLedgerWorld({ clients, groups })
  const send = (id: string, body: object) => ({ id, ...world.send(id, CHAT, body) })
  const first = clients.map(({ id }) => send(id, ASK))
  // Nobody knows what this model costs.
  const unpriced = clients.map(({ id }) => send(id, { ...ASK, model: 'sim/ok' }))
  await world.untilOver()
  for (const { id, status } of [...first, ...unpriced]) {
    expect([id, await status]).toEqual([id, id === 'spent' ? 402 : 200])
  }
})

describe('`upstream_inference_cost`', () => {
  it.each([
    ['counted for non-BYOK', null, true, false],
    ['left out with BYOK, though the budget includes it', 0.05, true, true],
    ['counted with BYOK, though the budget does not include it', 0.05, false, false],
  ])('%s', async (_, byokFee, include_byok, isCounted) => {
    const clients = [{ id: 'app', budget: { ...exact(5), include_byok } }]
    const world = await createLedgerWorld({ clients })
    await world.control.patchSettings({ byokFee })
    for (const stream of [true, false]) world.send('app', CHAT, { ...ASK, stream })
    await world.untilOver()
    const { charges } = await charged(world)
    const sumOf = (name: 'costUsd' | 'upstreamUsd') =>
      charges.reduce((sum, charge) => sum + Math.round(charge[name] * 1e9), 0)
    expect(sumOf('upstreamUsd')).toBeGreaterThan(0)
    const spentNanos = sumOf('costUsd') + (isCounted ? sumOf('upstreamUsd') : 0)
    expect(await budgetsOf(world, 'app')).toMatchObject([{ spentNanos, reservedNanos: 0 }])
  })
})

it('a window’s end while a request runs: the new one pays once, and nothing of it stays reserved', async () => {
  const midnight = Date.UTC(2026, 0, 16)
  vi.setSystemTime(midnight - 20_000)
  const budget = [exact(0.05), exact(5, 'total')]
  const world = await createLedgerWorld({ clients: [{ id: 'app', budget }] })
  await world.control.patchSettings(COSTLY)
  await learnPrices(world, 'app')
  const first = (await charged(world)).totalNanos
  await pass(midnight - Date.now() - 500, 500)
  const running = world.send('app', CHAT, STREAM)
  await pass(400)
  const [day] = await budgetsOf(world, 'app')
  expect([day?.spentNanos, (day?.reservedNanos ?? 0) > 0.02e9]).toEqual([first, true])
  await world.untilOver()
  expect([await running.status, Date.now() > midnight]).toEqual([200, true])
  const { totalNanos } = await charged(world)
  const spent = (nanos: number) => ({ spentNanos: nanos, reservedNanos: 0, lostNanos: 0 })
  expect(await budgetsOf(world, 'app')).toEqual([spent(totalNanos - first), spent(totalNanos)])
  // What the old day has spent is not the new one’s: there is room for one more.
  const more = world.send('app', CHAT, ASK)
  await world.untilOver()
  expect(await more.status).toBe(200)
})

it('a budget lowered below what is reserved: what runs ends, and nothing starts until there is room', async () => {
  const world = await createLedgerWorld({ clients: [] })
  await world.control.patchSettings(COSTLY)
  const made = await world.admin('POST', 'clients', { id: 'app', budget: exact(1) })
  const headers = { authorization: `Bearer ${made.body.token}` }
  const send = (body: object) => world.send('app', CHAT, body, { headers })
  const change = (usd: number) => world.admin('PATCH', 'clients/app', { budget: exact(usd) })
  send(ASK)
  await world.untilOver()
  const running = Array.from({ length: 10 }, () => send(STREAM))
  await pass(300)
  expect((await change(0.1)).status).toBe(200)
  const [lowered] = await budgetsOf(world, 'app')
  expect(lowered?.reservedNanos).toBeGreaterThan(0.2e9)
  const over = send(ASK)
  await world.untilOver()
  expect(await Promise.all(running.map(({ status }) => status))).toEqual(running.map(() => 200))
  expect(await over.status).toBe(402)
  const paid = await expectClosed(world, ['app'])
  expect((await change(paid / 1e9 + 0.03)).status).toBe(200)
  const again = send(ASK)
  await world.untilOver()
  expect(await again.status).toBe(200)
})
