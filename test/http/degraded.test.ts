import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ANSWER, chat, gatewayInFrontOf, json, reasonOf } from './gateway-driver.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

const CHAT = '/v1/chat/completions'
const answer = () => new Response(ANSWER, { headers: { 'content-type': 'application/json' } })
const spent = () =>
  json({ error: { code: 403, message: 'Key limit exceeded (total limit)' } }, { status: 403 })

/**
 * One isolate of a deployment. Its pool object can be made unreachable and reachable again. The
 * bindings stay the same object, so the gateway and its memory live on.
 */
function deployment(policy: object = {}) {
  let isReachable = false
  const asked = vi.fn()
  const KEY_POOL = {
    getByName(...name: Parameters<typeof env.KEY_POOL.getByName>) {
      asked()
      if (isReachable) return env.KEY_POOL.getByName(...name)
      const down = () => Promise.reject(new Error('overloaded'))
      return { exchange: down, snapshot: down, clientDirectory: down }
    },
  }
  return {
    asked,
    bindings: { KEY_POOL, POLICY: policy },
    reach: (reachable: boolean) => {
      isReachable = reachable
    },
  }
}

/** A gateway with short timers: a lost settlement is sent again after 10 ms, not after a second. */
function inHaste(upstream: Parameters<typeof gatewayInFrontOf>[0]) {
  return gatewayInFrontOf(upstream, {
    timer(ms, callback) {
      const id = setTimeout(callback, ms / 100)
      return () => clearTimeout(id)
    },
  })
}

/** What a response tells its caller about the key that served it. */
const servedBy = (response: Response) => ({
  status: response.status,
  key: response.headers.get('x-switchyard-key'),
  degraded: response.headers.get('x-switchyard-degraded'),
})

describe('while the pool object cannot be reached', () => {
  it('keys of the configuration serve in turn, and the answer says so', async () => {
    const { bindings } = deployment()
    const { send, received } = inHaste(answer)
    const served = await Promise.all(Array.from({ length: 6 }, () => send(CHAT, chat(), bindings)))
    expect(served.map(servedBy)).toEqual(
      ['alpha', 'beta', 'gamma', 'alpha', 'beta', 'gamma'].map((key) => ({
        status: 200,
        key,
        degraded: 'pool',
      })),
    )
    expect(received.map(({ headers }) => headers.get('authorization'))).toEqual(
      served.map((response) => `Bearer sk-or-v1-test-${servedBy(response).key}`),
    )
  })

  it('a key that failed is passed over for a minute', async () => {
    const { bindings } = deployment()
    const { send } = inHaste(({ headers }) =>
      headers.get('authorization')?.endsWith('alpha') ? spent() : answer(),
    )
    const attempts = async () =>
      (await send(CHAT, chat(), bindings)).headers.get('x-switchyard-attempts')
    expect(await attempts()).toBe('2')
    for (let i = 0; i < 5; i++) expect(await attempts()).toBe('1')
    vi.setSystemTime(Date.now() + 59_999)
    for (let i = 0; i < 3; i++) expect(await attempts()).toBe('1')
    vi.setSystemTime(Date.now() + 1)
    const later = [await attempts(), await attempts(), await attempts()]
    expect(later.toSorted()).toEqual(['1', '1', '2'])
  })

  it('the object is asked again seconds later, and the request is whole again once it answers', async () => {
    const { bindings, asked, reach } = deployment()
    const { send } = inHaste(answer)
    expect(servedBy(await send(CHAT, chat(), bindings)).degraded).toBe('pool')
    expect(asked).toHaveBeenCalled()
    asked.mockClear()
    reach(true)
    vi.setSystemTime(Date.now() + 5_000)
    expect(servedBy(await send(CHAT, chat(), bindings))).toMatchObject({
      status: 200,
      degraded: null,
    })
    expect(asked).toHaveBeenCalled()
    reach(false)
    expect(servedBy(await send(CHAT, chat(), bindings)).degraded).toBe('pool')
  })

  it('a policy that is closed refuses, says that it is not the caller’s fault, and asks again', async () => {
    const { bindings, reach } = deployment({ on_pool_unavailable: 'closed' })
    const { send, received } = inHaste(answer)
    const refused = await send(CHAT, chat(), bindings)
    expect(refused.status).toBe(503)
    expect(await reasonOf(refused)).toBe('pool_unavailable')
    expect(received).toEqual([])
    reach(true)
    vi.setSystemTime(Date.now() + 5_000)
    expect(servedBy(await send(CHAT, chat(), bindings))).toMatchObject({
      status: 200,
      degraded: null,
    })
  })

  it('lists, callers and faults of requests are what they always are', async () => {
    const { bindings } = deployment()
    const { send } = inHaste(() => json({ data: [] }))
    expect((await send('/v1/providers?degraded', {}, bindings)).status).toBe(200)
    expect((await send(CHAT, chat({ headers: {} }), bindings)).status).toBe(401)
    expect((await send(CHAT, chat({ body: 'x' }), bindings)).status).toBe(400)
    expect((await send('/v1/keys', {}, bindings)).status).toBe(404)
  })

  it('a client with a budget is refused, as is a token that only the pool may know; others go on', async () => {
    const { bindings, reach } = deployment()
    const tokens = {
      paid: 'sy-token-paid-00001',
      free: 'sy-token-free-00001',
      member: 'sy-token-member-01',
    }
    const budget = { usd: 5, period: 'day', on_exceeded: 'warn' }
    const CLIENT_KEYS = JSON.stringify({
      groups: [{ id: 'team', budget }],
      clients: [
        { id: 'paid', token: tokens.paid, budget },
        { id: 'member', token: tokens.member, group: 'team' },
        { id: 'free', token: tokens.free, rpm: 1 },
      ],
    })
    const { send, received } = inHaste(answer)
    const of = async (token: string, more: object) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const response = await send(CHAT, chat({ headers }), more as Record<string, unknown>)
      return response.ok ? response.status : [response.status, await reasonOf(response)]
    }
    const without = { ...bindings, CLIENT_KEYS }
    const withAdmin = {
      ...bindings,
      CLIENT_KEYS,
      ADMIN_TOKEN: 'an-admin-token-of-thirty-two-chars',
    }
    for (const deployed of [without, withAdmin]) {
      expect(await of(tokens.paid, deployed)).toEqual([503, 'pool_unavailable'])
      expect(await of(tokens.member, deployed)).toEqual([503, 'pool_unavailable'])
    }
    expect(received.filter(({ url }) => url.endsWith(CHAT.slice(3)))).toEqual([])
    for (const deployed of [without, withAdmin]) {
      // Its limits cannot be kept now, and nobody's money is at stake.
      expect([await of(tokens.free, deployed), await of(tokens.free, deployed)]).toEqual([200, 200])
    }
    expect(await of('sy-token-of-nobody', without)).toEqual([401, 'unauthorized'])
    expect(await of('sy-token-of-nobody', withAdmin)).toEqual([503, 'pool_unavailable'])
    reach(true)
    vi.setSystemTime(Date.now() + 5_000)
    expect(await of(tokens.paid, withAdmin)).toBe(200)
    expect(await of('sy-token-of-nobody', withAdmin)).toEqual([401, 'unauthorized'])
  })
})
