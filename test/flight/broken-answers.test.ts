import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { MEMORY } from '../../src/http/composition-root.ts'
import { type Asked, chunk, createFlightWorld, END, type UpstreamCall } from './flight-driver.ts'

beforeEach(() => void vi.spyOn(console, 'log').mockImplementation(() => undefined))
afterEach(async () => {
  vi.restoreAllMocks()
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 2_000 })
})

const GROUP = { ttl_s: 60, scope: 'group' }
const EVENTS = [chunk('a'), chunk('b'), chunk('c'), END] as const
const until = (events: number) => EVENTS.slice(0, events).join('')
const roleOf = ({ headers }: Response) => headers.get('x-switchyard-cache')

type World = ReturnType<typeof createFlightWorld>

/** Reads what is there by now, and leaves the reader where it is. */
async function readLength(body: Response['body'], length: number) {
  const reader = body?.getReader()
  let text = ''
  while (text.length < length) text += new TextDecoder().decode((await reader?.read())?.value)
  const rest = async () => {
    let more = ''
    for (let read = await reader?.read(); !read?.done; read = await reader?.read()) {
      more += new TextDecoder().decode(read?.value)
    }
    return more
  }
  return { text, rest }
}

describe('upstream fails: all who wait get what one would get who asks alone', () => {
  const error = (code: number) => ({ error: { code, message: 'No.', metadata: {} } })
  const event = (json: object) => `data: ${JSON.stringify(json)}\n\n`
  const FAULTS: readonly (readonly [string, (call: UpstreamCall) => void])[] = [
    ['a refusal of the caller', (call) => call.answer(Response.json(error(400), { status: 400 }))],
    ['a failure', (call) => call.answer(Response.json(error(502), { status: 502 }))],
    ['no connection', (call) => call.breakOff()],
    ...[0, 1, 2, 3].flatMap((events) => [
      [
        `the end after ${events} events`,
        (call: UpstreamCall) => {
          call.answer()
          call.end(until(events))
        },
      ] as const,
      [
        `an error after ${events} events`,
        (call: UpstreamCall) => {
          call.answer()
          call.end(until(events) + event(error(502)))
        },
      ] as const,
    ]),
  ]

  /** Answers each call with the fault until nobody waits any more. */
  async function outcome(
    world: World,
    asked: readonly Asked[],
    fail: (call: UpstreamCall) => void,
  ) {
    let isOver = false
    const given = Promise.all(
      asked.map(async (one) => {
        const response = await world.ask(one)
        return [response.status, await response.text()] as const
      }),
    ).finally(() => {
      isOver = true
    })
    for (let answered = 0; !isOver; ) {
      const call = world.calls[answered]
      if (call === undefined) await world.pass(500)
      else {
        fail(call)
        answered += 1
      }
    }
    const told = await given
    await world.pass(1)
    return { told, calls: world.calls.length }
  }

  it.each(FAULTS)('%s', async (_, fail) => {
    const alone = await outcome(createFlightWorld({ share: false }), [{}], fail)
    const world = createFlightWorld(GROUP)
    const together = await outcome(world, [{}, {}, { client: 'mate' }], fail)
    // Each once, and upstream was called as often as for one.
    expect(together).toEqual({ calls: alone.calls, told: Array(3).fill(alone.told[0]) })
    // Nothing of it is kept.
    const next = world.ask()
    const call = await world.call(together.calls)
    call.answer()
    call.end(until(4))
    expect([roleOf(await next), await (await next).text()]).toEqual(['miss', until(4)])
  })
})

describe('the object dies', () => {
  it.each(['before upstream answers', 'before the first event'])(
    '%s: one of those who wait asks again, and the others join it',
    async (when) => {
      const world = createFlightWorld(GROUP)
      const asked = [world.ask(), world.ask(), world.ask({ client: 'mate' })]
      const first = await world.call(0)
      if (when === 'before the first event') first.answer()
      await vi.waitFor(() => expect(world.flights.asked.length).toBe(3))
      world.flights.kill([first])
      const second = await world.call(1)
      second.answer()
      second.end(until(4))
      const responses = await Promise.all(asked)
      expect(responses.map(roleOf).toSorted()).toEqual(['joined', 'joined', 'miss'])
      for (const response of responses) expect(await response.text()).toBe(until(4))
      expect(world.calls).toHaveLength(2)
    },
  )

  it.each([1, 2, 3])(
    'after event %i: each hears once that its answer broke off, and who asks again gets one',
    async (events) => {
      const world = createFlightWorld(GROUP)
      const asked = [world.ask(), world.ask()]
      const call = await world.call(0)
      call.answer()
      call.write(until(events))
      const readers = await Promise.all(
        asked.map(async (one) => readLength((await one).body, until(events).length)),
      )
      world.flights.kill([call])
      for (const { text, rest } of readers) {
        const whole = text + (await rest())
        expect(whole.startsWith(until(events))).toBe(true)
        expect(whole.match(/"finish_reason":"error"/g)).toHaveLength(1)
        expect(whole).toMatch(/data: \[DONE\]\n\n$/)
      }
      expect(world.calls).toHaveLength(1)
      const again = [world.ask(), world.ask()]
      const second = await world.call(1)
      second.answer()
      second.end(until(4))
      for (const one of again) expect(await (await one).text()).toBe(until(4))
      expect(world.calls).toHaveLength(2)
    },
  )

  it('after the last event: what is kept is there', async () => {
    const world = createFlightWorld(GROUP)
    const asked = world.ask()
    const call = await world.call(0)
    call.answer()
    call.end(until(4))
    await (await asked).text()
    await world.pass(1)
    world.flights.kill([])
    const hit = await world.ask()
    expect([roleOf(hit), await hit.text()]).toEqual(['hit', until(4)])
  })
})

describe('a durable answer whose object dies', () => {
  const durable = { 'x-switchyard-durable': '60', 'x-request-id': 'd' }
  const ERROR = /"finish_reason":"error"/

  /** A durable answer that was cut after some events, of which all are put down or only the first. */
  async function cut(events: number, isSlow: boolean): Promise<World> {
    const world = createFlightWorld({ share: false })
    const asked = world.ask({ headers: durable })
    const call = await world.call(0)
    call.answer()
    const reader = (async () => (await asked).body?.getReader())()
    for (const one of EVENTS.slice(0, events)) {
      if (isSlow) await world.pass(1_000)
      call.write(one)
      await (await reader)?.read()
      await world.pass(0)
    }
    await (await reader)?.cancel()
    world.flights.kill([call])
    return world
  }

  it.each([1, 2, 3])(
    'after event %i is there up to that one, and ends with an error',
    async (events) => {
      const world = await cut(events, true)
      const kept = await world.fetchAnswer('d')
      const text = await kept.text()
      expect([kept.status, kept.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
      const blocks = text.split(/(?<=\n\n)/)
      expect(blocks.map((block) => /^id: d\.(\d+)\n/.exec(block)?.[1])).toEqual(
        blocks.map((_, i) => String(i + 1)),
      )
      expect(text.replaceAll(/^id: d\.\d+\n/gm, '').startsWith(until(events))).toBe(true)
      expect(blocks[events]).toMatch(ERROR)
      // Wherever its client was cut, it gets what it has not got.
      for (let after = 1; after <= events; after += 1) {
        const rest = await world.ask({ headers: { ...durable, 'last-event-id': `d.${after}` } })
        expect(await rest.text()).toBe(blocks.slice(after).join(''))
      }
      expect(world.calls).toHaveLength(1)
    },
  )

  it('tells who has got more than was put down that it broke off', async () => {
    const world = await cut(3, false)
    const rest = await world.ask({ headers: { ...durable, 'last-event-id': 'd.3' } })
    const text = await rest.text()
    expect(text).toMatch(ERROR)
    expect(text).not.toContain('"content":"a"')
  })

  it('is made anew for who asks anew, and is gone when its time is over', async () => {
    const world = await cut(2, true)
    const again = world.ask({ headers: durable })
    const call = await world.call(1)
    call.answer()
    call.write(until(2))
    expect((await world.fetchAnswer('d')).status).toBe(202)
    call.end(EVENTS.slice(2).join(''))
    expect((await (await again).text()).replaceAll(/^id: d\.\d+\n/gm, '')).toBe(until(4))
    await world.pass(1)
    const kept = await (await world.fetchAnswer('d')).text()
    expect(kept.replaceAll(/^id: d\.\d+\n/gm, '')).toBe(until(4))

    const other = await cut(2, true)
    await other.pass(10 * 60_000 + 60_000)
    expect((await other.fetchAnswer('d')).status).toBe(404)
  })

  it('before its first event is begun anew for who waits, and was never there for who has left', async () => {
    // What is dead must not try again.
    const world = createFlightWorld({ share: false }, { max_attempts: 1 })
    const leaving = new AbortController()
    const gone = world.ask({ headers: { ...durable, 'x-request-id': 'e' }, signal: leaving.signal })
    const first = await world.call(0)
    leaving.abort()
    const asked = world.ask({ headers: durable })
    const second = await world.call(1)
    second.answer()
    await vi.waitFor(() => expect(world.flights.asked).toContain('leave'))
    world.flights.kill([first, second])
    const third = await world.call(2)
    third.answer()
    third.end(until(4))
    expect((await (await asked).text()).replaceAll(/^id: d\.\d+\n/gm, '')).toBe(until(4))
    await gone.catch(() => undefined)
    expect((await world.fetchAnswer('e')).status).toBe(404)
    const resumed = await world.ask({ headers: { 'last-event-id': 'e.1' } })
    expect(resumed.status).toBe(404)
    expect(world.calls).toHaveLength(3)
  })
})
