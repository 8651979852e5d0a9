import { describe, expect, it } from 'vitest'
import { DONE, errorEventOf, HELLO } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type KeySpec, START_MS, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'

const GOOD = streamOf(HELLO)
/** Failures, each for one row of the blame table. */
const KEY_SPENT = errorAnswer(403, 'Key limit exceeded (total limit)')
const REJECTED = errorAnswer(401, 'User not found.')
const OUT_OF_CREDIT = errorAnswer(402, 'Insufficient credits')
const UPSTREAM = errorAnswer(503, 'Overloaded')
const PROVIDER = errorAnswer(502, 'Provider returned error', { provider_name: 'Vendor' })
const RATE_LIMIT = errorAnswer(429, 'Rate limit exceeded')
const CALLER = errorAnswer(400, 'Bad request')

/** Two keys of one account, and one key of each of two other accounts. */
const KEYS: readonly KeySpec[] = [
  { id: 'a', account: 'acme' },
  { id: 'b', account: 'acme' },
  { id: 'c', account: 'globex' },
  { id: 'd', account: 'initech' },
]

async function journey(scripts: readonly Script[], options: WorldOptions = {}) {
  const world = createVirtualWorld({ keys: KEYS, maxAttempts: 10, ...options })
  world.upstream.on(CHAT, ...scripts)
  world.upstream.on('key', jsonAnswer(500, {}))
  const sent = world.send()
  const report = await world.finish(sent)
  const { status, headers, text } = await sent.whole()
  const calledAtMs = world.upstream.calls
    .filter(({ path }) => path === CHAT)
    .map(({ atMs }) => atMs - START_MS)
  return { world, report, status, headers, text, keys: world.keysCalled(), calledAtMs }
}

describe('which key is next', () => {
  it('after a fault of the key: another one of the same account', async () => {
    const { keys, status, calledAtMs } = await journey([KEY_SPENT, GOOD])
    expect(keys).toEqual(['a', 'b'])
    expect(calledAtMs).toEqual([0, 0])
    expect(status).toBe(200)
  })

  it('after a fault of the account: none of that account', async () => {
    const { keys } = await journey([OUT_OF_CREDIT, GOOD])
    expect(keys).toEqual(['a', 'c'])
  })

  it('after a fault of the account for this model or request alone: none of it, either', async () => {
    const faults = [
      errorAnswer(402, 'You can only afford 10 tokens'),
      errorAnswer(429, 'new-account-rpm/vendor'),
      errorAnswer(401, 'Your key is bad', { is_byok: true, provider_name: 'Vendor' }),
      errorAnswer(403, 'Organization budget exceeded'),
    ]
    for (const fault of faults) {
      expect((await journey([fault, GOOD])).keys).toEqual(['a', 'c'])
    }
  })

  it('never one that was tried before, or whose account was at fault, until all are used up', async () => {
    const { keys, status, text } = await journey([KEY_SPENT, OUT_OF_CREDIT, REJECTED, KEY_SPENT])
    expect(keys).toEqual(['a', 'b', 'c', 'd'])
    expect(status).toBe(502)
    expect(JSON.parse(text).error.metadata).toMatchObject({ reason: 'keys_exhausted', attempts: 4 })
  })

  it('none after a fault of the caller, the policy or the model', async () => {
    const faults = [
      CALLER,
      errorAnswer(403, 'Input flagged', { reasons: ['violence'], provider_name: 'Vendor' }),
      errorAnswer(404, 'No endpoints found matching your data policy'),
      errorAnswer(429, 'Rate limit exceeded: free-models-per-day'),
    ]
    for (const fault of faults) expect((await journey([fault, GOOD])).keys).toEqual(['a'])
  })

  it('no more than max_attempts in all', async () => {
    for (const fault of [KEY_SPENT, UPSTREAM]) {
      const { keys, headers } = await journey([fault], { maxAttempts: 3 })
      expect(keys).toHaveLength(3)
      expect(headers.get('x-switchyard-attempts')).toBe('3')
    }
  })
})

describe('what a move costs', () => {
  const poor = { retryBudget: { ratio: 0, minPerSecond: 0 } }

  it('nothing for a fault of the key or account, however poor the retry budget is', async () => {
    const { keys } = await journey([KEY_SPENT, OUT_OF_CREDIT, REJECTED, GOOD], { pool: poor })
    expect(keys).toEqual(['a', 'b', 'c', 'd'])
  })

  it('one of the budget for any other', async () => {
    for (const fault of [UPSTREAM, PROVIDER, RATE_LIMIT]) {
      const { world, keys } = await journey([fault, GOOD], {
        pool: { retryBudget: { ratio: 0.5, minPerSecond: 0.2 } },
        random: () => 0,
      })
      expect(keys).toEqual(['a', 'b'])
      // The pool's ceiling began with 4, the request added 1, and the retry cost 1.
      expect(world.pool.state.retryBudget.ceiling.tokens).toBeCloseTo(4)
    }
  })

  it('an empty budget hands the failure to the caller', async () => {
    for (const [fault, status] of [
      [UPSTREAM, 503],
      [PROVIDER, 502],
      [RATE_LIMIT, 429],
    ] as const) {
      const answer = await journey([fault, GOOD], { pool: poor })
      expect(answer.keys).toEqual(['a'])
      expect(answer.status).toBe(status)
      expect(answer.text).toBe(answer.world.upstream.calls.length === 1 ? textOf(fault) : '')
    }
  })

  it('a free move after a retry is still free', async () => {
    const { world, keys } = await journey([UPSTREAM, KEY_SPENT, GOOD], { random: () => 0 })
    expect(keys).toEqual(['a', 'b', 'c'])
    expect(world.pool.wants.map(({ attempt }) => attempt)).toEqual(['first', 'retry', 'move'])
  })
})

function textOf(script: Script): string {
  return (script.body ?? []).map((step) => ('text' in step ? step.text : '')).join('')
}

describe('how long a retry waits', () => {
  it('up to a bound that doubles from 250 ms to 5 s, by full jitter', async () => {
    const keys = Array.from({ length: 10 }, (_, i) => `key-${i}`)
    const waits = async (random: number) => {
      const { calledAtMs } = await journey([UPSTREAM], { keys, random: () => random })
      return calledAtMs.slice(1).map((atMs, i) => atMs - (calledAtMs[i] ?? 0))
    }
    const bounds = [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000]
    expect(await waits(0)).toEqual(bounds.map(() => 0))
    expect(await waits(0.5)).toEqual(bounds.map((bound) => bound / 2))
    const longest = await waits(0.999999)
    longest.forEach((wait, i) => {
      expect(wait).toBeLessThanOrEqual(bounds[i] ?? 0)
      expect(wait).toBeGreaterThan(0.99 * (bounds[i] ?? 0))
    })
  })

  const hints: readonly [name: string, script: Script, waitMs: number][] = [
    ['seconds', errorAnswer(503, 'Busy', {}, { 'retry-after': '7' }), 7_000],
    ['milliseconds', errorAnswer(500, 'Busy', {}, { 'retry-after-ms': '1234' }), 1_234],
    [
      'a date',
      errorAnswer(503, 'Busy', {}, { 'retry-after': new Date(START_MS + 90_000).toUTCString() }),
      90_000,
    ],
    [
      'a header inside the body',
      errorAnswer(503, 'Busy', { headers: { 'X-RateLimit-Reset': String(START_MS + 3_210) } }),
      3_210,
    ],
    ['a page of the edge', { status: 429, headers: { 'retry-after': '3' } }, 3_000],
  ]
  for (const [name, script, waitMs] of hints) {
    it(`for its one key exactly as long as upstream asked for, in ${name}`, async () => {
      const { calledAtMs, status } = await journey([script, GOOD], { keys: ['a'] })
      expect(calledAtMs).toEqual([0, waitMs])
      expect(status).toBe(200)
    })

    it(`for another key no longer than a backoff, and the first one rests as told in ${name}`, async () => {
      const { calledAtMs, world, keys } = await journey([script, GOOD])
      expect(keys).toEqual(['a', 'b'])
      expect(calledAtMs).toEqual([0, 125])
      const rests = [...world.pool.state.keys.values()].map(({ modelBenches }) =>
        [...modelBenches.values()].map(({ untilMs }) => (untilMs ?? 0) - START_MS),
      )
      expect(rests).toEqual([[waitMs], [], [], []])
    })
  }

  it('no time that upstream asked of the one key that was limited', async () => {
    const limited = errorAnswer(429, 'Rate limit exceeded', {}, { 'retry-after': '40' })
    const { calledAtMs, world } = await journey([limited, GOOD], { random: () => 0.5 })
    expect(calledAtMs).toEqual([0, 125])
    expect([...world.pool.state.keys.values()][0]?.bench?.untilMs).toBe(START_MS + 40_000)
  })

  it('not at all where the deadline would not allow it', async () => {
    const busy = errorAnswer(503, 'Busy', {}, { 'retry-after': '600' })
    const { keys, status, report } = await journey([busy, GOOD], { keys: ['a'] })
    expect(keys).toEqual(['a'])
    expect(status).toBe(503)
    expect(report.timings.wait).toBe(125)
  })

  it('no longer because the pool is slow to take the lease back', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, UPSTREAM, GOOD)
    world.pool.connect(['answers', 'unreachable'])
    await world.finish(world.send())
    expect(world.upstream.calls.map(({ atMs }) => atMs - START_MS)).toEqual([0, 125])
    expect(world.pool.settlements.map(({ outcome }) => outcome).sort()).toEqual([
      'failure',
      'success',
    ])
    expect(world.pool.inFlight()).toBe(0)
  })

  it('and while it waits it holds no lease', async () => {
    const world = createVirtualWorld({ keys: ['a'] })
    world.upstream.on(CHAT, errorAnswer(503, 'Busy', {}, { 'retry-after': '60' }), GOOD)
    const sent = world.send()
    await world.time.advance(30_000)
    expect(world.pool.inFlight()).toBe(0)
    expect((await world.finish(sent)).outcome).toBe('answered')
  })
})

describe('a fault of the provider', () => {
  it('is tried again once, and no more', async () => {
    const { keys, status, text } = await journey([PROVIDER, PROVIDER, GOOD])
    expect(keys).toEqual(['a', 'b'])
    expect(status).toBe(502)
    expect(text).toBe(textOf(PROVIDER))
  })

  it('is not tried a second time after another kind of failure, either', async () => {
    const { keys } = await journey([PROVIDER, UPSTREAM, PROVIDER, GOOD])
    expect(keys).toEqual(['a', 'b', 'c'])
  })

  it('is counted alike from an event', async () => {
    const event = streamOf(errorEventOf(429, 'Busy', { provider_name: 'Vendor' }) + DONE)
    const { keys, report } = await journey([event, event, GOOD])
    expect(keys).toEqual(['a', 'b'])
    expect(report.attempts.map(({ row }) => row)).toEqual(['3', '3'])
  })
})

describe('while a deployment is under way', () => {
  it('a key that this Worker does not know is given back, and another one asked for', async () => {
    const { world, keys, status, headers } = await journey([GOOD], { ringKeys: ['c', 'd'] })
    expect(keys).toEqual(['c'])
    expect(status).toBe(200)
    expect(headers.get('x-switchyard-attempts')).toBe('1')
    expect(world.pool.wants.map(({ attempt }) => attempt)).toEqual(['first', 'move', 'move'])
    expect(world.pool.settlements.map(({ outcome }) => outcome)).toEqual([
      'ignorable',
      'ignorable',
      'success',
    ])
    // The settlements report no usage, so they free what the pool had reserved.
    const unused = { promptTokens: 0, completionTokens: 0, costUsd: 0 }
    expect(world.pool.settlements.slice(0, 2)).toMatchObject([{ usage: unused }, { usage: unused }])
    expect(world.pool.inFlight()).toBe(0)
  })

  it('a retry that is granted such a key pays once', async () => {
    const { world, keys } = await journey([UPSTREAM, GOOD], { ringKeys: ['a', 'd'] })
    expect(keys).toEqual(['a', 'd'])
    const attempts = world.pool.wants.map(({ attempt }) => attempt)
    expect(attempts).toEqual(['first', 'retry', 'move', 'move'])
  })

  it('a pool that knows none of our keys is not asked for ever', async () => {
    const keys = Array.from({ length: 30 }, (_, i) => `old-${i}`)
    const { world, status } = await journey([GOOD], { keys, ringKeys: ['new'] })
    expect(status).toBe(503)
    expect(world.upstream.calls).toEqual([])
    expect(world.pool.wants.length).toBeLessThanOrEqual(10)
    expect(world.pool.inFlight()).toBe(0)
  })
})

describe('when the pool has no key', () => {
  it('that waiting would bring back, the answer is 503 with its reasons', async () => {
    const keys = [{ id: 'a', disabled: true }]
    const { status, headers, text } = await journey([GOOD], { keys })
    expect(status).toBe(503)
    expect(headers.get('retry-after')).toBeNull()
    expect(JSON.parse(text).error.metadata).toEqual({
      source: 'switchyard',
      reason: 'no_key_available',
      error_type: 'provider_overloaded',
      reasons: { disabled: 1 },
    })
  })

  it('now but will have one, the answer is 429 and says when', async () => {
    const world = createVirtualWorld({ keys: ['a'], maxAttempts: 1 })
    const limited = errorAnswer(429, 'Rate limit exceeded', {}, { 'retry-after': '40' })
    world.upstream.on(CHAT, limited, GOOD)
    await world.finish(world.send())
    await world.time.advance(9_500)
    const sent = world.send()
    await world.finish(sent)
    const { status, headers, text } = await sent.whole()
    expect(status).toBe(429)
    // 30.5 of the 40 seconds are left. They are rounded up: a client must not come too early.
    expect(headers.get('retry-after')).toBe('31')
    expect(JSON.parse(text).error.metadata.reasons).toEqual({ key_rate_limited: 1 })
  })
})
