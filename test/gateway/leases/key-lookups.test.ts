import { describe, expect, it } from 'vitest'
import type { KeyReport } from '../../../src/balancing/health/key-report.ts'
import { type KeyId, keyId } from '../../../src/balancing/ids.ts'
import { HELLO } from '../stream-texts.ts'
import { errorAnswer, jsonAnswer, type Script, streamOf } from '../upstream-script.ts'
import { createVirtualWorld, START_MS, secretOf, UPSTREAM_URL } from '../virtual-world.ts'

const CHAT = 'chat/completions'
const REJECTED = errorAnswer(401, 'User not found.')
const GOOD = streamOf(HELLO)
const UNCAPPED = jsonAnswer(200, { data: { limit: null, limit_remaining: null, usage: 3 } })

/** The report of a valid key without a cap. */
const KNOWN = {
  kind: 'valid',
  limitUsd: null,
  remainingUsd: null,
  resetsAtMs: null,
  expiresAtMs: null,
  owner: null,
  balanceUsd: null,
  askedAtMs: START_MS,
  ...{
    usageDailyUsd: null,
    layer: null,
    creator: null,
    workspace: null,
    freeRemaining: null,
    fingerprint: 'a',
  },
} as const

/** Looks up a key (`a` by default) at an upstream with these answers by path. */
async function lookUp(answers: Readonly<Record<string, Script>>, id: KeyId = keyId('a')) {
  const world = createVirtualWorld()
  for (const [path, script] of Object.entries(answers)) world.upstream.on(path, script)
  let found: KeyReport[] | null = null
  world
    .lookups([{ keyId: id, freshSinceMs: START_MS - 60_000, withBalance: false }])
    .then((value) => {
      found = value
    }, never)
  await world.time.runUntil(() => found !== null, 60_000)
  return { found, world, atMs: world.time.nowMs() - START_MS }
}

function never(): never {
  throw new Error('A lookup never throws')
}

describe('a lookup', () => {
  it('asks /key with the key itself', async () => {
    const { found, world } = await lookUp({ key: UNCAPPED })
    expect(found).toEqual([{ ...KNOWN, keyId: 'a' }])
    expect(world.upstream.calls).toHaveLength(1)
    const [call] = world.upstream.calls
    expect(call?.method).toBe('GET')
    expect(call?.url).toBe(`${UPSTREAM_URL}/key`)
    expect(Object.fromEntries(call?.headers ?? [])).toEqual({
      accept: 'application/json',
      authorization: `Bearer ${secretOf('a')}`,
    })
  })

  it('asks /auth/key where there is no /key', async () => {
    const remaining = jsonAnswer(200, { data: { limit: 5, limit_remaining: 1.5 } })
    const { found, world } = await lookUp({ key: errorAnswer(404, 'No'), 'auth/key': remaining })
    expect(found).toEqual([{ ...KNOWN, keyId: 'a', limitUsd: 5, remainingUsd: 1.5 }])
    expect(world.upstream.calls.map(({ path }) => path)).toEqual(['key', 'auth/key'])
  })

  it('confirms that a key is rejected', async () => {
    expect((await lookUp({ key: REJECTED })).found).toEqual([
      { keyId: 'a', kind: 'rejected', askedAtMs: START_MS, fingerprint: 'a' },
    ])
  })

  const unknowns: readonly [name: string, answers: Record<string, Script>, atMs: number][] = [
    ['neither is there', { key: errorAnswer(404, 'No'), 'auth/key': errorAnswer(404, 'No') }, 0],
    ['the connection breaks', { key: { connection: 'refused' } }, 0],
    ['upstream fails', { key: errorAnswer(500, 'Internal') }, 0],
    ['a page of the edge answers', { key: { status: 401, body: [{ text: '<html>' }] } }, 0],
    ['the answer breaks off', { key: { ...UNCAPPED, body: [], end: 'error' } }, 0],
    ['no answer comes in ten seconds', { key: { connection: 'hang' } }, 10_000],
    ['the answer does not end in ten seconds', { key: { ...UNCAPPED, end: 'hang' } }, 10_000],
  ]
  for (const [name, answers, atMs] of unknowns) {
    it(`proves nothing when ${name}`, async () => {
      const looked = await lookUp(answers)
      expect(looked.found).toEqual([{ keyId: 'a', kind: 'unknown' }])
      expect(looked.atMs).toBe(atMs)
      expect(looked.world.time.openTimers()).toBe(0)
    })
  }

  it('of a key that this Worker does not have asks nobody', async () => {
    const { found, world } = await lookUp({}, keyId('gone'))
    expect(found).toEqual([{ keyId: 'gone', kind: 'unknown' }])
    expect(world.upstream.calls).toEqual([])
  })
})

describe('lookups of several keys', () => {
  const due = (id: string, withBalance = false) => ({
    keyId: keyId(id),
    freshSinceMs: START_MS - 60_000,
    withBalance,
  })

  it('are reported although KV hangs, and cost a second each way', async () => {
    const world = createVirtualWorld()
    world.kv.be('works', 86_400_000)
    world.upstream.on('key', UNCAPPED)
    let found: KeyReport[] | null = null
    world.lookups([due('a'), due('b')]).then((value) => {
      found = value
    }, never)
    await world.time.advance(2_000)
    expect(found).toMatchObject([
      { keyId: 'a', kind: 'valid' },
      { keyId: 'b', kind: 'valid' },
    ])
  })

  it('hold three connections at a time, so that a failover does not wait in line behind them', async () => {
    const world = createVirtualWorld()
    world.upstream.on('key', { ...errorAnswer(404, 'No'), headersAfterMs: 100 })
    world.upstream.on('auth/key', { ...UNCAPPED, headersAfterMs: 100 })
    world.upstream.on('credits', { ...errorAnswer(403, 'No'), headersAfterMs: 100 })
    let found: KeyReport[] = []
    world.lookups(['a', 'b', 'c', 'd'].map((id) => due(id, true))).then((value) => {
      found = value
    }, never)
    await world.time.runUntil(() => found.length > 0, 60_000)
    expect(found.map(({ kind }) => kind)).toEqual(['valid', 'valid', 'valid', 'valid'])
    expect(world.upstream.calls).toHaveLength(12)
    const atOnce = world.upstream.calls.map(
      ({ atMs }) =>
        world.upstream.calls.filter((one) => one.atMs <= atMs && atMs < one.atMs + 100).length,
    )
    expect(Math.max(...atOnce)).toBe(3)
  })
})

describe('after a 401', () => {
  async function rejectedOnce(lookup: Script) {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, REJECTED, GOOD)
    world.upstream.on('key', lookup)
    const sent = world.send()
    await world.finish(sent)
    return { world, text: sent.text() }
  }

  it('the request goes on with another key, and the suspected one is looked up', async () => {
    const { world, text } = await rejectedOnce(UNCAPPED)
    expect(text).toBe(HELLO)
    expect(world.keysCalled()).toEqual(['a', 'b'])
    const lookups = world.upstream.calls.filter(({ path }) => path === 'key')
    expect(lookups.map(({ headers }) => headers.get('authorization'))).toEqual([
      `Bearer ${secretOf('a')}`,
    ])
  })

  it('a key that is still valid serves again', async () => {
    const { world } = await rejectedOnce(UNCAPPED)
    expect(world.pool.lookups).toMatchObject([{ keyId: 'a', kind: 'valid', remainingUsd: null }])
    await world.finish(world.send())
    expect(world.keysCalled()).toEqual(['a', 'b', 'a'])
  })

  it('a key that is rejected again does not, for as long as it is', async () => {
    const { world } = await rejectedOnce(REJECTED)
    expect(world.pool.lookups).toMatchObject([{ keyId: 'a', kind: 'rejected' }])
    await world.time.advance(3_600_000)
    await world.finish(world.send())
    expect(world.keysCalled()).toEqual(['a', 'b', 'b'])
    // The next good answer of /key ends the bench. A request's exchange hands out the lookup duty.
    world.upstream.on('key', UNCAPPED)
    await world.time.advance(61_000)
    await world.finish(world.send())
    await world.finish(world.send())
    expect(world.keysCalled().at(-1)).toBe('a')
  })

  it('the answer does not wait for a lookup that hangs', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, REJECTED, GOOD)
    world.upstream.on('key', { connection: 'hang' })
    const sent = world.send()
    await world.time.drain()
    expect(sent.report()).toMatchObject({ outcome: 'answered' })
    await world.time.advance(10_000)
    expect(world.pool.lookups).toEqual([{ keyId: 'a', kind: 'unknown' }])
    expect(world.time.openTimers()).toBe(0)
  })

  it('ten keys that are due at once are looked up by one asker, each once', async () => {
    const keys = Array.from({ length: 10 }, (_, i) => `key-${i}`)
    // Of one account: keys of several that are refused at once are not rejected for what they are.
    const ofOne = keys.map((id) => ({ id, account: 'acme' }))
    const world = createVirtualWorld({ keys: ofOne, maxAttempts: 10 })
    world.upstream.on(CHAT, REJECTED)
    world.upstream.on('key', REJECTED)
    await world.finish(world.send())
    // All keys are rejected now, and all are due again after a minute.
    expect(world.pool.lookups).toHaveLength(10)
    world.upstream.on('key', UNCAPPED)
    await world.time.advance(75_000)
    await world.finish(world.send())
    const again = world.pool.lookups.slice(10).map(({ keyId: id }) => id)
    expect([...again].sort()).toEqual(keys)
  })

  it('no secret is anywhere but in the header of its own call', async () => {
    const { world, text } = await rejectedOnce(UNCAPPED)
    const { wants, settlements, lookups, decisions } = world.pool
    const elsewhere = [
      text,
      JSON.stringify({ wants, settlements, lookups, decisions }),
      ...world.upstream.calls.map(({ url, body }) => url + new TextDecoder().decode(body)),
      ...world.upstream.calls.map(({ headers }) =>
        JSON.stringify([...headers].filter(([name]) => name !== 'authorization')),
      ),
    ]
    expect(elsewhere.filter((place) => place.includes(secretOf('')))).toEqual([])
    expect(world.upstream.calls).toHaveLength(3)
  })
})
