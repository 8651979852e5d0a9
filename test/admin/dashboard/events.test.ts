import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, it } from 'vitest'
import { MAX_VIEWERS } from '../../../src/admin/dashboard/feed.ts'
import { SESSION_MS } from '../../../src/admin/sign-in/session.ts'
import { createApp } from '../../../src/app.ts'
import type { PoolOverview } from '../../../src/balancing/operators/overview.ts'
import type { Ports } from '../../../src/gateway/ports.ts'
import { ADMIN } from '../admin-driver.ts'
import { cookieOf } from '../browser-of.ts'

/** So many times as fast as the clock on the wall. */
const SPEED = 200

const AUTHORIZED = { authorization: `Bearer ${ADMIN}` }

/** A gateway in a time of its own, and what it asks its pool's object. */
function fastGateway(speed = SPEED) {
  const beganMs = Date.now()
  const clock = { aheadMs: 0 }
  const asked = { overview: 0, history: 0, rendered: 0, isDown: false }
  const ports: Ports = {
    fetch: () => Promise.reject(new Error('Nobody is asked')),
    nowMs: () => beganMs + clock.aheadMs + (Date.now() - beganMs) * speed,
    random: () => 0,
    timer(ms, callback) {
      const id = setTimeout(callback, ms / speed)
      return () => clearTimeout(id)
    },
    uniqueId: () => crypto.randomUUID(),
  }
  const name = `pool/events/${beganMs}/${Math.random()}`
  // A call to the real object takes seconds of this time. What it says does not change here.
  let told: Promise<PoolOverview> | null = null
  // Whoever makes parts of the page, or the text of an event, reads the groups once.
  const noted = ({ groups, ...overview }: PoolOverview) => ({
    ...overview,
    get groups() {
      asked.rendered += 1
      return groups
    },
  })
  const KEY_POOL = {
    getByName: () => {
      const stub = env.KEY_POOL.getByName(name)
      return {
        overview() {
          asked.overview += 1
          told ??= Promise.resolve(stub.overview())
          return asked.isDown ? Promise.reject(new Error('down')) : told.then(noted)
        },
        history(query: Parameters<typeof stub.history>[0]) {
          asked.history += 1
          return stub.history(query)
        },
        alerts: (given: Parameters<typeof stub.alerts>[0]) => stub.alerts(given),
        requests: (query: Parameters<typeof stub.requests>[0]) => stub.requests(query),
      }
    },
  }
  const app = createApp(ports)
  const bindings = { ...env, KEY_POOL, ADMIN_TOKEN: ADMIN }
  const send = async (path: string, init: RequestInit = {}): Promise<Response> =>
    await app.fetch(
      new Request(`https://gateway.example${path}`, init),
      bindings,
      createExecutionContext(),
    )
  return { send, asked, clock, nowMs: ports.nowMs }
}

/** The events of a stream to its end: their names, and the data of the first of each name. */
async function eventsOf(response: Response) {
  const events = (await response.text()).split('\n\n').filter((event) => event.startsWith('event'))
  return events.map((event) => {
    const [, name = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(event) ?? []
    return { name, data: JSON.parse(data) }
  })
}

it('the pool is told once a second, for all viewers by one question, until five minutes are over', async () => {
  const { send, asked, nowMs } = fastGateway()
  const beganMs = nowMs()
  const streams = await Promise.all([
    send('/admin/api/events', { headers: AUTHORIZED }),
    send('/admin/api/events', { headers: AUTHORIZED }),
    send('/admin/api/events?view=page', { headers: AUTHORIZED }),
  ])
  expect(streams.map(({ status }) => status)).toEqual([200, 200, 200])
  expect(streams[0]?.headers.get('content-type')).toBe('text/event-stream')
  expect(streams[0]?.headers.get('cache-control')).toBe('no-store')
  const [first = [], second = [], page = []] = await Promise.all(streams.map(eventsOf))
  expect(nowMs() - beganMs).toBeGreaterThanOrEqual(300_000)
  expect(first[0]).toMatchObject({ name: 'pool', data: { keys_total: 3, keys_usable: 3 } })
  expect(second.length).toBeGreaterThan(1)
  // Nobody asks more often than once in 950 ms, and for the hour less often.
  expect(asked.overview).toBeLessThanOrEqual(1 + (nowMs() - beganMs) / 950)
  expect(asked.history).toBeLessThanOrEqual(1 + (nowMs() - beganMs) / 10_000)
  // The page hears only of what has changed, which is nothing here.
  expect(page).toHaveLength(1)
  expect(Object.keys(page[0]?.data.parts)).toEqual([
    ...[
      'headline',
      'account-list',
      'queue-lanes',
      'batch-list',
      'alert-addresses',
      'plots',
      'last-requests',
      'client-list',
    ],
    ...['key-alpha', 'key-beta', 'key-gamma'],
  ])
  expect(page[0]?.data.order).toEqual(['key-alpha', 'key-beta', 'key-gamma'])
  const before = asked.overview
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(asked.overview, 'asked while nobody watches').toBe(before)
})

it('twenty tabs cost what one does: one question a second, and its answer is made into a page once', async () => {
  const { send, asked, clock, nowMs } = fastGateway(20)
  const cookie = await cookieOf(send, ADMIN)
  // Their session has half a minute left, so that the test has too.
  clock.aheadMs = SESSION_MS - 30_000
  const beganMs = nowMs()
  const tabs = Array.from({ length: 20 }, () =>
    send('/admin/api/events?view=page', { headers: { cookie } }),
  )
  const told = await Promise.all(tabs.map(async (tab) => await eventsOf(await tab)))
  expect(told.every(([first]) => first?.name === 'page')).toBe(true)
  expect(asked.overview).toBeGreaterThan(10)
  expect(asked.overview).toBeLessThanOrEqual(1 + (nowMs() - beganMs) / 950)
  expect(asked.rendered).toBeLessThanOrEqual(asked.overview)
})

it('an object that does not answer is told of, and the page keeps what it had', async () => {
  const { send, asked } = fastGateway()
  const page = await send('/admin', { headers: AUTHORIZED })
  expect(await page.text()).toContain('All 3 keys usable')
  asked.isDown = true
  const [events = [], stale = []] = await Promise.all([
    eventsOf(await send('/admin/api/events?view=page', { headers: AUTHORIZED })),
    eventsOf(await send('/admin/api/events', { headers: AUTHORIZED })),
  ])
  const headlines = events.map(({ data }) => String(data.parts.headline))
  expect(headlines.at(-1)).toContain('All 3 keys usable')
  expect(headlines.at(-1)).toContain('does not answer')
  expect(stale.at(-1)).toEqual({ name: 'stale', data: {} })
  const again = await send('/admin', { headers: AUTHORIZED })
  expect([again.status, await again.text()]).toEqual([
    200,
    expect.stringContaining('does not answer. What follows is as of'),
  ])
})

it('without anything known of the pool, the page says that it cannot be seen', async () => {
  const { send, asked } = fastGateway()
  asked.isDown = true
  const page = await send('/admin', { headers: AUTHORIZED })
  expect(page.status).toBe(503)
  expect(await page.text()).toContain('does not answer now')
})

it('a stream does not outlive its session', async () => {
  const { send, clock, nowMs } = fastGateway()
  const cookie = await cookieOf(send, ADMIN)
  const endsAtMs = Number(cookie.split('=')[1]?.split('.')[0])
  clock.aheadMs = SESSION_MS - 60_000
  const stream = await send('/admin/api/events', { headers: { cookie } })
  expect(stream.status).toBe(200)
  await stream.text()
  expect(nowMs()).toBeGreaterThanOrEqual(endsAtMs)
  // Not the five minutes that others have.
  expect(nowMs()).toBeLessThan(endsAtMs + 240_000)
  expect((await send('/admin/api/events', { headers: { cookie } })).status).toBe(401)
})

it('viewers are counted, and one that does not read is cut', async () => {
  const { send } = fastGateway()
  const watch = async () => await send('/admin/api/events', { headers: AUTHORIZED })
  const unread: Response[] = []
  for (let i = 0; i < MAX_VIEWERS; i += 1) unread.push(await watch())
  expect(unread.every(({ status }) => status === 200)).toBe(true)
  const statuses: number[] = [(await watch()).status]
  while (statuses.at(-1) !== 200 && statuses.length < 500) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    statuses.push((await watch()).status)
  }
  expect(statuses[0]).toBe(503)
  expect(statuses.at(-1)).toBe(200)
})
