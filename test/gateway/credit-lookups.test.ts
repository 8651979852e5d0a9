import { describe, expect, it } from 'vitest'
import { keyId } from '../../src/balancing/ids.ts'
import { setLookup } from '../../src/balancing/pool-state.ts'
import { DONE, ROLE, STOP, said } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, keyOf, type VirtualWorld } from './virtual-world.ts'

const CHAT = 'chat/completions'
const REFRESH_MS = 60_000

/** An answer that costs no credit. */
const FREE_OF_CHARGE = ROLE + said('Hello') + STOP + DONE

const left = (remaining: number | null, more: object = {}) =>
  jsonAnswer(200, { data: { limit: 100, limit_remaining: remaining, usage: 0, ...more } })

function worldOf(lookup: Script = left(50)) {
  const world = createVirtualWorld({
    keys: [
      { id: 'a', account: null },
      { id: 'b', account: null },
    ],
    lookups: 'routine',
    credit: { refreshMs: REFRESH_MS },
  })
  world.upstream.on(CHAT, streamOf(FREE_OF_CHARGE))
  world.upstream.on('key', lookup)
  return world
}

const lookedUp = (world: VirtualWorld) =>
  world.upstream.calls.filter(({ path }) => path === 'key').map(keyOf)

const creditOf = (world: VirtualWorld, id: string) => world.pool.state.keys.get(keyId(id))?.credit

/** Sends `count` requests, evenly spread over `overMs`. */
async function traffic(world: VirtualWorld, count: number, overMs: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const sent = world.send()
    await world.time.advance(overMs / count)
    expect(sent.report()?.outcome).toBe('answered')
  }
}

describe('the credit of the keys', () => {
  it('is asked for once per key and refresh_s, however many requests there are', async () => {
    const world = worldOf()
    await traffic(world, 300, REFRESH_MS - 1)
    expect(lookedUp(world).toSorted()).toEqual(['a', 'b'])
    await traffic(world, 300, REFRESH_MS)
    expect(lookedUp(world).toSorted()).toEqual(['a', 'a', 'b', 'b'])
  })

  it('is not asked for where there is no traffic', async () => {
    const world = worldOf()
    await world.time.advance(10 * REFRESH_MS)
    expect(world.upstream.calls).toEqual([])
  })

  it('is put down for all isolates, under the key’s id and without any secret', async () => {
    const world = worldOf()
    await world.finish(world.send())
    expect([...world.kv.entries.keys()].toSorted()).toEqual(['a', 'b'])
    expect([...world.kv.entries].join()).not.toContain('sk-or-')
    expect(JSON.parse(world.kv.entries.get('a') ?? '')).toMatchObject({ remainingUsd: 50 })
  })

  it('is taken from there by a pool that has forgotten, without asking OpenRouter', async () => {
    const world = worldOf()
    await world.finish(world.send())
    const asked = lookedUp(world).length
    const fresh = world.pool.state.keys.get(keyId('a'))
    if (fresh === undefined) throw new Error('No key')
    fresh.credit = { kind: 'unknown' }
    const duty = { kind: 'due', atMs: world.time.nowMs() } as const
    setLookup(world.pool.state, fresh, { ...fresh.lookup, duty })
    await world.finish(world.send())
    expect(lookedUp(world)).toHaveLength(asked)
    expect(creditOf(world, 'a')).toMatchObject({ kind: 'known', remainingUsd: 50, stale: false })
  })

  it('is asked for behind the requests, none of which waits for it', async () => {
    const world = worldOf({ connection: 'hang' })
    world.kv.be('works', 5_000)
    const sent = world.send()
    await world.time.drain()
    expect(sent.report()?.outcome).toBe('answered')
  })

  it('stands as it was, marked stale, while OpenRouter does not tell', async () => {
    const world = worldOf()
    await world.finish(world.send())
    world.upstream.on('key', errorAnswer(500, 'Internal'))
    await world.time.advance(REFRESH_MS)
    await world.finish(world.send())
    expect(creditOf(world, 'a')).toMatchObject({ remainingUsd: 50, stale: true })
    world.upstream.on('key', left(20))
    await world.time.advance(REFRESH_MS)
    await world.finish(world.send())
    expect(creditOf(world, 'a')).toMatchObject({ remainingUsd: 20, stale: false })
  })

  it.each(['cannot_be_read', 'cannot_be_written', 'down'] as const)(
    'is known although KV %s',
    async (state) => {
      const world = worldOf()
      world.kv.be(state)
      await world.finish(world.send())
      expect(creditOf(world, 'a')).toMatchObject({ remainingUsd: 50, stale: false })
      expect(lookedUp(world).toSorted()).toEqual(['a', 'b'])
    },
  )

  it.each([
    ['a list', '[]'],
    ['another release’s', JSON.stringify({ remaining: 3 })],
    ['a number in words', JSON.stringify({ remainingUsd: 'five' })],
  ])('is asked for anew where KV holds %s', async (_, text) => {
    const world = worldOf()
    world.kv.entries.set('a', text)
    await world.finish(world.send())
    expect(creditOf(world, 'a')).toMatchObject({ remainingUsd: 50 })
  })

  it('is asked for anew where KV holds the answer of another secret of the key', async () => {
    const world = worldOf()
    await world.finish(world.send())
    const own = JSON.parse(world.kv.entries.get('a') ?? '')
    for (const fingerprint of ['another', undefined]) {
      const next = worldOf()
      const entry = { ...own, fingerprint, remainingUsd: 0, askedAtMs: next.time.nowMs() }
      next.kv.entries.set('a', JSON.stringify(entry))
      await next.finish(next.send())
      expect(lookedUp(next).toSorted()).toEqual(['a', 'b'])
      expect(creditOf(next, 'a')).toMatchObject({ remainingUsd: 50 })
      expect(JSON.parse(next.kv.entries.get('a') ?? '')).toEqual(own)
    }
  })

  it('tells who pays, and when the key will expire', async () => {
    const expires = new Date(Date.UTC(2026, 5, 1)).toISOString()
    const world = worldOf(left(5, { organization_id: 'org-1', expires_at: expires }))
    await world.finish(world.send())
    expect([...world.pool.state.accounts.keys()]).toEqual(['org-1'])
    expect(world.pool.lookups).toMatchObject([
      { owner: 'org-1', expiresAtMs: Date.parse(expires) },
      { owner: 'org-1', expiresAtMs: Date.parse(expires) },
    ])
  })
})
