import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isPanic } from '../../../src/balancing/health/panic.ts'

it.each([
  { eligible: 10, closed: 5, ratio: 0.5, panic: false },
  { eligible: 10, closed: 4, ratio: 0.5, panic: true },
  { eligible: 1, closed: 0, ratio: 0.5, panic: true },
  { eligible: 1, closed: 1, ratio: 0.5, panic: false },
  { eligible: 3, closed: 1, ratio: 0.5, panic: true },
  { eligible: 3, closed: 0, ratio: 0, panic: false },
  { eligible: 3, closed: 2, ratio: 1, panic: true },
  { eligible: 3, closed: 3, ratio: 1, panic: false },
  { eligible: 0, closed: 0, ratio: 1, panic: false },
])('$closed closed of $eligible at ratio $ratio: panic is $panic', (given) => {
  expect(isPanic(given.eligible, given.closed, given.ratio)).toBe(given.panic)
})

const pool = fc
  .integer({ min: 1, max: 1000 })
  .chain((eligible) => fc.tuple(fc.constant(eligible), fc.nat({ max: eligible })))
const ratio = fc.double({ min: 0, max: 1, noNaN: true })

it('never begins while every breaker is closed, nor at ratio 0, and always when all are open', () => {
  fc.assert(
    fc.property(pool, ratio, ([eligible, closed], share) => {
      expect(isPanic(eligible, eligible, share)).toBe(false)
      expect(isPanic(eligible, closed, 0)).toBe(false)
      expect(isPanic(eligible, 0, share)).toBe(share > 0)
    }),
  )
})

it('does not end because one more key fails', () => {
  fc.assert(
    fc.property(pool, ratio, ([eligible, closed], share) => {
      const before = isPanic(eligible, closed, share)
      const after = isPanic(eligible, Math.max(0, closed - 1), share)
      expect(before && !after).toBe(false)
    }),
  )
})
