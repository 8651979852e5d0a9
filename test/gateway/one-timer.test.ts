import { describe, expect, it } from 'vitest'
import { withOneTimer } from '../../src/gateway/one-timer.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { createVirtualTime } from './virtual-time.ts'

function world() {
  const time = createVirtualTime(1_000_000)
  let set = 0
  const ports = {
    nowMs: time.nowMs,
    timer(ms: number, callback: () => void) {
      set += 1
      return time.timer(ms, callback)
    },
  } as Ports
  const fired: string[] = []
  const { timer } = withOneTimer(ports)
  const alarm = (name: string, ms: number) =>
    timer(ms, () => void fired.push(`${name} ${time.nowMs() - 1_000_000}`))
  return { time, fired, alarm, timer, setAtPlatform: () => set }
}

describe('the one timer of a request', () => {
  it('calls back each of them at its own time, in the order of their times', async () => {
    const { time, fired, alarm } = world()
    alarm('long', 60_000)
    alarm('short', 30)
    alarm('middle', 2_500)
    alarm('at once', 0)
    alarm('as short', 30)
    await time.advance(100_000)
    expect(fired).toEqual(['at once 0', 'short 30', 'as short 30', 'middle 2500', 'long 60000'])
    expect(time.openTimers()).toBe(0)
  })

  it('never calls back what has been cancelled, by another that is due either', async () => {
    const { time, fired, alarm, timer } = world()
    const cancel = alarm('cancelled', 500)
    timer(700, () => cancelOther())
    const cancelOther = alarm('cancelled by the one before', 700)
    cancel()
    await time.advance(5_000)
    expect(fired).toEqual([])
    expect(time.openTimers()).toBe(0)
  })

  it('lets a callback set the next', async () => {
    const { time, fired, alarm, timer } = world()
    timer(400, () => void alarm('next', 400))
    await time.advance(10_000)
    expect(fired).toEqual(['next 800'])
  })

  it('costs a request that has ended within a second one timer of the platform', async () => {
    const { time, alarm, setAtPlatform } = world()
    for (const ms of [60_000, 600_000, 30_000, 75_000, 1_000]) alarm('clock', ms)()
    expect(setAtPlatform()).toBe(1)
    await time.advance(100_000)
    expect(setAtPlatform()).toBe(1)
    expect(time.openTimers()).toBe(0)
  })
})
