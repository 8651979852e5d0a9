import { describe, expect, it } from 'vitest'
import { betweenWrites } from './counts.ts'

const looksWith = (rows: readonly number[]) =>
  rows.map((count, i) => ({ requests: i * 10, objectCalls: i * 20, rows: count }))

describe('what is counted', () => {
  it('goes from the first burst of rows to the last one', () => {
    const { first, last } = betweenWrites(looksWith([3, 3, 8, 8, 8, 13, 13, 18, 18]))
    expect([first.rows, first.requests]).toEqual([8, 20])
    expect([last.rows, last.requests]).toEqual([18, 70])
  })

  it('is everything where hardly any rows are written', () => {
    const { first, last } = betweenWrites(looksWith([3, 3, 8, 8]))
    expect([first.rows, last.rows]).toEqual([3, 8])
  })
})
