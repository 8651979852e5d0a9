import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const aliasesOf = async (aliases: unknown) =>
  Object.fromEntries((await configOf({ POLICY: { aliases } })).policy.aliases)
const aliasFaults = (aliases: unknown) => faultsOf({ POLICY: { aliases } })
const numbered = (length: number) =>
  Object.fromEntries(Array.from({ length }, (_, i) => [`alias-${i}`, 'a/b']))

describe('aliases', () => {
  it('are names with the models that are sent for them', async () => {
    const aliases = { 'task:code': 'anthropic/claude-sonnet-4.5', fast: 'openai/gpt-4o-mini:nitro' }
    expect(await aliasesOf(aliases)).toEqual(aliases)
  })

  it('may stand for the same model, and be called as properties of every object are', async () => {
    const aliases = { a: 'x/y', b: 'x/y', c: 'constructor', d: 'toString', hasOwnProperty: 'x/y' }
    expect(await aliasesOf(aliases)).toEqual(aliases)
  })

  it.each([
    ['another alias', { a: 'b', b: 'x/y' }, '.a: must be a model, not an alias, given "b"'],
    ['itself', { a: 'a' }, '.a: must be a model, not an alias, given "a"'],
    [
      'a name with a blank',
      { a: 'x y' },
      '.a: must be a text of 1 to 256 characters without spaces or control characters, given "x y"',
    ],
    [
      'nothing',
      { a: '' },
      '.a: must be a text of 1 to 256 characters without spaces or control characters, given ""',
    ],
    [
      'a number',
      { a: 5 },
      '.a: must be a text of 1 to 256 characters without spaces or control characters, given 5',
    ],
    [
      'a list of models',
      { a: ['x/y'] },
      '.a: must be a text of 1 to 256 characters without spaces or control characters, given ["x/y"]',
    ],
  ])('that stand for %s are a fault', async (_, aliases, fault) => {
    expect(await aliasFaults(aliases)).toEqual([`POLICY.aliases${fault}`])
  })

  it.each(['', 'two words', 'nul\u0000', 'x'.repeat(257)])('may not be called %j', async (name) => {
    const [fault, ...others] = await aliasFaults({ [name]: 'x/y' })
    expect(others).toEqual([])
    expect(fault).toMatch(
      /: must have a name of 1 to 256 characters without spaces or control characters/,
    )
    expect(fault?.length).toBeLessThan(200)
  })

  it('are 1000 at most', async () => {
    expect(await aliasFaults(numbered(1000))).toEqual([])
    expect(await aliasFaults(numbered(1001))).toEqual([
      'POLICY.aliases: must have at most 1000 aliases, given 1001',
    ])
  })

  it.each([[['a']], ['a=x/y'], [7], [null]])('that are %j are no table', async (aliases) => {
    expect(await aliasFaults(aliases)).toEqual([
      `POLICY.aliases: must be a table of aliases and their models, given ${JSON.stringify(aliases)}`,
    ])
  })
})
