import { describe, expect, it } from 'vitest'
import { HELLO, said } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type VirtualWorld } from './virtual-world.ts'

const CHAT = 'chat/completions'
const GOOD = streamOf(HELLO)
const KEY_SPENT = errorAnswer(403, 'Key limit exceeded (total limit)')
const OUT_OF_CREDIT = errorAnswer(402, 'Insufficient credits')
const LIMITED = errorAnswer(429, 'Rate limit exceeded: slow down')
const DOWN = errorAnswer(500, 'Internal Server Error')

/** A stream that goes on for longer than a request may take. */
const lively = (): Script => ({
  body: Array.from({ length: 10 }, () => ({ afterMs: 10_000, text: said('a') })),
  headers: { 'content-type': 'text/event-stream' },
  end: 'hang',
})

const ask = async (world: VirtualWorld) => await world.finish(world.send())

describe('what goes out of use is told once', () => {
  it('a key that has spent its limit, and that a lookup brings back', async () => {
    const world = createVirtualWorld({ keys: ['a', 'b'], lookups: 'routine' })
    world.upstream.on('key', jsonAnswer(200, { data: { limit: 5, limit_remaining: 0 } }))
    world.upstream.on(CHAT, KEY_SPENT, GOOD)
    for (let i = 0; i < 3; i++) await ask(world)
    expect(world.pool.transitions.filter((told) => told.includes('key a'))).toEqual([
      'key a out: key_spent',
    ])
    world.upstream.on('key', jsonAnswer(200, { data: { limit: 5, limit_remaining: 4 } }))
    await world.time.advance(120_000)
    for (let i = 0; i < 3; i++) await ask(world)
    const told = world.pool.transitions.filter((one) => one.includes('key a'))
    expect(told).toEqual(['key a out: key_spent', 'key a back: key_spent'])
  })

  it('an account without credit: one line, not one for each of its keys', async () => {
    const keys = ['a', 'b'].map((id) => ({ id, account: 'acme' }))
    const world = createVirtualWorld({ keys: [...keys, 'c'] })
    world.upstream.on(CHAT, OUT_OF_CREDIT, GOOD)
    await ask(world)
    expect(world.pool.transitions).toEqual(['account acme out: account_out_of_credit'])
  })

  it('a breaker: out at its opening, and back when it has closed, not at its probe', async () => {
    const world = createVirtualWorld({ keys: ['a'], maxAttempts: 1 })
    world.upstream.on(CHAT, DOWN)
    for (let i = 0; i < 3; i++) await ask(world)
    await world.time.advance(61_000)
    await ask(world)
    expect(world.pool.transitions).toEqual(['key a out: breaker_open'])
    world.upstream.on(CHAT, GOOD)
    await world.time.advance(200_000)
    await ask(world)
    await ask(world)
    expect(world.pool.transitions.at(-1)).toBe('key a back: breaker_open')
  })

  it('a model that fails with several keys, by what it is and not by a limit', async () => {
    const world = createVirtualWorld({ keys: ['a', 'b', 'c'], maxAttempts: 2 })
    world.upstream.on(CHAT, DOWN)
    await ask(world)
    expect(world.pool.transitions).toEqual(['model vendor/model out: model_failed'])
    world.upstream.on(CHAT, GOOD)
    await ask(world)
    // The object looks at what is out once a second.
    await world.time.advance(1_000)
    await ask(world)
    expect(world.pool.transitions.at(-1)).toBe('model vendor/model back: model_failed')
  })

  it('what time alone has ended, even if the object did not live then', async () => {
    const world = createVirtualWorld({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, LIMITED, GOOD)
    await ask(world)
    expect(world.pool.transitions).toEqual(['key a out: key_rate_limited'])
    await world.time.advance(10_000)
    world.pool.restart()
    await world.time.advance(600_000)
    await ask(world)
    expect(world.pool.transitions).toEqual([
      'key a out: key_rate_limited',
      'key a back: key_rate_limited',
    ])
  })

  it('costs no call of the object', async () => {
    const world = createVirtualWorld({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, KEY_SPENT, GOOD)
    await ask(world)
    expect(world.pool.exchanges()).toBe(3)
  })
})

describe('the report of a request that failed', () => {
  it('says with which status, why, how many keys are out, and what each attempt met', async () => {
    const world = createVirtualWorld({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, KEY_SPENT, OUT_OF_CREDIT)
    const report = await ask(world)
    expect(report).toMatchObject({
      outcome: 'failed',
      status: 502,
      error: { reason: 'keys_exhausted', metadata: { reasons: { already_tried: 2 } } },
      attempts: [
        { key: 'a', status: 403, row: '5', fault: 'key', why: 'the key has spent its limit' },
        { key: 'b', status: 402, row: '9', fault: 'account', why: 'the account has no credit' },
      ],
    })
    expect(await ask(world)).toMatchObject({
      status: 503,
      error: {
        reason: 'no_key_available',
        metadata: { reasons: { key_spent: 1, account_out_of_credit: 1 } },
      },
      attempts: [],
    })
  })

  it('says of a timeout which it was, and of an answer nothing', async () => {
    const world = createVirtualWorld({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, { connection: 'hang' }, GOOD)
    expect(await ask(world)).toMatchObject({
      status: 200,
      error: null,
      attempts: [
        { status: null, row: '1', why: 'OpenRouter sent no headers in time' },
        { status: null, row: null, fault: null, why: null },
      ],
    })
  })

  const brokenOff = { row: '1', fault: 'upstream', why: 'the answer broke off' }
  const stopped = { row: '1', fault: 'upstream', why: 'the answer stopped in the middle' }
  const late = { row: '17', fault: 'nobody', why: 'the request took too long' }
  const named = { status: 503, row: '16', fault: 'upstream' }
  const NAMED = 'data: {"error":{"code":503,"message":"No"},"choices":[]}\n\n'
  it.each([
    [
      'broke off',
      { ...openStream(said('a')), end: 'close' },
      502,
      'upstream_unreachable',
      brokenOff,
    ],
    ['stopped in the middle', openStream(said('a')), 504, 'upstream_timeout', stopped],
    ['took longer than a request may', lively(), 504, 'upstream_timeout', late],
    ['ended with an error of upstream', streamOf(said('a') + NAMED), 503, undefined, named],
  ] as const)('says why a stream that was begun %s', async (_, script, status, reason, attempt) => {
    const world = createVirtualWorld({ keys: ['a'], timeouts: { idleMs: 20_000, totalMs: 60_000 } })
    world.upstream.on(CHAT, script)
    const report = await ask(world)
    expect(report).toMatchObject({ outcome: 'failed', status, attempts: [attempt] })
    expect(report.error?.reason).toBe(reason)
  })

  it('says that the client left a stream that was begun', async () => {
    const world = createVirtualWorld({ keys: ['a'] })
    world.upstream.on(CHAT, openStream(said('a')))
    const sent = world.send()
    await world.time.drain()
    await sent.cancel()
    expect(await world.finish(sent)).toMatchObject({
      outcome: 'client_gone',
      status: 200,
      error: null,
      attempts: [{ row: '17', fault: 'nobody', why: 'the client left' }],
    })
  })
})
