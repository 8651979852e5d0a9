import { describe, expect, it } from 'vitest'
import { REASONS } from '../../src/balancing/reasons.ts'
import { STRATEGY_NAMES } from '../../src/balancing/strategies/strategy-registry.ts'
import { BLAME_TABLE, NOBODY } from '../../src/openrouter/failures/blame.ts'
import { firstCells, rowsOf } from './markdown.ts'

describe('the tables of decisions', () => {
  it('name every strategy', () => {
    expect(firstCells('strategy')).toEqual(STRATEGY_NAMES)
  })

  it('name every reason why a key may not serve', () => {
    expect(firstCells('exclusion')).toEqual([...REASONS])
  })

  it('name every row of the table of blame, with its fault', () => {
    const rows = [...BLAME_TABLE, NOBODY].map(({ row, fault }) => [row, fault])
    expect(rowsOf('row').map(([row, , fault]) => [row, fault])).toEqual(rows)
  })
})
