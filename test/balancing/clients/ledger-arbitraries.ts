import fc from 'fast-check'
import { budgetOf, type ClientSpec, type GroupSpec } from './client-terms.ts'

export const HAPPENINGS = [
  ...(['ask', 'ask-to-wait', 'inquire', 'order', 'begin', 'settle', 'settle-twice'] as const),
  ...(['unused', 'pass', 'pass-long', 'silence', 'renew', 'operate', 'crash', 'rest'] as const),
] as const

export interface LedgerHint {
  readonly what: (typeof HAPPENINGS)[number]
  readonly pick: number
  readonly detail: number
}

export interface AnyClients {
  readonly clients: readonly ClientSpec[]
  readonly groups: readonly GroupSpec[]
}

const few = (max: number) => fc.option(fc.integer({ min: 1, max }), { freq: 2 })

const anyBudgets = fc.uniqueArray(
  fc.record({
    usd: fc.constantFrom(0.2, 0.5, 1, 3),
    period: fc.constantFrom('day', 'week', 'month', 'total'),
    mode: fc.constantFrom('exact', 'exact', 'exact', 'capped', 'after'),
    onExceeded: fc.constantFrom('reject', 'reject', 'reject', 'fallback_model', 'warn'),
    strict: fc.boolean(),
    capUsd: fc.constantFrom(0.05, 0.5),
    reserveUsd: fc.constantFrom(0.1, 0.5),
  }),
  { maxLength: 2, selector: ({ period }) => period },
)

const anyLimits = fc.record({
  rpm: few(12),
  tpm: few(800),
  rpd: few(40),
  maxConcurrent: few(5),
  budgets: anyBudgets.map((budgets) => budgets.map(budgetOf)),
})

export const clientsArbitrary: fc.Arbitrary<AnyClients> = fc
  .tuple(anyLimits, anyLimits, anyLimits)
  .map(([group, first, second]) => ({
    groups: [{ id: 'team', ...group }],
    clients: [
      { id: 'a', group: 'team', ...first },
      { id: 'b', group: 'team' },
      { id: 'c', ...second },
    ],
  }))

const weighed = (weight: number, ...whats: LedgerHint['what'][]) => ({
  weight,
  arbitrary: fc.constantFrom(...whats),
})

export const ledgerHistory = (without: readonly LedgerHint['what'][] = []) =>
  fc.array(
    fc.record({
      what: fc
        .oneof(
          weighed(6, 'ask', 'settle'),
          weighed(2, 'ask-to-wait', 'inquire', 'order', 'begin', 'pass'),
          weighed(1, 'settle-twice', 'unused', 'pass-long', 'silence', 'renew', 'operate'),
          weighed(1, 'crash', 'rest'),
        )
        .filter((what) => !without.includes(what)),
      pick: fc.nat({ max: 1_000 }),
      detail: fc.nat({ max: 1_000_000 }),
    }),
    { maxLength: 120, size: 'max' },
  )
