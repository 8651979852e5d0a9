import { describe, expect, it } from 'vitest'
import { DONE, errorEventOf, HELLO } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, START_MS, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'

const GOOD = streamOf(HELLO)
const PROVIDER = errorAnswer(502, 'Provider returned error', { provider_name: 'Vendor' })
const UPSTREAM = errorAnswer(503, 'Overloaded')
const NO_ENDPOINTS = errorAnswer(404, 'No endpoints found for vendor/first.')
const FREE_LIMIT = errorAnswer(429, 'Rate limit exceeded: free-models-per-day', {
  headers: { 'X-RateLimit-Reset': String(START_MS + 3_600_000) },
})
const CALLER = errorAnswer(400, 'Bad request')

const MODELS = { model: 'vendor/first', fallbacks: ['vendor/second', 'vendor/third'] }

async function journey(
  scripts: readonly Script[],
  options: WorldOptions = {},
  request: object = {},
) {
  const world = createVirtualWorld({ maxAttempts: 10, ...options })
  world.upstream.on(CHAT, ...scripts)
  world.upstream.on('key', jsonAnswer(500, {}))
  const sent = world.send({ ...MODELS, ...request })
  const report = await world.finish(sent)
  const { status, headers, text } = await sent.whole()
  const asked = world.keysCalled().map((key, i) => `${key} ${world.modelsCalled()[i]}`)
  return { world, report, status, headers, text, asked }
}

describe('another model takes the place of one', () => {
  it('whose provider failed twice; all keys may serve the other', async () => {
    const { asked, status, headers, report, world } = await journey([PROVIDER, PROVIDER, GOOD])
    expect(asked).toEqual(['a vendor/first', 'b vendor/first', 'a vendor/second'])
    expect(status).toBe(200)
    expect(headers.get('x-switchyard-model')).toBe('vendor/second')
    expect(headers.get('x-switchyard-attempts')).toBe('3')
    expect(report.attempts.map(({ model }) => model)).toEqual([
      'vendor/first',
      'vendor/first',
      'vendor/second',
    ])
    expect(world.pool.inFlight()).toBe(0)
  })

  it('that no provider serves', async () => {
    const { asked } = await journey([NO_ENDPOINTS, GOOD])
    expect(asked).toEqual(['a vendor/first', 'a vendor/second'])
  })

  it('that is free and at its account’s limit, on the same key', async () => {
    const request = { model: 'vendor/first:free' }
    const { asked, headers } = await journey([FREE_LIMIT, GOOD], {}, request)
    expect(asked).toEqual(['a vendor/first:free', 'a vendor/second'])
    expect(headers.get('x-switchyard-model')).toBe('vendor/second')
  })

  it('when its first event is the error', async () => {
    const failing = streamOf(errorEventOf(502, 'Busy', { provider_name: 'Vendor' }) + DONE)
    const { asked, text } = await journey([failing, failing, GOOD])
    expect(asked).toEqual(['a vendor/first', 'b vendor/first', 'a vendor/second'])
    expect(text).toBe(HELLO)
  })

  it('one after the other, until one is good or all have failed', async () => {
    const all = await journey([PROVIDER])
    expect(all.asked).toEqual([
      'a vendor/first',
      'b vendor/first',
      'a vendor/second',
      'b vendor/second',
      'a vendor/third',
      'b vendor/third',
    ])
    expect(all.status).toBe(502)
    const third = await journey([PROVIDER, PROVIDER, NO_ENDPOINTS, GOOD])
    expect(third.headers.get('x-switchyard-model')).toBe('vendor/third')
  })

  it('within max_attempts, whatever it is that fails', async () => {
    const { asked, headers } = await journey([PROVIDER], { maxAttempts: 3 })
    expect(asked).toHaveLength(3)
    expect(headers.get('x-switchyard-attempts')).toBe('3')
  })

  it.each([
    ['no provider answers', UPSTREAM, 2],
    ['its provider fails', PROVIDER, 2],
    ['no provider answers', UPSTREAM, 3],
    ['OpenRouter fails', errorAnswer(500, 'Internal'), 3],
    ['a page of the edge comes', { status: 502, body: [{ text: '<html>' }] }, 3],
  ])('with the last attempt, however many keys are left: %s', async (_, failing, maxAttempts) => {
    const failures = Array.from({ length: maxAttempts - 1 }, () => failing)
    const { asked, status } = await journey([...failures, GOOD], { maxAttempts })
    const first = ['a vendor/first', 'b vendor/first'].slice(0, maxAttempts - 1)
    expect(asked).toEqual([...first, 'a vendor/second'])
    expect(status).toBe(200)
  })

  it('with the last attempt; if that fails too, its error is the answer', async () => {
    const failing = errorAnswer(503, 'Overloaded, too')
    const { asked, status, text } = await journey([UPSTREAM, failing], { maxAttempts: 2 })
    expect(asked).toEqual(['a vendor/first', 'a vendor/second'])
    expect([status, text]).toEqual([503, expect.stringContaining('Overloaded, too')])
  })

  it('at once where no retry can be paid for', async () => {
    const poor = { pool: { retryBudget: { ratio: 0, minPerSecond: 0 } } }
    const { asked } = await journey([PROVIDER, GOOD], poor)
    expect(asked).toEqual(['a vendor/first', 'a vendor/second'])
  })
})

describe('no other model takes the place', () => {
  it.each([
    ['of one that the caller asked for wrongly', CALLER],
    ['where OpenRouter itself fails: it would fail with any', errorAnswer(500, 'Internal')],
  ])('%s', async (_, failure) => {
    const poor = { pool: { retryBudget: { ratio: 0, minPerSecond: 0 } } }
    const { asked, headers } = await journey([failure, GOOD], poor)
    expect(asked).toEqual(['a vendor/first'])
    expect(headers.get('x-switchyard-model')).toBeNull()
    const last = await journey([failure, GOOD], { ...poor, maxAttempts: 2 })
    expect(last.asked).toEqual(['a vendor/first'])
  })

  it('of one that failed with one key in a way that may be the key’s', async () => {
    const failing = errorAnswer(500, 'Internal')
    const { asked } = await journey([failing, GOOD], { maxAttempts: 2 })
    expect(asked).toEqual(['a vendor/first', 'b vendor/first'])
  })

  it('of one that another key of the pool serves', async () => {
    const spent = errorAnswer(403, 'Key limit exceeded (total limit)')
    const { asked } = await journey([spent, GOOD])
    expect(asked).toEqual(['a vendor/first', 'b vendor/first'])
  })

  it('once output has been seen', async () => {
    const broken = streamOf(
      HELLO.slice(0, HELLO.indexOf('data: [DONE]')) +
        errorEventOf(502, 'Busy', { provider_name: 'Vendor' }),
    )
    const { asked } = await journey([broken, GOOD])
    expect(asked).toEqual(['a vendor/first'])
  })
})

describe('a model that has failed so', () => {
  it('is not asked first while its bench lasts, and is again when it is over', async () => {
    const { world } = await journey([PROVIDER, PROVIDER, GOOD])
    await world.finish(world.send(MODELS))
    expect(world.modelsCalled().at(-1)).toBe('vendor/second')
    await world.time.advance(60_000)
    await world.finish(world.send(MODELS))
    expect(world.modelsCalled().at(-1)).toBe('vendor/first')
  })

  it('is asked all the same by who has no other', async () => {
    const { world } = await journey([PROVIDER, PROVIDER, GOOD])
    const sent = world.send({ model: 'vendor/first' })
    await world.finish(sent)
    expect(world.modelsCalled().at(-1)).toBe('vendor/first')
    expect((await sent.whole()).headers.get('x-switchyard-model')).toBeNull()
  })
})

describe('the body', () => {
  it('is the caller’s but for the model, in whatever way it is written', async () => {
    const body = '{ "n" : 1.0,"model" : "vendor\\/first" , "z":[1,  2], "model2": "vendor/first"}'
    const { world } = await journey([NO_ENDPOINTS, GOOD], {}, { body })
    const sent = world.upstream.calls.map((call) => new TextDecoder().decode(call.body))
    expect(sent).toEqual([body, body.replace('"vendor\\/first"', '"vendor/second"')])
  })
})

it('without a pool, a fallback is still tried', async () => {
  const world = createVirtualWorld()
  world.pool.connect([], 'unreachable')
  world.upstream.on(CHAT, NO_ENDPOINTS, GOOD)
  const sent = world.send(MODELS)
  await world.finish(sent)
  const { headers } = await sent.whole()
  expect(headers.get('x-switchyard-model')).toBe('vendor/second')
  expect(headers.get('x-switchyard-degraded')).toBe('pool')
})
