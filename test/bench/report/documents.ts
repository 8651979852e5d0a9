import { readFileSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform } from 'node:os'
import { type Table, tableMarkdown, withTables } from './table.ts'

/** When and where something was measured. */
export function machineText(): string {
  const [cpu] = cpus()
  const cores = `${cpus().length} x ${cpu?.model.trim() ?? 'unknown'}`
  const day = new Date().toISOString().slice(0, 10)
  return `${day}, ${platform()} ${arch()}, ${cores}, Node ${process.version}`
}

/** Puts the tables of each part into a document, where it has a place for them. */
export function writeMarkdown(
  path: string,
  tablesByPart: ReadonlyMap<string, readonly Table[]>,
): void {
  let document = readFileSync(path, 'utf8')
  for (const [part, tables] of tablesByPart) {
    const text = [`Measured on ${machineText()}.`, '', ...tables.map(tableMarkdown)].join('\n')
    document = withTables(document, part, text)
  }
  writeFileSync(path, document)
}

/** Writes figures for programs. */
export function writeReport(path: string, figures: object): void {
  writeFileSync(path, `${JSON.stringify({ machine: machineText(), ...figures }, null, 2)}\n`)
}
