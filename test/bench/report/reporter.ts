import { headerText, rowText, type Table } from './table.ts'

/** A table that is printed row by row as it is found out. */
export interface GrowingTable {
  row(...cells: string[]): void
  note(text: string): void
  readonly table: Table
}

/**
 * Tables go to standard output, so that they can be kept; what is being done goes to standard
 * error, where a terminal shows it on one line that is written over again.
 */
export class Reporter {
  readonly #isTerminal = process.stderr.isTTY === true
  readonly #beganMs = performance.now()
  #last = ''

  progress(text: string): void {
    const seconds = Math.round((performance.now() - this.#beganMs) / 1000)
    if (this.#isTerminal) {
      const line = `[${seconds} s] ${text}`.slice(0, (process.stderr.columns ?? 80) - 1)
      process.stderr.write(`\r\x1b[K${line}`)
      return
    }
    // Without a terminal only what is new: not each round of the same.
    const [topic = ''] = text.split(':')
    if (topic !== this.#last) process.stderr.write(`[${seconds} s] ${topic}\n`)
    this.#last = topic
  }

  print(text: string): void {
    if (this.#isTerminal) process.stderr.write('\r\x1b[K')
    process.stdout.write(`${text}\n`)
  }

  table(title: string, columns: readonly string[]): GrowingTable {
    const rows: string[][] = []
    const notes: string[] = []
    this.print(`\n${title}\n\n${headerText({ columns })}`)
    return {
      table: { title, columns, rows, notes },
      row: (...cells) => {
        rows.push(cells)
        this.print(rowText({ columns }, cells))
      },
      note: (text) => {
        notes.push(text)
        this.print(`  ${text}`)
      },
    }
  }
}
