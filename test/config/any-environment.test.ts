import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readConfig } from '../../src/config/config.ts'
import { planted } from '../planted.ts'
import { fuzz } from '../property-limits.ts'
import { MINIMUM } from './environment.ts'

/** A working configuration with every kind of value in it. */
const WHOLE: Record<string, unknown> = {
  ...MINIMUM,
  UPSTREAM_URL: 'https://openrouter.ai/api/v1',
  ANONYMOUS_CLIENTS: 'deny',
  OPENROUTER_KEYS: JSON.stringify([
    {
      ...{ key: 'sk-or-v1-fuzz-alpha', id: 'alpha', account: 'acme', tags: ['eu'], weight: 2 },
      ...{ max_concurrent: 3, rpm: 60, tpm: 1000, max_spend: { usd: 1, period: 'day' } },
    },
    { key: 'sk-or-v1-fuzz-beta' },
  ]),
  CLIENT_KEYS: JSON.stringify([{ id: 'app', token: 'a-long-enough-token-1' }]),
  POLICY: {
    strategy: 'weighted',
    max_attempts: 3,
    breaker: { failures: 2, window_s: 30 },
    defaults: { rpm: 10 },
    timeouts: { idle_ms: 1000 },
    aliases: { fast: 'openai/gpt-4o-mini' },
    routes: [{ models: ['openai/*', '*'], keys: ['tag:eu'], fallback_models: ['a/b'] }],
  },
}

const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(
    '',
    ' ',
    '*',
    '-1',
    1e308,
    -0,
    Number.MAX_SAFE_INTEGER,
    '__proto__',
    '\u0000',
    [],
  ),
)

const told = (result: ReturnType<typeof readConfig>) => (result.ok ? [] : result.faults)

it('any value in any place is a configuration, or faults in plain sentences, and never an exception', () => {
  expect(told(readConfig(WHOLE))).toEqual([])
  const secrets = fc.constantFrom('OPENROUTER_KEYS', 'CLIENT_KEYS')
  fc.assert(
    fc.property(
      fc.array(fc.nat(30), { minLength: 1, maxLength: 5 }),
      odd,
      secrets,
      (path, value, name) => {
        const outside = planted(WHOLE, path, value) as Record<string, unknown>
        const inside = JSON.stringify(planted(JSON.parse(String(WHOLE[name])), path, value))
        for (const env of [outside, { ...WHOLE, [name]: inside }]) {
          const faults = told(readConfig(env))
          for (const fault of faults) expect(fault).toMatch(/^\S.*: \S/s)
          expect(JSON.stringify(faults)).not.toMatch(/fuzz-alpha|fuzz-beta|long-enough/)
        }
      },
    ),
    fuzz(300),
  )
})

it('any bindings are', () => {
  const names = fc.constantFrom(
    'POLICY',
    'OPENROUTER_KEYS',
    'OPENROUTER_KEY_2',
    'CLIENT_KEYS',
    'UPSTREAM_URL',
  )
  fc.assert(
    fc.property(fc.dictionary(names, fc.anything({ maxDepth: 3 })), (env) => {
      for (const fault of told(readConfig({ ...MINIMUM, ...env })))
        expect(fault).toMatch(/^\S.*: \S/s)
    }),
    fuzz(300),
  )
})
