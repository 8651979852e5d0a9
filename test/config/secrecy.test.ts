import fc from 'fast-check'
import { expect, it } from 'vitest'
import { faultsOf } from './environment.ts'

/** What an operator may put by mistake where keys and tokens belong. */
const secret = fc
  .string({ minLength: 12, maxLength: 24, unit: fc.constantFrom(...'GHJKMNPQRSTVWXYZ') })
  .map((text) => `sk-or-v1-${text}`)

const misplaced = (text: string) => [
  text,
  `${text} ${text}`,
  `"${text}`,
  `[${text}]`,
  JSON.stringify([text]),
  JSON.stringify([{ key: `${text} x` }]),
  JSON.stringify([{ [text]: 1 }]),
  JSON.stringify([{ key: text, id: text }]),
  JSON.stringify([{ key: text, account: text, weight: text }]),
  JSON.stringify([{ id: text, token: [text] }]),
  JSON.stringify([{ id: 'a', token: text, sha256: text }]),
  JSON.stringify({ [text]: text }),
  `a:${text} a:${text}`,
  `:${text}`,
]

it('no fault shows any part of a key or token, whatever was done to it', async () => {
  await fc.assert(
    fc.asyncProperty(secret, fc.nat(13), fc.nat(13), async (text, i, j) => {
      const faults = await faultsOf({
        OPENROUTER_KEYS: misplaced(text)[i],
        CLIENT_KEYS: misplaced(text)[j],
        POLICY: { strategy: 'none' },
      })
      const all = faults.join('\n')
      expect(all).toContain('POLICY.strategy')
      const body = text.slice('sk-or-v1-'.length)
      for (let at = 0; at + 8 <= body.length; at++) {
        expect(all).not.toContain(body.slice(at, at + 8))
      }
    }),
    { numRuns: 300 },
  )
})
