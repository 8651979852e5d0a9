import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { experimental_readRawConfig } from 'wrangler'
import { z } from 'zod'
import { REASONS } from '../src/balancing/reasons.ts'
import { STRATEGY_NAMES } from '../src/balancing/strategies/strategy-registry.ts'
import { readClientKeys } from '../src/config/client-keys.ts'
import { policySchema } from '../src/config/policy.ts'
import { selectorFaults } from '../src/config/route-policy.ts'
import { readUpstreamKeys } from '../src/config/upstream-keys.ts'
import { GATEWAY_ERRORS } from '../src/gateway/answers/gateway-error.ts'
import { BLAME_TABLE, NOBODY } from '../src/openrouter/failures/blame.ts'

/** What README.md claims in its tables, held against the code. */

const root = join(import.meta.dirname, '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const source = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Every table, as rows of trimmed cells without the line below the heading. */
const tables: readonly (readonly string[][])[] = readme
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

/** The rows of all tables whose first column is called that. */
function rowsOf(firstColumn: string): string[][] {
  const rows = tables.flatMap(([heading, ...rows]) => (heading?.[0] === firstColumn ? rows : []))
  expect(rows, `a table that begins with "${firstColumn}"`).not.toEqual([])
  return rows
}

/** Everything in backticks. */
const quoted = (text: string): string[] =>
  Array.from(text.matchAll(/`([^`]+)`/g), (match) => match[1] ?? '')

const firstCells = (firstColumn: string): string[] =>
  rowsOf(firstColumn).flatMap(([cell = '']) => quoted(cell))

describe('the configuration tables', () => {
  /** A field of POLICY as JSON Schema describes it. */
  const fieldSchema = z.object({
    type: z.enum(['string', 'number', 'integer', 'boolean', 'array', 'object']),
    default: z.unknown().optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    minItems: z.number().optional(),
    maxItems: z.number().optional(),
    maxProperties: z.number().optional(),
    enum: z.array(z.string()).optional(),
    items: z.unknown().optional(),
  })
  type Field = z.infer<typeof fieldSchema>
  const objectSchema = z.object({ properties: z.record(z.string(), z.unknown()) })

  function fieldsOf(schema: unknown, prefix = ''): [string, Field][] {
    return Object.entries(objectSchema.parse(schema).properties).flatMap(([name, value]) =>
      objectSchema.safeParse(value).success
        ? fieldsOf(value, `${prefix}${name}.`)
        : [[`${prefix}${name}`, fieldSchema.parse(value)]],
    )
  }

  const code = (text: unknown): string => `\`${text}\``

  function defaultCell({ default: standard }: Field): string {
    if (typeof standard === 'number') return String(standard)
    return typeof standard === 'string' || typeof standard === 'boolean' ? code(standard) : 'none'
  }

  function boundsCell(field: Field): string {
    // Eight long words, in each of two tables; they have one of their own.
    if (`${field.enum}` === `${STRATEGY_NAMES}`) return '[any](#how-a-key-is-chosen)'
    switch (field.type) {
      case 'string':
        return field.enum?.map(code).join(', ') ?? 'any'
      case 'boolean':
        return [true, false].map(code).join(', ')
      case 'array':
        return `${field.minItems}–${field.maxItems} elements`
      case 'object':
        return `0–${field.maxProperties} names`
      case 'number':
      case 'integer':
        return `${field.minimum}–${field.maximum}`
    }
  }

  const policyFields = fieldsOf(z.toJSONSchema(policySchema, { io: 'input' }))

  it('list every field of POLICY with its default and its bounds', () => {
    const expected = policyFields.map(([name, field]) => [
      code(name),
      defaultCell(field),
      boundsCell(field),
    ])
    const told = rowsOf('field').map(([name, standard, bounds]) => [
      name,
      // Its default depends on another field, which a schema cannot say.
      name === '`breaker.max_cooldown_s`' ? 'none' : standard,
      bounds,
    ])
    expect(told).toEqual(expected)
    expect(policySchema.parse({}).breaker.maxCooldownMs).toBe(900_000)
    expect(policySchema.parse({ breaker: { cooldown_s: 1000 } }).breaker.maxCooldownMs).toBe(1e6)
  })

  it('list every field of a route with its bounds, and the field of POLICY that it goes before', () => {
    const items = new Map(policyFields).get('routes')?.items
    const expected = fieldsOf(items).map(([name, field]) => [code(name), boundsCell(field)])
    const told = rowsOf('route field')
    expect(told.map(([name, , bounds]) => [name, bounds])).toEqual(expected)
    const ofPolicy = new Set(policyFields.map(([name]) => code(name)))
    const inherited = told.filter(([name = '']) => ofPolicy.has(name))
    expect(inherited).not.toEqual([])
    expect(inherited.map(([, standard]) => standard)).toEqual(inherited.map(([name]) => name))
    const { required } = z.object({ required: z.array(z.string()) }).parse(items)
    const must = told.filter(([, standard]) => standard === 'required').map(([name]) => name)
    expect(must).toEqual(required.map(code))
  })

  /** Every word of a source file, the only place where a field's name can come from. */
  const wordsOf = (path: string): string[] => [...new Set(source(path).match(/[a-z][a-z_0-9]*/g))]

  /** Those of the words that a reader of objects does not call an unknown field. */
  async function known(
    words: readonly string[],
    read: (entry: object) => Promise<{ faults: string[] }>,
  ): Promise<string[]> {
    const { faults } = await read(Object.fromEntries(words.map((word) => [word, null])))
    const unknown = faults.flatMap((fault) => /\.(\w+): unknown field$/.exec(fault)?.[1] ?? [])
    expect(unknown).not.toEqual([])
    return words.filter((word) => !unknown.includes(word)).toSorted()
  }

  it('list every field of an upstream key', async () => {
    const fields = await known(wordsOf('src/config/upstream-keys.ts'), (entry) =>
      readUpstreamKeys({ OPENROUTER_KEYS: JSON.stringify([entry]) }, policySchema.parse({})),
    )
    expect(firstCells('key field').toSorted()).toEqual(fields)
  })

  it('list every field of a client', async () => {
    const fields = await known(wordsOf('src/config/client-keys.ts'), (entry) =>
      readClientKeys(JSON.stringify([entry])),
    )
    expect(firstCells('client field').toSorted()).toEqual(fields)
  })

  it('list the variables and secrets of wrangler.toml', () => {
    const { rawConfig } = experimental_readRawConfig({ config: join(root, 'wrangler.toml') })
    expect(firstCells('variable')).toEqual(Object.keys(rawConfig.vars ?? {}))
    expect(firstCells('secret')).toEqual(rawConfig.env?.production?.secrets?.required)
  })
})

describe('the table of endpoints', () => {
  interface Route {
    readonly method: string
    readonly path: string
  }

  it('lists the routes of the app, under both prefixes', async () => {
    // By a computed path, since the compiler would check it here without the Worker's types.
    const { createApp }: { createApp: (ports: object) => { readonly routes: readonly Route[] } } =
      await import(join(root, 'src/app.ts'))
    const routes = createApp({}).routes.filter(({ method }) => method !== 'ALL')
    const served = new Set(routes.map(({ method, path }) => `${method} ${path}`))
    const told = rowsOf('method').flatMap(([method, paths = '']) =>
      quoted(paths).flatMap((path) =>
        path.startsWith('/')
          ? [`${method} ${path}`]
          : [`${method} /api/v1/${path}`, `${method} /v1/${path}`],
      ),
    )
    expect(told.toSorted()).toEqual([...served].toSorted())
  })

  it('holds no path that could be opened once more as an extra one', () => {
    const paths = rowsOf('method').flatMap(([, paths = '']) =>
      // The star is where the extra paths themselves are served.
      quoted(paths).filter((path) => !path.startsWith('/') && path !== '*'),
    )
    expect(paths).not.toEqual([])
    for (const path of paths) {
      const extra = path.replace('*', 'x')
      expect(policySchema.safeParse({ extra_paths: [extra] }).success, extra).toBe(false)
    }
  })
})

describe('the other lists', () => {
  it('name every strategy', () => {
    expect(firstCells('strategy')).toEqual(STRATEGY_NAMES)
  })

  it('name every reason why a key may not serve', () => {
    const item = /1\. \*\*Limits\*\*[^:]*:([^.]*)\./.exec(readme)?.[1] ?? ''
    expect(quoted(item)).toEqual([...REASONS])
  })

  it('name every row of the table of blame, with its fault', () => {
    const rows = [...BLAME_TABLE, NOBODY].map(({ row, fault }) => [row, fault])
    expect(rowsOf('row').map(([row, , fault]) => [row, fault])).toEqual(rows)
  })

  it('name every error of the gateway, with its status', () => {
    const told = rowsOf('reason').map(([reason = '', status]) => [quoted(reason)[0], status])
    const errors = Object.entries(GATEWAY_ERRORS).map(([reason, status]) => [reason, `${status}`])
    expect(told.toSorted()).toEqual(errors.toSorted())
  })

  it('name every header that the gateway adds', () => {
    const set = ['src/app.ts', 'src/gateway/journey.ts']
      .flatMap((path) => source(path).match(/(?:x-switchyard-[a-z]+|x-request-id|server-timing)/g))
      .filter((name) => name !== null)
    expect(firstCells('header').toSorted()).toEqual([...new Set(set)].toSorted())
  })

  it('name every room of src', () => {
    const rooms = readdirSync(join(root, 'src'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => `src/${name}`)
    const told = firstCells('room').filter((room) => room.startsWith('src/'))
    expect(told.toSorted()).toEqual(rooms.toSorted())
  })

  it('name only npm scripts that exist', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(source('package.json'))
    const named = Array.from(
      readme.matchAll(/\bnpm (?:run (?:-s )?([\w:]+)|(start|test))\b/g),
      ([, run, builtIn]) => run ?? builtIn ?? '',
    )
    expect(named).toContain('demo')
    expect(named.filter((name) => !(name in scripts))).toEqual([])
  })

  it('link to files and headings that exist', () => {
    const headings = Array.from(readme.matchAll(/^#+ (.+)$/gm), ([, text = '']) =>
      text
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    )
    const targets = Array.from(readme.matchAll(/\]\(([^)]+)\)/g), ([, target = '']) => target)
    const inside = targets.filter((target) => !target.startsWith('https://'))
    const top = readdirSync(root)
    const broken = inside.filter((target) =>
      target.startsWith('#') ? !headings.includes(target.slice(1)) : !top.includes(target),
    )
    expect(inside).not.toEqual([])
    expect(broken).toEqual([])
  })
})

describe('the examples', () => {
  const examples = Array.from(
    readme.matchAll(/```toml\n(.*?)```/gs),
    (match) => match[1] ?? '',
  ).filter((text) => text.includes('POLICY'))

  it('are configurations that a Worker would take', async () => {
    expect(examples.length).toBeGreaterThanOrEqual(5)
    for (const text of examples) {
      const policy = policySchema.parse(policyOf(text))
      const [, secret] = /OPENROUTER_KEYS='(.*)'/.exec(text) ?? []
      let count = 0
      const keys = (secret ?? 'sk-or-only').replaceAll('sk-or-…', () => `sk-or-example-${++count}`)
      const { faults, keys: read } = await readUpstreamKeys({ OPENROUTER_KEYS: keys }, policy)
      expect([faults, selectorFaults(policy.routes, read)]).toEqual([[], []])
    }
  })

  /** Read as Wrangler reads it, from a file. */
  function policyOf(text: string): unknown {
    const folder = mkdtempSync(join(tmpdir(), 'readme-'))
    const path = join(folder, 'wrangler.toml')
    writeFileSync(path, `name = "example"\n${text}`)
    try {
      return experimental_readRawConfig({ config: path }).rawConfig.vars?.POLICY
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
})
