import { describe, expect, it } from 'vitest'
import {
  type Caller,
  callerWithoutLimits,
  type DirectoryEntry,
} from '../../src/balancing/clients/caller.ts'
import { clientId } from '../../src/balancing/ids.ts'
import { createClientDirectory, findClient, outdate } from '../../src/http/client-directory.ts'
import { networkOf } from '../../src/http/guess-allowance.ts'
import type { PoolAnswer } from '../../src/key-pool/pool-client.ts'
import type { DirectoryReply } from '../../src/key-pool/protocol.ts'

const BEGAN_MS = Date.UTC(2026, 10, 26)

/** The pool's list of clients, and isolates that have copies of it, on a clock of the test. */
function world() {
  let nowMs = BEGAN_MS
  let version = BEGAN_MS * 1_000
  let heard = 0
  const clients = new Map<string, DirectoryEntry>()
  const pool = { calls: 0, isDown: false, latencyMs: 0 }
  const timers: { atMs: number; resolve: () => void }[] = []
  const wait = (ms: number) =>
    new Promise<void>((resolve) => void timers.push({ atMs: nowMs + ms, resolve }))

  const clientDirectory = async (known: number | null): Promise<PoolAnswer<DirectoryReply>> => {
    pool.calls += 1
    const entries = known === version ? null : [...clients.values()]
    const reply: DirectoryReply = { version: 1, clientsVersion: version, entries }
    if (pool.latencyMs > 0) await wait(pool.latencyMs)
    return pool.isDown ? { kind: 'unavailable' } : { kind: 'answer', value: reply }
  }
  const isolate = () => {
    const directory = createClientDirectory()
    const access = {
      pool: { clientDirectory },
      get newestVersion() {
        return heard
      },
      nowMs: () => nowMs,
      wait,
      background: (work: Promise<unknown>) => void work,
    }
    const find = async (hash: string, address = '192.0.2.1') => {
      const lookup = await findClient(directory, hash, address, access)
      return lookup.kind === 'known' ? lookup.caller.id : lookup.kind
    }
    return { directory, find }
  }
  const change = (act: () => void) => {
    act()
    version += 1
  }
  return {
    ...{ pool, isolate },
    put: (id: string, ...tokens: (string | readonly [string, number])[]) =>
      change(() => clients.set(id, entryOf(id, tokens))),
    remove: (id: string) => change(() => clients.delete(id)),
    /** As an exchange of the isolates tells them. */
    hear: () => {
      heard = Math.max(heard, version)
    },
    restart: (to: number) => {
      version = to
    },
    now: () => nowMs,
    async pass(ms: number) {
      const untilMs = nowMs + ms
      await settled()
      for (;;) {
        const nextMs = Math.min(...timers.map(({ atMs }) => atMs))
        if (nextMs > untilMs) break
        nowMs = nextMs
        const due = timers.filter(({ atMs }) => atMs === nextMs)
        timers.splice(0, timers.length, ...timers.filter(({ atMs }) => atMs !== nextMs))
        for (const { resolve } of due) resolve()
        await settled()
      }
      nowMs = untilMs
    },
  }
}

const settled = () => new Promise<void>((resolve) => void setTimeout(resolve, 0))

function entryOf(id: string, tokens: readonly (string | readonly [string, number])[]) {
  const caller: Caller = callerWithoutLimits(clientId(id))
  return {
    caller,
    tokens: tokens.map((token) => {
      const [sha256, expiresAtMs] = typeof token === 'string' ? [token, null] : token
      return { sha256, createdAtMs: BEGAN_MS, expiresAtMs }
    }),
  }
}

describe('a known token', () => {
  it('costs a call when the copy is old, and none before', async () => {
    const { pool, isolate, put, pass } = world()
    put('app', 'hash')
    const { find } = isolate()
    for (let i = 0; i < 1_000; i += 1) expect(await find('hash')).toBe('app')
    expect(pool.calls).toBe(1)
    // An idle isolate asks again after a while, a busy one once in 25 seconds beside its requests.
    for (let second = 0; second < 600; second += 5) {
      await pass(5_000)
      expect(await find('hash')).toBe('app')
    }
    expect(pool.calls).toBeLessThanOrEqual(1 + 600 / 25)
  })

  it('of a thousand requests at once costs two calls at most', async () => {
    const { pool, isolate, put, pass } = world()
    put('app', 'hash')
    pool.latencyMs = 40
    const { find } = isolate()
    const answers = Promise.all(Array.from({ length: 1_000 }, () => find('hash')))
    await pass(200)
    expect(new Set(await answers)).toEqual(new Set(['app']))
    expect(pool.calls).toBeLessThanOrEqual(2)
  })

  it('is refused in every isolate within a minute after it was revoked, however busy it is', async () => {
    const { isolate, put, remove, pass } = world()
    put('app', 'hash')
    const isolates = [isolate(), isolate()]
    for (const { find } of isolates) expect(await find('hash')).toBe('app')
    await pass(30_000)
    expect(await isolates[0]?.find('hash')).toBe('app')
    remove('app')
    for (let second = 0; second < 60; second += 1) {
      await pass(1_000)
      await isolates[0]?.find('hash')
    }
    for (const { find } of isolates) expect(await find('hash')).toBe('unknown')
  })

  it('is refused at once where the change was made, and where an exchange has told of it', async () => {
    const { isolate, put, remove, hear } = world()
    put('app', 'hash')
    put('other', 'hash-2')
    const { find, directory } = isolate()
    expect(await find('hash')).toBe('app')
    remove('app')
    outdate(directory)
    expect(await find('hash')).toBe('unknown')
    remove('other')
    hear()
    expect(await find('hash-2')).toBe('unknown')
  })

  it('that was rotated works beside the new one until its time of grace is over', async () => {
    const { isolate, put, pass, now } = world()
    put('app', 'old')
    const { find } = isolate()
    expect(await find('old')).toBe('app')
    put('app', ['old', now() + 100_000], 'new')
    for (let second = 0; second < 99; second += 1) {
      await pass(1_000)
      expect(await find('old')).toBe('app')
      if (second > 0) expect(await find('new')).toBe('app')
    }
    await pass(1_000)
    expect(await find('old')).toBe('unknown')
    expect(await find('new')).toBe('app')
  })
})

describe('a fresh token', () => {
  it('works at once where it was made, however many guesses there were', async () => {
    const { isolate, put } = world()
    const { find, directory } = isolate()
    for (let i = 0; i < 100; i += 1) await find(`guess-${i}`)
    put('app', 'hash')
    outdate(directory)
    expect(await find('hash')).toBe('app')
  })

  it('works at once in an isolate whose copy is old, and in one that hears of it', async () => {
    const { isolate, put, hear, pass } = world()
    const { find } = isolate()
    for (let i = 0; i < 100; i += 1) await find(`guess-${i}`)
    await pass(51_000)
    put('app', 'hash')
    expect(await find('hash')).toBe('app')
    put('other', 'hash-2')
    hear()
    expect(await find('hash-2')).toBe('other')
  })

  it('works in any other isolate, unless somebody there guesses; then within a minute', async () => {
    const { isolate, put, pass } = world()
    const [quiet, besieged] = [isolate(), isolate()]
    await quiet.find('nobody')
    for (let i = 0; i < 100; i += 1) await besieged.find(`guess-${i}`, `192.0.2.${i}`)
    put('app', 'hash')
    expect(await quiet.find('hash')).toBe('app')
    expect(await besieged.find('hash')).toBe('unknown')
    await pass(60_000)
    expect(await besieged.find('hash')).toBe('app')
  })

  it('that comes while the pool is being asked does not get an answer from before it was made', async () => {
    const { pool, isolate, put, pass } = world()
    put('app', 'hash')
    pool.latencyMs = 100
    const { find } = isolate()
    const first = find('hash')
    await pass(50)
    put('new', 'fresh')
    const second = find('fresh')
    await pass(500)
    expect(await first).toBe('app')
    expect(await second).toBe('new')
  })
})

describe('10,000 wrong tokens', () => {
  it.each([
    ['at once', 0],
    ['at ten a second', 100],
  ])('%s cost fewer than 100 calls, from one address or from many', async (_, everyMs) => {
    for (const addresses of [1, 5_000]) {
      const { pool, isolate, pass, put } = world()
      put('app', 'hash')
      pool.latencyMs = everyMs === 0 ? 30 : 0
      const { find } = isolate()
      const answers: Promise<string>[] = []
      for (let i = 0; i < 10_000; i += 1) {
        const address = `198.51.${Math.floor((i % addresses) / 250)}.${(i % addresses) % 250}`
        answers.push(find(`guess-${i}`, address))
        if (everyMs > 0 && i % 100 === 99) await pass(100 * everyMs)
      }
      await pass(1_000)
      expect(new Set(await Promise.all(answers))).toEqual(new Set(['unknown']))
      expect(pool.calls).toBeLessThan(100)
      expect(await find('hash')).toBe('app')
    }
  })

  it('a revoked token that its app goes on to send costs a call a minute', async () => {
    const { pool, isolate, pass } = world()
    const { find } = isolate()
    for (let second = 0; second < 600; second += 5) {
      expect(await find('revoked')).toBe('unknown')
      await pass(5_000)
    }
    expect(pool.calls).toBeLessThanOrEqual(13)
  })

  it.each([
    ['one address', () => '192.0.2.1'],
    ['as many addresses', (i: number) => `2001:db8:${i.toString(16)}::1`],
  ])(
    'ten thousand wrong tokens of %s cost three isolates fewer than 100 calls',
    async (_, from) => {
      const { pool, isolate, pass } = world()
      const isolates = [isolate(), isolate(), isolate()]
      for (let i = 0; i < 10_000; i += 1) {
        if (i % 250 === 0) await pass(3_000)
        expect(await isolates[i % 3]?.find(`guess-${i}`, from(i))).toBe('unknown')
      }
      expect(pool.calls).toBeLessThan(100)
    },
  )

  it('one who guesses does not use up what others may ask', async () => {
    const { isolate, put } = world()
    const { find } = isolate()
    for (let i = 0; i < 1_000; i += 1) await find(`guess-${i}`, `2001:db8:0:1::${i.toString(16)}`)
    put('app', 'hash')
    expect(await find('hash', '2001:db8:0:2::1')).toBe('app')
  })

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['::1', '0:0:0:0'],
    ['2001:db8:1:2::', '2001:db8:1:2'],
    ['', ''],
  ])('the network of %s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})

describe('while the object cannot be reached', () => {
  it('a token seen within a minute goes on, and nobody knows of another', async () => {
    const { pool, isolate, put, pass, hear } = world()
    put('app', 'hash')
    const { find } = isolate()
    expect(await find('hash')).toBe('app')
    pool.isDown = true
    put('new', 'fresh')
    hear()
    // Also while the isolate knows that its copy is old.
    expect(await find('hash')).toBe('app')
    await pass(59_000)
    expect(await find('hash')).toBe('app')
    await pass(1_000)
    expect(await find('hash')).toBe('unreachable')
    for (let i = 0; i < 50; i += 1) expect(await find(`other-${i}`)).toBe('unreachable')
    pool.isDown = false
    expect(await find('hash')).toBe('app')
    expect(await find('fresh')).toBe('new')
    expect(await find('other-1')).toBe('unknown')
  })

  it('no token is said to be wrong, also when there is no call left for guesses', async () => {
    const { pool, isolate, put } = world()
    put('app', 'hash')
    const { find } = isolate()
    expect(await find('hash')).toBe('app')
    pool.isDown = true
    for (let i = 0; i < 50; i += 1) expect(await find(`other-${i}`)).toBe('unreachable')
    expect(await find('hash')).toBe('app')
  })

  it('a question without an answer holds nobody for longer than three seconds', async () => {
    const { pool, isolate, put, pass } = world()
    put('app', 'hash')
    const { find } = isolate()
    pool.latencyMs = 1e9
    void find('hash')
    await pass(10)
    pool.latencyMs = 0
    const second = find('hash')
    await pass(3_050)
    expect(await second).toBe('app')
  })
})

it('a restarted object whose numbers are lower is believed, and is not asked at each request', async () => {
  const { pool, isolate, put, remove, hear, restart, pass } = world()
  put('app', 'hash')
  put('other', 'hash-2')
  const { find } = isolate()
  hear()
  expect(await find('hash')).toBe('app')
  restart(BEGAN_MS)
  remove('other')
  hear()
  await pass(51_000)
  for (let i = 0; i < 100; i += 1) expect(await find('hash')).toBe('app')
  expect(pool.calls).toBeLessThanOrEqual(2)
})

it('the answer to an earlier question that comes late changes nothing', async () => {
  const { pool, isolate, put, remove, pass } = world()
  put('app', 'hash')
  const { find } = isolate()
  pool.latencyMs = 4_000
  const slow = find('hash')
  await pass(3_100)
  remove('app')
  pool.latencyMs = 0
  expect(await find('hash')).toBe('unknown')
  await pass(2_000)
  await slow
  expect(await find('hash')).toBe('unknown')
})
