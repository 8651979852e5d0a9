import { join } from 'node:path'
import { expect, it } from 'vitest'
import { faultDocument } from '../e2e/faults/fault-table.ts'
import { root } from './markdown.ts'

it('the document of faults says what the tests expect', async () => {
  await expect(faultDocument()).toMatchFileSnapshot(join(root, 'docs/faults.md'))
})
