import { parseEnv } from 'node:util'
import { describe, expect, it } from 'vitest'
import { formatEnvFile, holdsOpenRouterKey } from './env-file.ts'

describe('formatEnvFile', () => {
  it('keeps JSON, quotes, spaces, hashes and backslashes as they are', () => {
    const variables = {
      JSON: '[{"id":"alpha","key":"k"},{"id":"beta"}]',
      APOSTROPHE: `it's "quoted"`,
      HASH: 'a #b ',
      BACKSLASH: 'a\\nb',
    }
    expect(parseEnv(formatEnvFile(variables))).toEqual(variables)
  })

  it('keeps wrangler from replacing what looks like a variable', () => {
    expect(formatEnvFile({ TOKEN: 'a$HOME' })).toBe("TOKEN='a\\$HOME'\n")
  })

  it('refuses a value that no quotes can hold', () => {
    expect(() => formatEnvFile({ ODD: `'"\`` })).toThrow(/quote/)
  })
})

describe('holdsOpenRouterKey', () => {
  it('finds a key under any name that may hold one', () => {
    expect(holdsOpenRouterKey('OPENROUTER_KEYS=sk-or-v1-x')).toBe(true)
    expect(holdsOpenRouterKey('A=1\nexport OPENROUTER_KEY_EU="sk-or-v1-x"\n')).toBe(true)
  })

  it('is not misled by empty names, comments and other secrets', () => {
    expect(holdsOpenRouterKey('')).toBe(false)
    expect(holdsOpenRouterKey('OPENROUTER_KEYS=\nOPENROUTER_KEY_1=" "')).toBe(false)
    expect(holdsOpenRouterKey('# OPENROUTER_KEYS=sk-or-v1-x\nCLIENT_KEYS=a:b')).toBe(false)
  })
})
