import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ISOLATE_BYTES } from '../../../src/gateway/byte-budget.ts'
import { MEMORY as memory } from '../../../src/http/composition-root.ts'
import { gatewayInFrontOf, json, reasonOf } from '../gateway-driver.ts'

const IMPATIENT = { POLICY: { timeouts: { headers_ms: 100 } } }

/** An upstream that does not answer until the gateway aborts the call. */
function aborted(signal: AbortSignal | null): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  signal?.addEventListener('abort', () => reject(signal.reason))
  return promise
}

afterEach(() => void vi.useRealTimers())

describe('the public lists', () => {
  const LISTS = [
    'models',
    'models/vendor/model/endpoints',
    'providers',
    'embeddings/models',
    'endpoints/zdr',
  ]
  const cacheable = { headers: { 'cache-control': 'public, max-age=300', 'set-cookie': 'a=b' } }

  it.each(LISTS)('%s is fetched with no key and nothing of the caller', async (path) => {
    const { send, received } = gatewayInFrontOf(() => json({ data: [path] }))
    const headers = { authorization: 'Bearer anything', cookie: 'c=d', 'x-api-key': 'x' }
    const response = await send(`/v1/${path}`, { headers })
    expect(await response.json()).toEqual({ data: [path] })
    expect(received[0]?.url).toBe(`http://localhost:9/api/v1/${path}`)
    expect([...(received[0]?.headers.keys() ?? [])]).toEqual(['accept'])
    // The gateway must not follow a redirect to another host. It passes the redirect on.
    expect(received[0]?.redirect).toBe('manual')
  })

  it('are cached where OpenRouter allows it, each with its query', async () => {
    const { send, received } = gatewayInFrontOf(() => json({ data: [received.length] }, cacheable))
    const get = async (path: string) => (await send(path)).json()
    expect(await get('/v1/models?limit=1')).toEqual({ data: [1] })
    expect(await get('/api/v1/models?limit=1')).toEqual({ data: [1] })
    expect(await get('/v1/models?limit=2')).toEqual({ data: [2] })
    const response = await send('/v1/models?limit=2')
    expect(response.headers.has('set-cookie')).toBe(false)
    expect(response.headers.get('cache-control')).toBe('public, max-age=300')
  })

  it.each([
    ['says nothing of caching', {}],
    ['forbids it', { headers: { 'cache-control': 'no-store' } }],
    ['keeps it private', { headers: { 'cache-control': 'private, max-age=300' } }],
    ['failed', { status: 503, ...cacheable }],
    ['says that there is none', { status: 404, ...cacheable }],
    ['only says how old it is', { headers: { 'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT' } }],
  ])('are not cached where the answer %s', async (name, init) => {
    const { send, received } = gatewayInFrontOf(() => json({ data: [received.length] }, init))
    const path = `/v1/models?q=${encodeURIComponent(name)}`
    await send(path)
    expect(await (await send(path)).json()).toEqual({ data: [2] })
  })

  it('that OpenRouter does not give are a 502', async () => {
    const response = await gatewayInFrontOf(() => Promise.reject(new Error('no route'))).send(
      '/v1/providers?down',
    )
    expect(response.status).toBe(502)
    expect(await reasonOf(response)).toBe('upstream_unreachable')
  })

  it('that OpenRouter does not begin to give in time are a 504', async () => {
    const { send } = gatewayInFrontOf(({ signal }) => aborted(signal))
    const response = await send('/v1/providers?late', {}, IMPATIENT)
    expect(response.status).toBe(504)
    expect(await reasonOf(response)).toBe('upstream_timeout')
  })

  it('that have begun in time may take longer to come', async () => {
    const { send } = gatewayInFrontOf(({ signal }) => {
      const slow = new ReadableStream({
        start(controller) {
          signal?.addEventListener('abort', () => controller.error(signal.reason))
          setTimeout(() => {
            controller.enqueue(new TextEncoder().encode('{"data":[]}'))
            controller.close()
          }, 200)
        },
      })
      return new Response(slow)
    })
    expect(await (await send('/v1/providers?slow', {}, IMPATIENT)).json()).toEqual({ data: [] })
  })
})

describe('the bytes of a list', () => {
  const cacheable = { headers: { 'cache-control': 'public, max-age=300' } }
  const list = JSON.stringify({ data: ['x'.repeat(1_000_000)] })

  /** Gives a list in pieces, and tells what the isolate holds before each. */
  function inPieces(heldBytes: number[]): Response {
    let at = 0
    const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
      heldBytes.push(memory.heldBytes())
      controller.enqueue(new TextEncoder().encode(list.slice(at, at + 100_000)))
      at += 100_000
      if (at >= list.length) controller.close()
    }
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }), cacheable)
  }

  it('count while they are read', async () => {
    const heldBytes: number[] = []
    const { send } = gatewayInFrontOf(() => inPieces(heldBytes))
    expect((await (await send('/v1/models?q=counted')).text()) === list).toBe(true)
    expect(heldBytes[0]).toBe(0)
    expect(heldBytes.at(-1)).toBe(1_000_000)
    expect(memory.heldBytes()).toBe(0)
  })

  it('are passed on and not kept where there is no room for them', async () => {
    const other = memory.open()
    expect(other.grow(ISOLATE_BYTES - 500_000)).toBe(true)
    const { send, received } = gatewayInFrontOf(() => inPieces([]))
    for (let i = 0; i < 2; i++) {
      expect((await (await send('/v1/models?q=roomless')).text()) === list).toBe(true)
    }
    other.release()
    expect(received).toHaveLength(2)
    expect(memory.heldBytes()).toBe(0)
  })
})

describe('the query of a list', () => {
  const cacheable = { headers: { 'cache-control': 'public, max-age=300' } }

  it('is sent on as far as OpenRouter documents it, and nothing else makes another fetch', async () => {
    const { send, received } = gatewayInFrontOf(() => json({ data: [] }, cacheable))
    for (const query of [
      'q=known&category=programming',
      'category=programming&q=known',
      'nonce=1&q=known&category=programming',
      'q=known&__proto__=x&category=programming&nonce=2',
    ]) {
      expect((await send(`/v1/models?${query}`)).status).toBe(200)
    }
    expect(received.map(({ url }) => new URL(url).search)).toEqual([
      '?category=programming&q=known',
    ])
  })

  it.each(['providers', 'endpoints/zdr', 'models/vendor/queried/endpoints'])(
    'of %s does not exist',
    async (path) => {
      const { send, received } = gatewayInFrontOf(() => json({ data: [] }))
      await send(`/v1/${path}?limit=1&q=x`)
      expect(received[0]?.url).toBe(`http://localhost:9/api/v1/${path}`)
    },
  )
})

it('a list that many ask for at once is fetched once', async () => {
  const cacheable = { headers: { 'cache-control': 'public, max-age=300' } }
  const begun = Promise.withResolvers<void>()
  const { send, received } = gatewayInFrontOf(async () => {
    await begun.promise
    return json({ data: [received.length] }, cacheable)
  })
  const answers = Array.from({ length: 10 }, () => send('/v1/models?q=at-once'))
  setTimeout(begun.resolve, 50)
  for (const answer of await Promise.all(answers))
    expect(await answer.json()).toEqual({ data: [1] })
  expect(received).toHaveLength(1)
})

it('a list that is too long to be kept arrives byte for byte', async () => {
  const cacheable = { headers: { 'cache-control': 'public, max-age=300' } }
  const long = JSON.stringify({ data: ['x'.repeat(5 * 1024 * 1024), 'end'] })
  const { send, received } = gatewayInFrontOf(() => new Response(long, cacheable))
  for (const _ of [1, 2])
    expect((await (await send('/v1/models?q=long')).text()) === long).toBe(true)
  expect(received).toHaveLength(2)
})

it.each([
  [
    'breaks off',
    (controller: ReadableStreamDefaultController) => controller.error(new Error('gone')),
  ],
  ['stops coming', () => undefined],
])('a list that %s is a 502, and is not kept', async (name, end) => {
  const cacheable = { headers: { 'cache-control': 'public, max-age=300' } }
  const { send, received } = gatewayInFrontOf(() => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"data":['))
        setTimeout(() => end(controller), 20)
      },
    })
    return new Response(body, cacheable)
  })
  const policy = { POLICY: { timeouts: { idle_ms: 200 } } }
  for (const _ of [1, 2]) {
    expect((await send(`/v1/models?q=${encodeURIComponent(name)}`, {}, policy)).status).toBe(502)
  }
  expect(received).toHaveLength(2)
})

describe('a list that OpenRouter lets be served for a while after it has gone stale', () => {
  const FRESH_S = 300
  const cacheControl = 'public, max-age=300, stale-while-revalidate=600, stale-if-error=3600'
  const lasting = { headers: { 'cache-control': cacheControl, vary: 'Accept-Encoding' } }
  let path = ''
  let lists = 0

  // The cache outlives a test, so each test has its own list.
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'] })
    lists += 1
    path = `/v1/models?q=list-${lists}`
  })

  const pass = (seconds: number) => vi.setSystemTime(Date.now() + seconds * 1000)

  /** An upstream that counts its answers. `become` changes how it answers. */
  function counting() {
    let trouble: (() => Response | Promise<Response>) | null = null
    const gateway = gatewayInFrontOf(() =>
      trouble === null ? json({ data: [gateway.received.length] }, lasting) : trouble(),
    )
    const list = async () => (await gateway.send(path)).json()
    const become = (next: typeof trouble) => {
      trouble = next
    }
    return { ...gateway, list, become }
  }

  it('is served from the cache while it is fresh, and says how old it is', async () => {
    const { send, received } = counting()
    await send(path)
    pass(FRESH_S - 1)
    const response = await send(path)
    expect(await response.json()).toEqual({ data: [1] })
    expect(response.headers.get('age')).toBe(String(FRESH_S - 1))
    expect(response.headers.get('cache-control')).toBe(cacheControl)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect([...response.headers.keys()].filter((name) => name.includes('policy'))).toEqual([])
    expect(received).toHaveLength(1)
  })

  it('that had an age when it came is fresh for as much less', async () => {
    const { send, received } = gatewayInFrontOf(() =>
      json({ data: [] }, { headers: { ...lasting.headers, age: '200' } }),
    )
    await send(path)
    pass(99)
    expect((await send(path)).headers.get('age')).toBe('299')
    expect(received).toHaveLength(1)
    pass(2)
    await send(path)
    expect(received).toHaveLength(2)
  })

  it('is then served at once, and fetched anew behind the caller’s back', async () => {
    const { list, received } = counting()
    await list()
    pass(FRESH_S)
    expect(await list()).toEqual({ data: [1] })
    expect(received).toHaveLength(2)
    expect(await list()).toEqual({ data: [2] })
    expect(received).toHaveLength(2)
  })

  it('does not wait for a renewal that hangs, and starts no second one meanwhile', async () => {
    const hung = Promise.withResolvers<Response>()
    const { send, list, received, become } = counting()
    await list()
    pass(FRESH_S + 1)
    become(() => hung.promise)
    // Background work ends with its request in tests, so the first request is awaited last.
    const first = list()
    await vi.waitFor(() => expect(received).toHaveLength(2))
    expect(await Promise.all([list(), list(), list()])).toEqual(Array(3).fill({ data: [1] }))
    expect(await (await send(`/api${path}`)).json()).toEqual({ data: [1] })
    expect(received).toHaveLength(2)
    hung.resolve(json({ data: ['late'] }, lasting))
    expect(await first).toEqual({ data: [1] })
    expect(await list()).toEqual({ data: ['late'] })
  })

  it('tries again a minute after a renewal that was never heard of again', async () => {
    const { send, list, received, become } = counting()
    await list()
    pass(FRESH_S + 1)
    become(() => Promise.withResolvers<Response>().promise)
    void send(path)
    await vi.waitFor(() => expect(received).toHaveLength(2))
    become(null)
    pass(59)
    await list()
    expect(received).toHaveLength(2)
    pass(1)
    await list()
    expect(received).toHaveLength(3)
  })

  it.each([
    ['can’t be reached', () => Promise.reject(new Error('no route'))],
    ['answers with a 500', () => json({ error: {} }, { status: 500 })],
    ['answers with a 529', () => json({ error: {} }, { status: 529 })],
  ])('survives that OpenRouter %s, for as long as it may', async (_, trouble) => {
    const { send, list, become } = counting()
    await list()
    become(trouble)
    pass(FRESH_S + 1)
    expect(await list()).toEqual({ data: [1] })
    pass(600)
    const old = await send(path)
    expect(await old.json()).toEqual({ data: [1] })
    expect(old.headers.get('age')).toBe('901')
    pass(3600 - 602)
    expect(await list()).toEqual({ data: [1] })
    pass(2)
    expect((await send(path)).status).toBeGreaterThanOrEqual(500)
  })

  it('survives that OpenRouter does not answer in time', async () => {
    let isHung = false
    const { send } = gatewayInFrontOf(({ signal }) =>
      isHung ? aborted(signal) : json({ data: [1] }, lasting),
    )
    await send(path)
    isHung = true
    pass(FRESH_S + 601)
    expect(await (await send(path, {}, IMPATIENT)).json()).toEqual({ data: [1] })
  })

  it('is asked for anew, with the caller waiting, once it may not be served any more', async () => {
    const { list } = counting()
    await list()
    pass(FRESH_S + 600)
    expect(await list()).toEqual({ data: [2] })
  })

  it('is not replaced by an answer that may not be kept, which the caller yet gets', async () => {
    const { send, list, become } = counting()
    await list()
    pass(FRESH_S + 601)
    become(() => json({ error: { code: 404 } }, { status: 404 }))
    expect((await send(path)).status).toBe(404)
    become(() => Promise.reject(new Error('no route')))
    expect(await list()).toEqual({ data: [1] })
  })

  it('is no other for a caller who wants no cache, or who sends cookies', async () => {
    const { send, list, received } = counting()
    await list()
    const headers = { 'cache-control': 'no-cache', pragma: 'no-cache', cookie: 'a=b' }
    expect(await (await send(path, { headers })).json()).toEqual({ data: [1] })
    expect(received).toHaveLength(1)
  })
})

it.each(['/v%31/models', '/api/v%31/providers', '/%761/models', '/v1/models/user'])(
  '%s is no list',
  async (path) => {
    const { send, received } = gatewayInFrontOf(() => json({ data: [] }))
    const response = await send(path)
    expect(response.status).toBe(404)
    expect(await reasonOf(response)).toBe('not_found')
    expect(received).toEqual([])
  },
)

it('a list that was old when it came says so from the start', async () => {
  const headers = { 'cache-control': 'public, max-age=300', age: '290' }
  const { send } = gatewayInFrontOf(() => json({ data: [] }, { headers }))
  const ages = [await send('/v1/models?q=old'), await send('/v1/models?q=old')].map((response) =>
    response.headers.get('age'),
  )
  expect(ages).toEqual(['290', '290'])
})

it('a list is given although the cache is broken', async () => {
  vi.spyOn(caches, 'open').mockRejectedValue(new Error('no cache here'))
  const cacheable = { headers: { 'cache-control': 'public, max-age=300' } }
  const { send } = gatewayInFrontOf(() => json({ data: [1] }, cacheable))
  expect(await (await send('/v1/models?q=broken')).json()).toEqual({ data: [1] })
  vi.restoreAllMocks()
})
