import { describe, expect, it } from 'vitest'
import { headerText, rowText, tableMarkdown, withTables } from './table.ts'

const table = {
  title: 'Speed',
  columns: ['what', 'requests/s'],
  rows: [['forwarding', '4,000']],
  notes: ['A note.'],
}

describe('a table', () => {
  it('has its figures under their names', () => {
    const header = headerText(table)
    const row = rowText(table, ['forwarding', '4,000'])
    expect(row).toMatch(/^forwarding +4,000$/)
    expect(row).toHaveLength(header.length)
  })

  it('can be written as Markdown', () => {
    expect(tableMarkdown(table).split('\n')).toEqual([
      '**Speed**',
      '',
      '| what | requests/s |',
      '| --- | --: |',
      '| forwarding | 4,000 |',
      '',
      'A note.',
      '',
    ])
  })

  it('takes the place of an older one in a document, and leaves the rest alone', () => {
    const place = (text: string) =>
      `# Title\n<!-- figures of counts -->\n${text}\n<!-- end of counts -->\n# Next`
    expect(withTables(place('old'), 'counts', 'new')).toBe(place('\nnew'))
    expect(withTables(place('old'), 'streams', 'new')).toBe(place('old'))
  })
})
