import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteBudget, type HeldBytes } from '../../src/gateway/byte-budget.ts'

function given(holder: HeldBytes | undefined): number {
  holder?.release()
  return 0
}

const taken = (holder: HeldBytes | undefined, bytes: number) => (holder?.grow(bytes) ? bytes : 0)

describe('the budget of bytes', () => {
  it('is never passed, except by one holder alone, and counts what is held', () => {
    const step = fc.tuple(fc.nat(3), fc.nat(150), fc.boolean())
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const budget = new ByteBudget(100)
        const holders = Array.from({ length: 4 }, () => budget.open())
        const bytes = [0, 0, 0, 0]
        for (const [index, more, isRelease] of steps) {
          bytes[index] = isRelease
            ? given(holders[index])
            : (bytes[index] ?? 0) + taken(holders[index], more)
          const total = bytes.reduce((sum, one) => sum + one, 0)
          expect(budget.heldBytes()).toBe(total)
          expect(total <= 100 || bytes.filter((one) => one > 0).length === 1).toBe(true)
        }
        for (const holder of holders) holder.release()
        expect(budget.heldBytes()).toBe(0)
      }),
    )
  })

  it('takes one body that is larger than all of it, if nobody else holds any', () => {
    const budget = new ByteBudget(100)
    const large = budget.open()
    expect(large.grow(500)).toBe(true)
    expect(budget.open().grow(1)).toBe(false)
    large.release()
    large.release()
    expect(budget.open().grow(100)).toBe(true)
  })

  it('counts what one request holds beside its body, but not as that of others', () => {
    const budget = new ByteBudget(100)
    const body = budget.open()
    const answer = body.beside()
    expect(body.grow(500) && answer.grow(50)).toBe(true)
    expect(budget.heldBytes()).toBe(550)
    expect(budget.open().grow(1)).toBe(false)
    body.release()
    expect(budget.heldBytes()).toBe(50)
    expect(budget.open().grow(51)).toBe(false)
    expect(budget.open().grow(50)).toBe(true)
    expect(answer.grow(1)).toBe(false)
  })
})
