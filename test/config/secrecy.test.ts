import fc from 'fast-check'
import { expect, it } from 'vitest'
import { faultsOf } from './environment.ts'

const textOf = (characters: string, minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...characters), minLength, maxLength })

/** A token of digits and letters, as a password generator makes it. */
const token = textOf('abcdefGHIJKL0123456789', 8, 40).filter((text) => /\d/.test(text))

/** A secret of an operator: a key, a key without its beginning, or a client's token. */
const secret = fc.oneof(
  textOf('0123456789abcdef', 24, 64).map((hex) => `sk-or-v1-${hex}`),
  textOf('0123456789abcdef', 24, 64).filter((hex) => /\d/.test(hex)),
  token,
)

/** Mistakes of an operator: forms of a secret in the place of a list of keys or tokens. */
const FORMS: readonly ((text: string) => unknown)[] = [
  (text) => text,
  (text) => `${text} ${text}`,
  (text) => `"${text}`,
  (text) => `[${text}]`,
  (text) => `{"key": ${text}}`,
  (text) => JSON.stringify([text]),
  (text) => JSON.stringify([[text]]),
  (text) => JSON.stringify([{ key: `${text} x` }]),
  (text) => JSON.stringify([{ key: `x${text}` }]),
  (text) => JSON.stringify([{ [text]: 1 }]),
  (text) => JSON.stringify([{ key: 'sk-or-v1-a', [text]: text }]),
  (text) => JSON.stringify([{ key: text, id: text }]),
  (text) => JSON.stringify([{ key: text, id: `${text} ` }]),
  (text) => JSON.stringify([{ key: text, account: text, weight: text }]),
  (text) => JSON.stringify([{ key: text, weight: [text], max_concurrent: { [text]: text } }]),
  (text) => JSON.stringify([{ key: text, disabled: text }]),
  (text) => JSON.stringify([{ id: 'a', [text]: 'alice' }]),
  (text) => JSON.stringify([{ id: 'a', token: [text] }]),
  (text) => JSON.stringify([{ id: 'a', token: `${text} ` }]),
  (text) => JSON.stringify([{ id: 'a', token: text, sha256: text }]),
  (text) => JSON.stringify([{ id: 'a', sha256: `${text}-` }]),
  (text) => JSON.stringify({ [text]: text }),
  (text) => `a:${text} a:${text}`,
  (text) => `a:${text} b:${text}`,
  (text) => `${text}:`,
  (text) => `:${text}`,
  (text) => [{ key: text }, { id: text }, { [text]: text }],
]

const misplaced = fc
  .tuple(secret, fc.constantFrom(...FORMS))
  .map(([text, form]) => ({ text, value: form(text) }))

it('no fault shows any piece of a key or token, whatever was done to it', async () => {
  await fc.assert(
    fc.asyncProperty(misplaced, misplaced, misplaced, async (keys, more, clients) => {
      const faults = await faultsOf({
        OPENROUTER_KEYS: keys.value,
        OPENROUTER_KEY_2: more.value,
        CLIENT_KEYS: clients.value,
        POLICY: { strategy: 'none' },
      })
      const all = faults.join('\n')
      expect(all).toContain('POLICY.strategy')
      for (const { text } of [keys, more, clients]) {
        const hidden = text.replace(/^sk-or-v1-/, '')
        for (let at = 0; at + 8 <= hidden.length; at++) {
          expect(all).not.toContain(hidden.slice(at, at + 8))
        }
      }
    }),
    { numRuns: 500 },
  )
})

it('a key that strayed into a variable is not shown either', async () => {
  const key = 'sk-or-v1-0123456789abcdef'
  const faults = await faultsOf({
    UPSTREAM_URL: key,
    ANONYMOUS_CLIENTS: key,
    POLICY: { strategy: key, max_attempts: key, timeouts: key, defaults: { weight: [key] } },
  })
  expect(faults).toHaveLength(6)
  expect(faults.join()).not.toContain('01234567')
})

it('a key where a name belongs in the tables of the policy is not shown either', async () => {
  const key = 'sk-or-v1-0123456789abcdef'
  const faults = await faultsOf({
    POLICY: {
      affinity: key,
      spill_policy: key,
      queue: key,
      routes: [
        key,
        { models: [key, key], keys: [`${key} `], fallback_models: key, timeouts: key },
        { models: [`*${key}`], keys: [`tag:`, key, key], [key]: 1 },
      ],
      aliases: { [key]: `${key} `, a: key, b: 'a' },
      extra_paths: [key, `${key}/x`, key],
    },
  })
  expect(faults).toHaveLength(15)
  expect(faults.join()).not.toContain('01234567')
})

it('a key for a selector, which no key is called, is not shown either', async () => {
  const key = 'sk-or-v1-0123456789abcdef'
  const faults = await faultsOf({
    POLICY: { routes: [{ models: ['*'], keys: [key, `tag:${key}`] }] },
  })
  expect(faults).toHaveLength(2)
  expect(faults.join()).not.toContain('01234567')
})
