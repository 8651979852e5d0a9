import { posix } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Document, documents, files, proseOf, topDocuments } from './markdown.ts'

/** The names under which GitHub lets a document's headings be linked. */
function anchorsOf(document: Document): string[] {
  const counts = new Map<string, number>()
  return Array.from(proseOf(document).matchAll(/^#+ (.+)$/gm), ([, text = '']) => {
    const name = text
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-')
    const count = counts.get(name) ?? 0
    counts.set(name, count + 1)
    return count === 0 ? name : `${name}-${count}`
  })
}

interface Link {
  readonly from: Document
  readonly target: string
}

const links: readonly Link[] = documents.flatMap((from) =>
  Array.from(proseOf(from).matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => ({ from, target })),
)
const inside = links.filter(({ target }) => !target.startsWith('https://'))

/** The path that a link leads to, and the heading in it. */
function placeOf({ from, target }: Link) {
  const [file = '', anchor = ''] = target.split('#')
  const path = file === '' ? from.path : posix.join(posix.dirname(from.path), file)
  return { path, anchor }
}

function isBroken(link: Link): boolean {
  const { path, anchor } = placeOf(link)
  const exists = files.some((file) => file === path || file.startsWith(`${path}/`))
  if (anchor === '') return !exists
  const document = documents.find((other) => other.path === path)
  return document === undefined || !anchorsOf(document).includes(anchor)
}

describe('the documents', () => {
  it('link to files and headings that exist', () => {
    expect(inside).not.toEqual([])
    const broken = inside.filter(isBroken)
    expect(broken.map(({ from, target }) => `${from.path}: ${target}`)).toEqual([])
  })

  it('are all reached from the README by links', () => {
    const reached = new Set(['README.md'])
    for (const path of reached) {
      for (const link of inside) if (link.from.path === path) reached.add(placeOf(link).path)
    }
    expect(documents.filter(({ path }) => !reached.has(path))).toEqual([])
  })
})

describe('the length', () => {
  const linesOf = ({ text }: Document) => text.trimEnd().split('\n').length

  it('of the README is at most 220 lines', () => {
    const readme = topDocuments.filter(({ path }) => path === 'README.md')
    expect(readme.map(linesOf).filter((lines) => lines <= 220)).toHaveLength(1)
  })

  it('of each document at the top is below 280 lines', () => {
    const long = topDocuments.filter((document) => linesOf(document) >= 280)
    expect(long.map((document) => [document.path, linesOf(document)])).toEqual([])
  })
})
