import { beforeEach, describe, expect, it } from 'vitest'
import { createPriceBook, type PriceBook } from '../../../src/http/prices/price-book.ts'
import { createVirtualKv, type VirtualKv } from '../../gateway/virtual-kv.ts'
import { createVirtualTime, type VirtualTime } from '../../gateway/virtual-time.ts'

const UPSTREAM = 'https://upstream.example/api/v1'
const MINUTE_MS = 60_000
const MODELS = Array.from({ length: 40 }, (_, index) => `author/m${index}`)

let time: VirtualTime
let kv: VirtualKv
/** The paths that upstream was asked for. */
let asked: string[]
/** What upstream answers instead of what it should, by path. */
let broken: Map<string, (init: RequestInit) => Promise<Response>>
/** The price of all prompts, in pico-dollars. */
let picos: number

beforeEach(() => {
  time = createVirtualTime(Date.UTC(2026, 5, 1))
  kv = createVirtualKv(time)
  asked = []
  broken = new Map()
  picos = 1
})

const priceOf = (value: number) => (value / 1e12).toFixed(12)

async function answer(path: string): Promise<Response> {
  const pricing = { prompt: priceOf(picos), completion: '0' }
  if (path === '/models') return Response.json({ data: MODELS.map((id) => ({ id, pricing })) })
  if (path === '/embeddings/models') return Response.json({ data: [{ id: 'e/vectors', pricing }] })
  const dear = { tag: 'x', pricing: { prompt: priceOf(picos * 10), completion: '0' } }
  return Response.json({ data: { endpoints: [dear] } })
}

/** A book of one isolate. `work` is what its requests have begun and nobody waits for. */
function isolate() {
  const work: Promise<unknown>[] = []
  const ports = {
    nowMs: time.nowMs,
    timer: time.timer,
    async fetch(url: string, init: RequestInit) {
      expect(new Headers(init.headers).get('authorization')).toBeNull()
      const path = url.slice(UPSTREAM.length)
      asked.push(path)
      return await (broken.get(path) ?? (() => answer(path)))(init)
    },
  }
  const book: PriceBook = createPriceBook(kv.namespace, ports, UPSTREAM)
  return {
    book,
    request: (...models: string[]) =>
      book.pricesFor(models, { fetch: ports.fetch, background: (begun) => void work.push(begun) }),
    settle: () => Promise.all(work),
    work,
  }
}

const promptOf = (table: ReturnType<PriceBook['pricesFor']>, id = 'author/m0') =>
  table?.models[id]?.rates.base.prompt

const failing = async () => Response.json({ error: { code: 503 } }, { status: 503 })

describe('a request', () => {
  it('never waits: the first gets nothing, and the prices are read beside it', async () => {
    const { request, settle, work } = isolate()
    expect(request('author/m0')).toBeNull()
    expect(request('author/m0')).toBeNull()
    expect(work).toHaveLength(1)
    await settle()
    expect(promptOf(request('author/m0'))).toBe(1)
    expect(promptOf(request('author/m0'), 'e/vectors')).toBe(1)
    expect(asked.slice(0, 2)).toEqual(['/models', '/embeddings/models'])
  })

  it('of a model brings the prices of its endpoints, and of no other', async () => {
    const { request, settle } = isolate()
    request()
    await settle()
    expect(promptOf(request('author/m0:nitro', 'author/unknown'))).toBe(1)
    await settle()
    expect(asked.slice(2)).toEqual(['/models/author/m0/endpoints'])
    const table = request('author/m0')
    expect([promptOf(table), promptOf(table, 'author/m1')]).toEqual([10, 1])
    // And they are not asked for again.
    request('author/m0')
    await settle()
    expect(asked).toHaveLength(3)
  })

  it('finds what another isolate has read, with one read of KV', async () => {
    const first = isolate()
    first.request()
    await first.settle()
    first.request('author/m0')
    await first.settle()
    asked = []
    kv.reads.length = 0
    const second = isolate()
    second.request('author/m0')
    await second.settle()
    expect(promptOf(second.request('author/m0'))).toBe(10)
    expect(asked).toEqual([])
    expect(kv.reads).toEqual([`prices/${UPSTREAM}`])
  })
})

describe('renewal', () => {
  it('is the scheduled handler’s, each hour, with the endpoints that were used', async () => {
    const { request, settle } = isolate()
    request()
    await settle()
    request('author/m0')
    await settle()
    picos = 2
    asked = []
    const scheduled = isolate()
    await time.advance(59 * MINUTE_MS)
    await scheduled.book.keepFresh()
    expect(asked).toEqual([])
    await time.advance(MINUTE_MS)
    await scheduled.book.keepFresh()
    expect(asked).toEqual(['/models', '/embeddings/models', '/models/author/m0/endpoints'])
    // The other isolate finds it within minutes, and reads nothing of upstream.
    await time.advance(5 * MINUTE_MS)
    request('author/m0')
    await settle()
    const table = request('author/m0')
    expect([promptOf(table), promptOf(table, 'author/m1')]).toEqual([20, 2])
    expect(asked).toHaveLength(3)
  })

  it('is a request’s if nobody else has done it, beside the request', async () => {
    const { request, settle } = isolate()
    request()
    await settle()
    picos = 2
    await time.advance(70 * MINUTE_MS)
    expect(promptOf(request())).toBe(1)
    await settle()
    expect(promptOf(request())).toBe(2)
  })

  it.each([
    ['fails', failing],
    ['is cut off', () => Promise.reject(new Error('reset'))],
    ['is no JSON', async () => new Response('<html>')],
    ['lists nothing', async () => Response.json({ data: [] })],
    ['is endless', async () => new Response(new Uint8Array(5 * 1024 * 1024))],
  ])('keeps the old prices if the list %s, and is tried again a minute later', async (_, list) => {
    const { request, settle } = isolate()
    request()
    await settle()
    picos = 2
    broken.set('/models', list)
    await time.advance(70 * MINUTE_MS)
    request()
    await settle()
    request()
    await settle()
    expect(promptOf(request())).toBe(1)
    expect(asked.filter((path) => path === '/models')).toHaveLength(2)
    broken.clear()
    await time.advance(MINUTE_MS)
    request()
    await settle()
    expect(promptOf(request())).toBe(2)
  })

  it('goes on without the second list', async () => {
    broken.set('/embeddings/models', failing)
    const { request, settle } = isolate()
    request()
    await settle()
    expect(promptOf(request())).toBe(1)
  })

  it('gives up on an upstream that does not answer', async () => {
    const silent = ({ signal }: RequestInit) =>
      new Promise<Response>((_, reject) => {
        signal?.addEventListener('abort', () => reject(new Error('aborted')))
      })
    broken.set('/models', silent)
    const { book } = isolate()
    let isDone = false
    const fresh = book.keepFresh().then(() => {
      isDone = true
    })
    await time.advance(19_000)
    expect(isDone).toBe(false)
    await time.advance(1_000)
    await fresh
    expect(time.openTimers()).toBe(0)
  })
})

describe('endpoints', () => {
  it('are asked for of sixteen models at most, three at a time', async () => {
    const { request, settle } = isolate()
    request()
    await settle()
    request(...MODELS)
    await settle()
    request(...MODELS)
    await settle()
    const models = () => asked.filter((path) => path.endsWith('/endpoints'))
    expect(models()).toHaveLength(16)
    // After the renewal it is those that were used last.
    await time.advance(70 * MINUTE_MS)
    asked = []
    request('author/m0')
    await settle()
    expect(models()).toHaveLength(16)
    expect(models()[0]).toBe('/models/author/m0/endpoints')
  })

  it('that nobody lists are asked for again ten minutes later', async () => {
    broken.set('/models/author/m0/endpoints', failing)
    const { request, settle } = isolate()
    request()
    await settle()
    for (const minutes of [0, 9, 1]) {
      await time.advance(minutes * MINUTE_MS)
      request('author/m0')
      await settle()
    }
    expect(promptOf(request('author/m0'))).toBe(1)
    expect(asked.filter((path) => path.includes('m0'))).toHaveLength(2)
  })
})

describe('without KV', () => {
  it.each(['cannot_be_read', 'cannot_be_written', 'down'] as const)(
    'an isolate reads the prices itself: %s',
    async (state) => {
      kv.be(state)
      const { request, settle } = isolate()
      request()
      await settle()
      expect(promptOf(request())).toBe(1)
    },
  )

  it('passes over what is no table there', async () => {
    kv.entries.set(`prices/${UPSTREAM}`, '{"version":9}')
    const { request, settle } = isolate()
    request()
    await settle()
    expect(promptOf(request())).toBe(1)
  })
})
