import { describe, expect, it } from 'vitest'
import {
  createMeter,
  type Meter,
  roomAtMs,
  shareUsed,
} from '../../../src/balancing/limits/meter.ts'
import { take } from '../../../src/balancing/limits/sliding-window.ts'

const T = 1_800_000_000_000

function meterOf(limit: number): Meter {
  const meter = createMeter(limit)
  if (meter === null) throw new Error('a limit makes a meter')
  return meter
}

describe('a meter', () => {
  it('is there only where there is a limit', () => {
    expect(createMeter(null)).toBeNull()
    expect(createMeter(5)).toMatchObject({ limit: 5 })
  })

  it('tells the share of its limit that the last minute took', () => {
    const meter = meterOf(200)
    expect(shareUsed(meter, T)).toBe(0)
    take(meter.window, 50, T)
    take(meter.window, 100, T + 30_000)
    expect(shareUsed(meter, T + 30_000)).toBe(0.75)
    expect(shareUsed(meter, T + 60_100)).toBe(0.5)
    expect(shareUsed(meter, T + 90_100)).toBe(0)
  })

  it('shows more than all of it where an estimate proved too low', () => {
    const meter = meterOf(10)
    take(meter.window, 15, T)
    expect(shareUsed(meter, T)).toBe(1.5)
  })

  it('has room up to its limit and not beyond it', () => {
    const meter = meterOf(10)
    take(meter.window, 8, T)
    expect(roomAtMs(meter, 2, T)).toBe(T)
    expect(roomAtMs(meter, 3, T)).toBe(T + 60_000)
    expect(roomAtMs(meter, 11, T)).toBeNull()
  })
})
