import { expect, it } from 'vitest'
import { BUG, ledgerFaults, slopeMibPerMinute } from './verdict.ts'

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

it('a soak holds the ledger to upstream’s, and allows for clients that leave', () => {
  const key = {
    id: 'a',
    inFlight: 0,
    total: { attempts: 9, successes: 7, failures: 1, ignored: 1, costUsd: 1 },
    upstream: { requests: 9, costUsd: 1.01 },
  }
  const load = { left: 2, broken: 0 }
  expect(ledgerFaults([key], [], load)).toEqual([])
  const half = { ...key, upstream: { requests: 8, costUsd: 2 } }
  expect(ledgerFaults([half], ['a'], load)).toEqual([])
  expect(ledgerFaults([half], [], load)).toEqual([
    'a: 9 attempts, upstream 8',
    'a: 1 USD, upstream 2',
  ])
  const lost = { ...key, inFlight: 1, total: { ...key.total, ignored: 0, costUsd: 3 } }
  expect(ledgerFaults([lost], ['a'], load)).toEqual([
    'a has 1 leases left',
    'a: 9 attempts, 8 outcomes',
    'a: 3 USD, upstream 1.01',
  ])
})
