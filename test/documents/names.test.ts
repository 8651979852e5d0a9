import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FAULT_NAMES } from '../simulator/faults.ts'
import { documents, firstCells, proseOf, quoted, root, source } from './markdown.ts'

describe('the documents', () => {
  it('name every room of src', () => {
    const rooms = readdirSync(join(root, 'src'), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isDirectory())
      .map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1))
    const told = firstCells('room').filter((room) => room.startsWith('src/'))
    expect(told.toSorted()).toEqual(rooms.toSorted())
  })

  it('name only npm scripts that exist', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(source('package.json'))
    const named = documents.flatMap(({ path, text }) =>
      Array.from(
        text.matchAll(/\bnpm (?:run (?:-s )?([\w:]+)|(start|test))\b/g),
        ([, run, builtIn]) => ({ path, name: run ?? builtIn ?? '' }),
      ),
    )
    expect(named.map(({ name }) => name)).toContain('demo')
    expect(named.filter(({ name }) => !(name in scripts))).toEqual([])
  })

  it('name only faults that the simulator has', () => {
    const named = documents.flatMap(({ text }) =>
      Array.from(text.matchAll(/\bsim\/([a-z0-9][a-z0-9-]*)/g), ([, name = '']) => name),
    )
    expect(named).toContain('cut-mid-stream')
    expect(named.filter((name) => !FAULT_NAMES.includes(name))).toEqual([])
  })

  it('name only files and folders that exist', () => {
    const named = documents.flatMap((document) =>
      quoted(proseOf(document))
        .filter((text) => /^(?:src|test|docs|\.ci)(?:\/[\w./-]+)?$/.test(text))
        .map((path) => ({ document: document.path, path })),
    )
    expect(named.map(({ path }) => path)).toContain('src/balancing')
    expect(named.filter(({ path }) => !existsSync(join(root, path)))).toEqual([])
  })
})
