import { describe, expect, it } from 'vitest'
import { API_SHAPES } from '../../src/openrouter/shapes/shape-registry.ts'
import { HELLO } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, type Script, streamOf } from './upstream-script.ts'
import {
  createVirtualWorld,
  keyOf,
  type SendOptions,
  START_MS,
  type VirtualWorld,
  type WorldOptions,
} from './virtual-world.ts'

const CHAT = 'chat/completions'
const GOOD = streamOf(HELLO)
const REJECTED = errorAnswer(401, 'User not found.')

async function ask(world: VirtualWorld, request: SendOptions = {}) {
  const sent = world.send(request)
  const report = await world.finish(sent)
  return { report, rows: report.attempts.map(({ row }) => row), ...(await sent.whole()) }
}

async function journey(
  scripts: readonly Script[],
  options: WorldOptions = {},
  request: SendOptions = {},
) {
  const world = createVirtualWorld(options)
  world.upstream.on(CHAT, ...scripts)
  world.upstream.on('key', jsonAnswer(500, {}))
  return { world, ...(await ask(world, request)), keys: world.keysCalled() }
}

describe('a mistake of the caller', () => {
  it('that a provider found with the account’s own key is answered at once, to the byte', async () => {
    const tooLong = errorAnswer(400, 'Provider returned error', {
      provider_name: 'Anthropic',
      is_byok: true,
      raw: 'prompt is too long: 240000 tokens > 200000 maximum',
    })
    const { keys, status, text, world } = await journey([tooLong, GOOD])
    expect(keys).toEqual(['a'])
    expect(status).toBe(400)
    expect(text).toBe(tooLong.body?.map((step) => ('text' in step ? step.text : '')).join(''))
    expect([...world.pool.state.accounts.values()].flatMap((a) => [...a.modelBenches])).toEqual([])
  })

  it.each(['vendor/first is not a valid model ID', 'The model vendor/first-1.5 does not exist'])(
    'about a model that OpenRouter does not know goes to the fallback: %s',
    async (message) => {
      const unknown = errorAnswer(400, message)
      const request = { model: 'vendor/first', fallbacks: ['vendor/second'] }
      const { world, status, keys } = await journey([unknown, GOOD], {}, request)
      expect(status).toBe(200)
      expect(world.modelsCalled()).toEqual(['vendor/first', 'vendor/second'])
      expect(keys).toHaveLength(2)
      expect((await journey([unknown, GOOD], {}, { model: 'vendor/first' })).status).toBe(400)
    },
  )
})

describe('a free-tier limit', () => {
  const reset = { 'X-RateLimit-Reset': String(START_MS + 40_000) }
  const limit = (headers = {}) =>
    errorAnswer(429, 'Rate limit exceeded: free-models-per-min. ', { headers: reset }, headers)

  it('that nothing got round is passed on as it came, with its reset', async () => {
    const given = limit({ 'x-ratelimit-reset': String(START_MS + 40_000) })
    for (const spill of [{}, { freeTier: true }]) {
      const { status, text, headers } = await journey([given], { spill }, { model: 'v/m:free' })
      expect(status).toBe(429)
      expect(JSON.parse(text).error.metadata.headers).toEqual(reset)
      expect(headers.get('x-ratelimit-reset')).toBe(String(START_MS + 40_000))
    }
  })

  it('is not hidden by keys that fail after it, and does not hide what tells more', async () => {
    const spill = { freeTier: true }
    const spent = errorAnswer(402, 'Insufficient credits')
    expect((await journey([limit(), spent], { spill })).status).toBe(429)
    const bad = errorAnswer(400, 'Bad request')
    expect((await journey([limit(), bad], { spill })).status).toBe(400)
  })

  it.each(['openrouter/free', 'vendor/m:free:online', '@preset/cheap', '~vendor/m-latest'])(
    'is remembered for %s, whatever its name says',
    async (model) => {
      const { world } = await journey([limit(), GOOD], {}, { model })
      expect((await ask(world, { model })).status).toBe(200)
      expect(world.keysCalled()).toEqual(['a', 'b'])
      expect((await ask(world, { model: 'vendor/paid' })).status).toBe(200)
      expect(world.keysCalled()).toEqual(['a', 'b', 'a'])
    },
  )

  it('takes no model from others that was paid for: a caller may name it beside a free one', async () => {
    const { world } = await journey([GOOD, limit(), GOOD])
    expect((await ask(world)).status).toBe(429)
    expect((await ask(world)).status).toBe(200)
    expect(world.keysCalled()).toEqual(['a', 'a', 'a'])
  })
})

describe('401 for all keys of several accounts', () => {
  it('benches them for seconds: after a second of it the pool serves again at once', async () => {
    const world = createVirtualWorld({ maxAttempts: 4 })
    world.upstream.on(CHAT, REJECTED)
    world.upstream.on('key', REJECTED)
    expect((await ask(world)).status).toBe(502)
    expect(world.keysCalled()).toEqual(['a', 'b', 'c', 'd'])
    // Ten seconds have passed, and `/key` has refused every key as well.
    expect(world.pool.lookups.filter(({ kind }) => kind === 'rejected').length).toBeGreaterThan(1)
    world.upstream.on(CHAT, GOOD)
    expect((await ask(world)).status).toBe(200)
    for (const { breaker } of world.pool.state.keys.values()) expect(breaker.kind).toBe('closed')
  })

  it('goes on for seconds however long it lasts', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, REJECTED)
    world.upstream.on('key', REJECTED)
    for (let minute = 0; minute < 5; minute++) {
      await ask(world)
      await world.time.advance(60_000)
    }
    world.upstream.on(CHAT, GOOD)
    expect((await ask(world)).status).toBe(200)
  })

  it('while keys of one account, or a single key, are rejected as ever', async () => {
    const one = [
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
    ]
    const world = createVirtualWorld({ keys: one })
    world.upstream.on(CHAT, REJECTED)
    world.upstream.on('key', REJECTED)
    await ask(world)
    world.upstream.on(CHAT, GOOD)
    expect((await ask(world)).status).toBe(503)
    const among = createVirtualWorld()
    among.upstream.on(CHAT, REJECTED, GOOD)
    among.upstream.on('key', REJECTED)
    await ask(among)
    await among.time.advance(120_000)
    await ask(among)
    expect(among.keysCalled()).toEqual(['a', 'b', 'b'])
  })
})

describe('an error whose body hangs', () => {
  const hanging = (status: number, text = '{"err'): Script => ({
    status,
    headers: { 'content-type': 'application/json' },
    body: [{ text }],
    end: 'hang',
  })

  it.each([
    [401, '4'],
    [402, '9'],
    [500, '1'],
  ])(
    'holds the next key up for two seconds and is what its status says: %i',
    async (status, row) => {
      const { world, rows } = await journey([hanging(status), GOOD])
      expect(rows).toEqual([row, null])
      const [first, second] = world.upstream.calls.filter(({ path }) => path === CHAT)
      expect(second?.atMs).toBeLessThan(START_MS + 2_500)
      expect(first?.abortedAtMs).toBe(START_MS + 2_000)
    },
  )

  it('is read as far as it came', async () => {
    const limit = JSON.stringify({
      error: { code: 403, message: 'Key limit exceeded (daily limit)' },
    })
    expect((await journey([hanging(403, limit), GOOD])).rows).toEqual(['5', null])
  })
})

describe('an answer that is paid in full', () => {
  const slow: Script = { connection: 'hang' }

  for (const shape of API_SHAPES) {
    const isPaid = /^(?:images|audio\/)/.test(shape.path)
    it(`${shape.path} is ${isPaid ? 'not ' : ''}tried again after a timeout`, async () => {
      const world = createVirtualWorld({ shape })
      world.upstream.on(shape.path, slow)
      expect((await ask(world)).status).toBe(504)
      expect(world.upstream.calls).toHaveLength(isPaid ? 1 : 4)
    })
  }

  it('moves on after any other failure', async () => {
    const shape = API_SHAPES.find(({ path }) => path === 'images')
    const world = createVirtualWorld(shape === undefined ? {} : { shape })
    world.upstream.on('images', { connection: 'refused' }, jsonAnswer(200, { data: [{}] }))
    expect((await ask(world)).status).toBe(200)
    expect(world.upstream.calls.map(keyOf)).toEqual(['a', 'b'])
  })
})

describe('where no other key may serve', () => {
  const RESET: Script = { connection: 'refused' }
  const one = { keys: ['a'] }

  it('a broken connection is tried once more with the same key, and once only', async () => {
    expect(await journey([RESET, GOOD], one)).toMatchObject({ status: 200, keys: ['a', 'a'] })
    expect(await journey([RESET], one)).toMatchObject({ status: 502, keys: ['a', 'a'] })
    const two = { keys: ['a', 'b'] }
    expect(await journey([RESET], two)).toMatchObject({ status: 502, keys: ['a', 'b', 'b'] })
  })

  it('so is one without the pool', async () => {
    const world = createVirtualWorld(one)
    world.pool.connect([], 'unreachable')
    world.upstream.on(CHAT, RESET, GOOD)
    expect((await ask(world)).status).toBe(200)
  })

  it('the retry budget pays for it, or it is not tried', async () => {
    const pool = { retryBudget: { ratio: 0, minPerSecond: 0 } }
    expect((await journey([RESET, GOOD], { ...one, pool })).keys).toEqual(['a'])
  })

  it('a fault of the key or of the caller is not', async () => {
    const spent = errorAnswer(403, 'Key limit exceeded (total limit)')
    for (const fault of [spent, errorAnswer(400, 'Bad')]) {
      expect((await journey([fault, GOOD], one)).keys).toEqual(['a'])
    }
  })
})

describe('a Retry-After of an hour from one key', () => {
  const BUSY = errorAnswer(503, 'Overloaded', {}, { 'retry-after': '3600' })

  it('rests that key for that model while the others serve', async () => {
    const { world, status } = await journey([BUSY, GOOD])
    expect(status).toBe(200)
    await ask(world)
    expect(world.keysCalled()).toEqual(['a', 'b', 'b'])
    await ask(world, { model: 'vendor/other' })
    expect(world.keysCalled().at(-1)).toBe('a')
    await world.time.advance(3_600_000)
    await ask(world)
    expect(world.keysCalled().at(-1)).toBe('a')
  })

  it('rests no key where the model is at fault: one caller takes no key from the others', async () => {
    const { world } = await journey([BUSY])
    const rests = [...world.pool.state.keys.values()].map((key) => key.modelBenches.size)
    expect(rests).toEqual([0, 0, 0, 0])
  })
})

describe('the Retry-After of a refusal', () => {
  it('is never later than the next lookup that may bring a key back', async () => {
    const spent = errorAnswer(403, 'Key limit exceeded (monthly limit)')
    const world = createVirtualWorld({ keys: ['a', 'b'], lookups: 'routine', maxAttempts: 2 })
    const empty = { limit: 5, limit_remaining: 0, limit_reset: 'monthly' }
    world.upstream.on('key', jsonAnswer(200, { data: empty }))
    world.upstream.on(CHAT, spent)
    const first = await ask(world)
    expect(Number(first.headers.get('retry-after') ?? 0)).toBeLessThanOrEqual(72)
    for (let i = 0; i < 3; i++) {
      const { status, headers } = await ask(world)
      expect(status).toBe(429)
      const waitS = Number(headers.get('retry-after'))
      expect(waitS).toBeGreaterThanOrEqual(1)
      expect(waitS).toBeLessThanOrEqual(72)
    }
  })
})
