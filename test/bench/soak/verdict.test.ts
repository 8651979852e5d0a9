import { expect, it } from 'vitest'
import { BUG, slopeMibPerMinute } from './verdict.ts'

it('a soak’s slope is that of its second half', () => {
  const samples = [10, 90, 100, 102, 104, 106].map((mib, minute) => ({ minute, mib }))
  expect(slopeMibPerMinute(samples)).toBeCloseTo(2)
  expect(slopeMibPerMinute([{ minute: 0, mib: 5 }])).toBe(0)
})

it('a soak knows a bug by the log', () => {
  expect('workerd/server: uncaught exception in promise').toMatch(BUG)
  expect('{"message":"internal_error","stack":"x"}').toMatch(BUG)
  expect('{"message":"request","outcome":"answered"}').not.toMatch(BUG)
})
