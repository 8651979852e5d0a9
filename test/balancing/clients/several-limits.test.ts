import { expect, it } from 'vitest'
import type { QuotaRefusal } from '../../../src/balancing/limits/quota-refusal.ts'
import { drivePool, usageOf } from '../pool-driver.ts'
import { budgetOf, type ClientSpec, type GroupSpec } from './client-terms.ts'

const budgets = (...terms: Parameters<typeof budgetOf>) => ({ budgets: [budgetOf(...terms)] })
const both = (...terms: readonly NonNullable<Parameters<typeof budgetOf>[0]>[]) => ({
  budgets: terms.map((each) => budgetOf({ mode: 'after', ...each })),
})

type Case = [
  name: string,
  own: Partial<ClientSpec>,
  shared: Partial<GroupSpec>,
  told: Partial<QuotaRefusal>,
]

// Who comes again when the shorter one is over would be refused again.
it.each<Case>([
  [
    'two budgets: the month’s',
    both({ usd: 0.1, period: 'day' }, { usd: 0.2, period: 'month' }),
    {},
    { kind: 'budget', owner: 'client:a', period: 'month' },
  ],
  [
    'a budget of a day and one for good: the one that no day gives back',
    both({ usd: 0.1, period: 'day' }, { usd: 0.2, period: 'total' }),
    {},
    { kind: 'budget', period: 'total', resetsAtMs: null },
  ],
  [
    'its own budget of a day and its group’s of a week: the group’s',
    both({ usd: 0.1, period: 'day' }),
    both({ usd: 0.1, period: 'week' }),
    { kind: 'budget', owner: 'group:team', period: 'week' },
  ],
  [
    'a rate and a budget: the budget',
    { rpm: 1, ...budgets({ usd: 0.1, mode: 'after' }) },
    {},
    { kind: 'budget', period: 'day' },
  ],
  [
    'its own minute and its group’s day: the day',
    { rpm: 1 },
    { rpd: 1 },
    { kind: 'rate', owner: 'group:team', limit: 'rpd' },
  ],
  [
    'its own day and its group’s minute: the day',
    { rpd: 1 },
    { rpm: 1 },
    { kind: 'rate', owner: 'client:a', limit: 'rpd' },
  ],
])(
  'of several limits that are over, a refusal tells the one that is over for longest: %s',
  (_, own, shared, told) => {
    const pool = drivePool(['k'], {
      clients: [{ id: 'a', group: 'team', ...own }],
      groups: [{ id: 'team', ...shared }],
    })
    pool.give(pool.grant({ client: 'a' }), { usage: usageOf(1, 1, 0.25) })
    const refused = pool.refusal({ client: 'a' })
    expect(refused.quota).toMatchObject(told)
    const resetsAtMs =
      refused.quota !== undefined && 'resetsAtMs' in refused.quota ? refused.quota.resetsAtMs : null
    expect(refused.retryAtMs).toBe(resetsAtMs)
  },
)

it('what running requests hold is told only where nothing else is over', () => {
  const pool = drivePool(['k'], { clients: [{ id: 'a', maxConcurrent: 1, rpd: 1 }] })
  pool.grant({ client: 'a' })
  expect(pool.refusal({ client: 'a' }).quota).toMatchObject({ limit: 'rpd' })
})
