/** What a part of the bench found, as people read it. */
export interface Table {
  readonly title: string
  /** The first says what a row is about, the others are figures. */
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  readonly notes: readonly string[]
}

const LABEL_WIDTH = 42
const MIN_WIDTH = 9

/** The line above the rows. */
export function headerText({ columns }: Pick<Table, 'columns'>): string {
  return rowText({ columns }, columns)
}

/** One line of a terminal. Widths follow from the columns' names alone, so that rows can be printed as they come. */
export function rowText({ columns }: Pick<Table, 'columns'>, row: readonly string[]): string {
  const cells = columns.map((column, i) => {
    const cell = row[i] ?? ''
    return i === 0 ? cell.padEnd(LABEL_WIDTH) : cell.padStart(Math.max(column.length, MIN_WIDTH))
  })
  return cells.join('  ').trimEnd()
}

export function tableMarkdown({ title, columns, rows, notes }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    `**${title}**`,
    '',
    line(columns),
    line(columns.map((_, i) => (i === 0 ? '---' : '--:'))),
    ...rows.map((row) => line(columns.map((_, i) => row[i] ?? ''))),
    '',
    ...notes.flatMap((note) => [note, '']),
  ].join('\n')
}

/**
 * Puts a part's tables into a document, between two comments that name the part.
 * @returns the document as it was if it has no place for them
 */
export function withTables(document: string, part: string, markdown: string): string {
  const place = new RegExp(`(<!-- figures of ${part} -->\n)[^]*?(<!-- end of ${part} -->)`)
  return document.replace(place, (_, start, end) => `${start}\n${markdown}\n${end}`)
}
