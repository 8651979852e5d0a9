import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { AlertDuty } from '../../../src/balancing/alerts/alert-outbox.ts'
import type { AlertDelivery } from '../../../src/gateway/alerts/alert-delivery.ts'
import { createDegradedPool } from '../../../src/http/alerts/degraded-pool.ts'
import { createVirtualKv } from '../../gateway/virtual-kv.ts'
import { createVirtualTime } from '../../gateway/virtual-time.ts'

const INTERVAL_MS = 300_000

const lines: { message: string; alert: string }[] = []
beforeEach(() => {
  lines.length = 0
  const note = (line: string) => void lines.push(JSON.parse(line))
  vi.spyOn(console, 'log').mockImplementation(note)
  vi.spyOn(console, 'error').mockImplementation(note)
})
afterEach(() => void vi.restoreAllMocks())

/** Isolates that share a KV and an address. */
function world(to: readonly string[] = ['ops']) {
  const time = createVirtualTime(Date.UTC(2026, 0, 15, 12))
  const kv = createVirtualKv(time)
  const heard: { id: string; phase: string }[] = []
  const receiver = { isUp: true }
  const alerts: AlertDelivery = {
    names: to,
    send: async () => null,
    deliver: async (duties: readonly AlertDuty[]) =>
      duties.flatMap(({ to: name, messages }) =>
        messages.map(({ id, phase }) => {
          if (receiver.isUp) heard.push({ id, phase })
          const kind = receiver.isUp ? ('delivered' as const) : ('failed' as const)
          return { to: name, id, kind, status: null }
        }),
      ),
  }
  let names = 0
  const isolate = () =>
    createDegradedPool({
      ports: { nowMs: time.nowMs, timer: time.timer, uniqueId: () => `${++names}` },
      kv: kv.namespace,
      policy: { to: new Map([['pool_degraded', to]]), intervalMs: INTERVAL_MS },
      alerts,
    })
  /** Calls that fail, or are answered, twice a second. */
  const calls = async (one: ReturnType<typeof isolate>, isAnswer: boolean, forMs: number) => {
    for (let passed = 0; passed < forMs; passed += 500) {
      await one.note(isAnswer)
      await time.advance(500)
    }
  }
  return { time, kv, heard, receiver, isolate, calls }
}

describe('an object that does not answer', () => {
  it('for a moment, as at a deployment, is told to nobody', async () => {
    const { isolate, calls, heard } = world()
    const one = isolate()
    await calls(one, false, 4_500)
    await calls(one, true, 500)
    await calls(one, false, 4_500)
    expect(heard).toEqual([])
    expect(lines).toEqual([])
  })

  it('for longer is told once, whatever number of isolates see it', async () => {
    const { isolate, calls, heard } = world()
    for (const one of [isolate(), isolate(), isolate()]) await calls(one, false, 20_000)
    expect(heard).toEqual([{ id: 'msg_1_begin', phase: 'begin' }])
    expect(lines).toMatchObject([{ message: 'pool_degraded', alert: 'begin' }])
  })

  it('and that comes and goes for an hour is one alert, which the scheduled handler ends', async () => {
    const { isolate, calls, heard, time } = world()
    const [one, scheduled] = [isolate(), isolate()]
    for (let minute = 0; minute < 60; minute++) {
      await calls(one, minute % 3 !== 0, 10_000)
      await time.advance(50_000)
      await scheduled.endIfOver()
    }
    expect(heard.map(({ phase }) => phase)).toEqual(['begin'])
    for (let minute = 0; minute < 10; minute++) {
      await time.advance(60_000)
      await scheduled.endIfOver()
    }
    expect(heard).toEqual([
      { id: 'msg_1_begin', phase: 'begin' },
      { id: 'msg_1_end', phase: 'end' },
    ])
    expect(lines.map(({ alert }) => alert)).toEqual(['begin', 'end'])
    // A second outage is another alert.
    await calls(one, false, 20_000)
    expect(heard.at(-1)).toEqual({ id: 'msg_2_begin', phase: 'begin' })
  })

  it('is told when the receiver is up again, as long as it lasts', async () => {
    const { isolate, calls, heard, receiver } = world()
    const one = isolate()
    receiver.isUp = false
    await calls(one, false, 60_000)
    receiver.isUp = true
    await calls(one, false, 60_000)
    expect(heard.map(({ phase }) => phase)).toEqual(['begin'])
    expect(lines).toHaveLength(1)
  })

  it('is told once in an interval by each isolate, where KV does not work', async () => {
    const { isolate, calls, heard, kv } = world()
    kv.be('down')
    await calls(isolate(), false, 200_000)
    expect(heard).toEqual([{ id: 'msg_1_begin', phase: 'begin' }])
  })

  it('is in the log also where no address hears of it', async () => {
    const { isolate, calls, heard, time } = world([])
    const one = isolate()
    await calls(one, false, 20_000)
    await one.endIfOver()
    await time.advance(INTERVAL_MS)
    await one.endIfOver()
    expect(heard).toEqual([])
    expect(lines.map(({ alert }) => alert)).toEqual(['begin', 'end'])
  })
})
