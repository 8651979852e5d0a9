import { describe, expect, it } from 'vitest'
import { isolateId, leaseId } from '../../../src/balancing/ids.ts'
import {
  numberedBy,
  numberedLeaseId,
  numberIn,
} from '../../../src/balancing/limits/lease-number.ts'

describe('the number of a lease', () => {
  it.each([0, 1, 9, 10, 42, 999_999_999_999_999])('is read as it was written: %i', (number) => {
    const id = numberedLeaseId(isolateId('edge'), number)
    expect(numberIn(id)).toBe(number)
    expect(numberedBy(id)).toBe('edge')
  })

  it('is read behind a name of one letter', () => {
    expect(numberIn(leaseId('a:7'))).toBe(7)
  })

  it.each([
    ['no name', ':7'],
    ['no number', 'edge:'],
    ['neither', ':'],
    ['no separator', 'edge7'],
    ['nothing', ''],
    ['more digits than are exact', 'edge:1000000000000000'],
    ['a zero in front', 'edge:07'],
    ['two zeros', 'edge:00'],
    ['a sign', 'edge:-7'],
    ['what stands before 0', 'edge:7/'],
    ['what stands behind 9', 'edge:7:'],
    ['a fraction', 'edge:7.5'],
  ])('is none where the id has %s: %j', (_, id) => {
    expect(numberIn(leaseId(id))).toBeLessThan(0)
  })
})
