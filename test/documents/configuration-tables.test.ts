import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { experimental_readRawConfig } from 'wrangler'
import { z } from 'zod'
import { STRATEGY_NAMES } from '../../src/balancing/strategies/strategy-registry.ts'
import { MAX_ADDRESSES } from '../../src/config/alerts/alert-addresses.ts'
import { MAX_ALIASES } from '../../src/config/aliases.ts'
import { readClientKeys } from '../../src/config/client-keys.ts'
import { policySchema } from '../../src/config/policy.ts'
import { readUpstreamKeys } from '../../src/config/upstream-keys.ts'
import { firstCells, root, rowsOf, source } from './markdown.ts'

describe('the configuration tables', () => {
  /** A field of POLICY as JSON Schema describes it. */
  const fieldSchema = z.object({
    type: z.enum(['string', 'number', 'integer', 'boolean', 'array', 'object']),
    default: z.unknown().optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    minItems: z.number().optional(),
    maxItems: z.number().optional(),
    enum: z.array(z.string()).optional(),
    items: z.unknown().optional(),
  })
  type Field = z.infer<typeof fieldSchema>
  const objectSchema = z.object({ properties: z.record(z.string(), z.unknown()) })

  function fieldsOf(schema: unknown, prefix = ''): [string, Field][] {
    return Object.entries(objectSchema.parse(schema).properties).flatMap(([name, value]) => {
      const section = objectSchema.safeParse(value).data?.properties ?? {}
      // A table whose names the operator chooses is a field, and has none.
      return Object.keys(section).length > 0
        ? fieldsOf(value, `${prefix}${name}.`)
        : [[`${prefix}${name}`, fieldSchema.parse(value)]]
    })
  }

  const code = (text: unknown): string => `\`${text}\``

  function defaultCell({ default: standard }: Field): string {
    if (typeof standard === 'number') return String(standard)
    return typeof standard === 'string' || typeof standard === 'boolean' ? code(standard) : 'none'
  }

  function boundsCell(field: Field, name?: string): string {
    // Eight long words, in each of two tables; they have one of their own.
    if (`${field.enum}` === `${STRATEGY_NAMES}`) return '[any](how-it-decides.md#strategies)'
    switch (field.type) {
      case 'string':
        return field.enum?.map(code).join(', ') ?? 'any'
      case 'boolean':
        return [true, false].map(code).join(', ')
      case 'array':
        return `${field.minItems}–${field.maxItems} elements`
      case 'object':
        return `0–${name === 'alerts.to' ? MAX_ADDRESSES : MAX_ALIASES} names`
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
      boundsCell(field, name),
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
    read: (entry: object) => { faults: readonly string[] },
  ): Promise<string[]> {
    const { faults } = read(Object.fromEntries(words.map((word) => [word, null])))
    const unknown = faults.flatMap((fault) => /\.(\w+): unknown field;/.exec(fault)?.[1] ?? [])
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
    const words = [
      ...wordsOf('src/config/client-keys.ts'),
      ...wordsOf('src/config/client-limits.ts'),
    ]
    const clientFields = await known(words, (entry) => readClientKeys(JSON.stringify([entry])))
    expect(firstCells('client field').toSorted()).toEqual([...new Set(clientFields)])
    const budgetFields = await known(words, (budget) =>
      readClientKeys(JSON.stringify([{ id: 'a', budget }])),
    )
    expect(firstCells('budget field').toSorted()).toEqual([...new Set(budgetFields)])
  })

  it('list the variables and secrets of wrangler.toml', () => {
    const { rawConfig } = experimental_readRawConfig({ config: join(root, 'wrangler.toml') })
    expect(firstCells('variable')).toEqual(Object.keys(rawConfig.vars ?? {}))
    const required = rawConfig.env?.production?.secrets?.required ?? []
    // What the configuration reads of the environment, and is neither declared nor a binding.
    const declared = [...Object.keys(rawConfig.vars ?? {}), ...required, 'KEY_POOL', 'CREDIT']
    const read = Array.from(
      source('src/config/config.ts').matchAll(/\benv\.([A-Z_]+)/g),
      ([, name]) => name ?? '',
    )
    const optional = [...new Set(read)].filter((name) => !declared.includes(name))
    expect(optional).toContain('ADMIN_TOKEN')
    expect(firstCells('secret')).toEqual([...required, ...optional])
  })
})
