import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { endOfUtcWindow, type UtcWindow } from '../../../src/balancing/limits/utc-window.ts'

describe('endOfUtcWindow', () => {
  it.each<[UtcWindow, string, string]>([
    ['minute', '2026-11-21T10:20:30.500Z', '2026-11-21T10:21:00.000Z'],
    ['day', '2026-11-21T10:20:30.500Z', '2026-11-22T00:00:00.000Z'],
    ['week', '2026-11-22T23:59:59.999Z', '2026-11-23T00:00:00.000Z'],
    ['week', '2026-11-23T00:00:00.000Z', '2026-11-30T00:00:00.000Z'],
    ['month', '2026-02-28T12:00:00.000Z', '2026-03-01T00:00:00.000Z'],
    ['month', '2026-12-31T23:59:59.999Z', '2027-01-01T00:00:00.000Z'],
  ])('the %s of %s ends at %s', (window, now, end) => {
    expect(new Date(endOfUtcWindow(window, Date.parse(now))).toISOString()).toBe(end)
  })

  it('lies after now, at a midnight, and a week ends on a Monday', () => {
    const moments = fc.integer({ min: 0, max: Date.parse('2100-01-01') })
    fc.assert(
      fc.property(moments, fc.constantFrom<UtcWindow>('day', 'week', 'month'), (nowMs, window) => {
        const end = new Date(endOfUtcWindow(window, nowMs))
        expect(end.getTime()).toBeGreaterThan(nowMs)
        expect(end.toISOString()).toMatch(/T00:00:00\.000Z$/)
        if (window === 'week') expect(end.getUTCDay()).toBe(1)
        if (window === 'month') expect(end.getUTCDate()).toBe(1)
      }),
    )
  })
})
