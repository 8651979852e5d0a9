import { describe, expect, it } from 'vitest'
import { PLANTED_BUGS } from './planted-bugs.ts'
import { simulate } from './simulated-seeds.ts'

const WITHIN_S = 60

describe('the simulation finds', () => {
  it.each(Object.entries(PLANTED_BUGS))(
    '%s',
    async (name, { breaks, fromSeed }) => {
      const given = ['--from', `${fromSeed}`, '--seconds', `${WITHIN_S}`, '--shrink', '0']
      const { code, text } = await simulate(given, name)
      expect(text).toContain(`invariant ${breaks} at`)
      expect(code).toBe(1)
    },
    (WITHIN_S + 30) * 1000,
  )
})
