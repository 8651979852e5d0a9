import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'

/** The project's documents, and what tests read in them. */

export const root = join(import.meta.dirname, '../..')

/** A file of the repository. */
export const source = (path: string): string => readFileSync(join(root, path), 'utf8')

/** The paths of all files that are in git or would be added to it. */
export const files: readonly string[] = execFileSync(
  'git',
  ['-c', 'safe.directory=*', 'ls-files', '--cached', '--others', '--exclude-standard'],
  { cwd: root, encoding: 'utf8' },
)
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(root, path)))

export interface Document {
  /** From the top of the repository. */
  readonly path: string
  readonly text: string
}

export const documents: readonly Document[] = files
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, text: source(path) }))

/** Those whose names a visitor sees first. */
export const topDocuments = documents.filter(({ path }) => !path.includes('/'))

export function documentAt(path: string): Document {
  const found = documents.find((document) => document.path === path)
  if (found === undefined) throw new Error(`No document ${path}`)
  return found
}

/** A document without its blocks of code. */
export const proseOf = ({ text }: Document): string => text.replaceAll(/^```.*?^```$/gms, '')

/** Every table of a text, as rows of trimmed cells without the line below the heading. */
function tablesOf(text: string): readonly (readonly string[][])[] {
  return text
    .split(/\n(?!\|)/)
    .map((block) => block.split('\n').filter((line) => line.startsWith('|')))
    .filter((lines) => lines.length > 2)
    .map((lines) =>
      lines.toSpliced(1, 1).map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ),
    )
}

/** The rows of all tables, in whichever document, whose first column is called that. */
export function rowsOf(firstColumn: string): string[][] {
  const rows = documents
    .flatMap(({ text }) => tablesOf(text))
    .flatMap(([heading, ...rows]) => (heading?.[0] === firstColumn ? rows : []))
  expect(rows, `a table that begins with "${firstColumn}"`).not.toEqual([])
  return rows
}

/** Everything in backticks. */
export const quoted = (text: string): string[] =>
  Array.from(text.matchAll(/`([^`\n]+)`/g), (match) => match[1] ?? '')

export const firstCells = (firstColumn: string): string[] =>
  rowsOf(firstColumn).flatMap(([cell = '']) => quoted(cell))
