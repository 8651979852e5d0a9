import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ERROR_NAMES, REASON_NAMES } from './wire-names.ts'

/**
 * The glossary, held against the code: each of its words is the name of something,
 * and no synonym that it rules out is. What counts are the parts of identifiers and of file names;
 * comments and texts are prose.
 */

const root = join(import.meta.dirname, '..')

const sources = execFileSync(
  'git',
  [
    '-c',
    'safe.directory=*',
    'ls-files',
    '--cached',
    '--others',
    '--exclude-standard',
    'src',
    'test',
  ],
  { cwd: root, encoding: 'utf8' },
)
  .split('\n')
  .filter((path) => path.endsWith('.ts') && existsSync(join(root, path)))
  // This file names what is ruled out.
  .filter((path) => path !== 'test/glossary.test.ts')

/** `leaseRequestOf`, `lease-request.ts` and `lease_request` are all ` lease request … `. */
function wordsOf(name: string): string {
  const words = name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+/g) ?? []
  return ` ${words.join(' ').toLowerCase()} `
}

/** The names in a piece of code, without its comments and texts. */
function namesIn(code: string): string[] {
  const bare = code.replaceAll(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g,
    ' ',
  )
  return bare.match(/[A-Za-z_$][\w$]*/g) ?? []
}

interface Named {
  readonly words: string
  readonly place: string
}

const named: readonly Named[] = sources.flatMap((path) => [
  { words: wordsOf(basename(path).replace(/(\.test)?\.ts$/, '')), place: path },
  ...[...new Set(namesIn(readFileSync(join(root, path), 'utf8')))].map((name) => ({
    words: wordsOf(name),
    place: `${path}: ${name}`,
  })),
])

/** Where a word is part of a name, in the singular or in the plural. */
const placesOf = (word: string): string[] => {
  const forms = [` ${word} `, ` ${word}s `, ` ${word}es `, ` ${word.replace(/y$/, 'ies')} `]
  return named
    .filter(({ words }) => forms.some((form) => words.includes(form)))
    .map(({ place }) => place)
}

const glossary = readFileSync(join(root, 'docs/glossary.md'), 'utf8')
const rows = Array.from(
  glossary.matchAll(/^\| ([^|]+?) +\| ([^|]+?) +\|(?: ([^|]*?))? *\|$/gm),
  ([, word = '', meaning = '', ruledOut = '']) => ({
    word: word.toLowerCase(),
    meaning,
    ruledOut: ruledOut.split(',').map((synonym) => synonym.trim().toLowerCase()),
  }),
)
const start = rows.findIndex(({ word, meaning }) => word === 'word' && meaning === 'what it is')
const words = rows.slice(start + 1).filter(({ word }) => !/^[-: ]+$/.test(word))

/** Ruled out, whatever the glossary says: names that the code had, and that said nothing. */
const GONE = [
  ...[
    'survey',
    'outlook',
    'prospect',
    'obstacle',
    'blockage',
    'trail',
    'last word',
    'seen',
    'wish',
  ],
  ...['any life', 'any history', 'any journey', 'strategy play'],
]

describe('the glossary', () => {
  it('is a table of some dozen words', () => {
    expect(start).toBeGreaterThan(-1)
    expect(words.length).toBeGreaterThanOrEqual(30)
    expect(words.length).toBeLessThanOrEqual(70)
  })

  it('has only words that are names in the code', () => {
    expect(words.filter(({ word }) => placesOf(word).length === 0)).toEqual([])
  })

  it('rules out synonyms, and the code has none of them', () => {
    const synonyms = words.flatMap(({ ruledOut }) => ruledOut).filter((word) => word !== '')
    expect(synonyms).toEqual(expect.arrayContaining(GONE.slice(0, 9)))
    const offenders = [...new Set([...synonyms, ...GONE])].flatMap((word) =>
      placesOf(word).map((place) => `${word}: ${place}`),
    )
    expect(offenders).toEqual([])
  })

  it('has no word that it rules out', () => {
    const synonyms = new Set(words.flatMap(({ ruledOut }) => ruledOut))
    expect(words.filter(({ word }) => synonyms.has(word))).toEqual([])
    expect([...REASON_NAMES, ...ERROR_NAMES].filter((name) => synonyms.has(name))).toEqual([])
  })
})

describe('a name', () => {
  it('is taken apart as a reader takes it apart', () => {
    expect(wordsOf('leaseRequestOf')).toBe(' lease request of ')
    expect(wordsOf('KEY_POOL')).toBe(' key pool ')
    expect(wordsOf('lease-request')).toBe(' lease request ')
    expect(wordsOf('parseSSEEvent')).toBe(' parse sse event ')
    expect(namesIn("const seen = 'wish' // trail\n/* outlook */ `prospect`")).toEqual([
      'const',
      'seen',
    ])
  })
})
