import { expect, it } from 'vitest'
import { rowsOf, source } from './markdown.ts'
import { MISSING_PARTS } from './missing-parts.ts'

it('the table of missing parts says what the tests show', () => {
  expect(rowsOf('missing or failing')).toEqual(
    MISSING_PARTS.map(({ part, happens }) => [part, happens]),
  )
})

it.each(MISSING_PARTS)('a test shows: $part', ({ test: [path, title] }) => {
  expect(source(path)).toContain(title)
})
