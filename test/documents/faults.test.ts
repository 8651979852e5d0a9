import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { BLAME_TABLE } from '../../src/openrouter/failures/blame.ts'
import { BEFORE_OUTPUT } from '../e2e/faults/fault-rows.ts'
import { faultDocument } from '../e2e/faults/fault-table.ts'
import { LEAVERS } from '../e2e/faults/platform-rows.ts'
import { root } from './markdown.ts'

it('the document of faults says what the tests expect', async () => {
  await expect(faultDocument()).toMatchFileSnapshot(join(root, 'docs/faults.md'))
})

it.each(BLAME_TABLE.map(({ row }) => row))('row %s of blame has a fault', (row) => {
  expect(BEFORE_OUTPUT.filter(({ what }) => what.startsWith(`Row ${row}:`))).not.toEqual([])
})

it.each(LEAVERS)(
  'a test shows what happens when a client leaves $when',
  ({ test: [path, title] }) => {
    expect(readFileSync(join(root, path), 'utf8')).toContain(`'${title}`)
  },
)
