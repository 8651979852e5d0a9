import { describe, expect, it } from 'vitest'
import type { BudgetTerms } from '../../../src/balancing/clients/budget.ts'
import { removeClient } from '../../../src/balancing/clients/clients.ts'
import { visit } from '../../../src/balancing/clients/visits.ts'
import { clientId } from '../../../src/balancing/ids.ts'
import { drivePool, type PoolDriver, START_MS, usageOf } from '../pool-driver.ts'
import { budgetOf } from './client-terms.ts'

// Requests that get an answer which somebody else has paid for.

const DAY_MS = 24 * 3_600_000

const visitOf = (pool: PoolDriver, id: string) =>
  visit(pool.state.clients, { clientId: clientId(id) }, pool.now())

const ofA = (limits: object) => drivePool(['k'], { clients: [{ id: 'a', ...limits }] })

describe('a visit', () => {
  it('of a client without limits, or that the pool does not know, is admitted', () => {
    const pool = ofA({})
    for (const id of ['a', 'unknown']) expect(visitOf(pool, id)).toBeNull()
  })

  it('of a client that was taken away is not', () => {
    const pool = ofA({})
    removeClient(pool.state.clients, clientId('a'), pool.now())
    expect(visitOf(pool, 'a')).toEqual({ kind: 'revoked' })
  })

  it('counts as a request of the minute and of the day, with those that make calls', () => {
    const pool = ofA({ rpm: 2 })
    pool.grant({ client: 'a' })
    expect(visitOf(pool, 'a')).toBeNull()
    const refused = { kind: 'rate', owner: 'client:a', limit: 'rpm', max: 2, remaining: 0 }
    expect(visitOf(pool, 'a')).toMatchObject(refused)
    expect(pool.refusal({ client: 'a' }).quota).toMatchObject(refused)
    pool.wait(61_000)
    expect(visitOf(pool, 'a')).toBeNull()

    const daily = ofA({ rpd: 1 })
    expect(visitOf(daily, 'a')).toBeNull()
    expect(visitOf(daily, 'a')).toMatchObject({ limit: 'rpd', max: 1 })
    daily.at(START_MS + DAY_MS)
    expect(visitOf(daily, 'a')).toBeNull()
  })

  it('that its group refuses counts for neither', () => {
    const pool = drivePool(['k'], {
      clients: [
        { id: 'a', rpm: 1, group: 'g' },
        { id: 'b', group: 'g' },
      ],
      groups: [{ id: 'g', rpm: 1 }],
    })
    expect(visitOf(pool, 'b')).toBeNull()
    for (let i = 0; i < 3; i++) {
      expect(visitOf(pool, 'a')).toMatchObject({ owner: 'group:g', limit: 'rpm' })
    }
    // Its own minute was not touched by them.
    pool.wait(61_000)
    expect(visitOf(pool, 'a')).toBeNull()
  })

  it('takes nothing of what runs: neither a place nor tokens', () => {
    const pool = ofA({ maxConcurrent: 1, tpm: 100 })
    pool.grant({ client: 'a', tokens: 100 })
    pool.refusal({ client: 'a', tokens: 1 })
    for (let i = 0; i < 5; i++) expect(visitOf(pool, 'a')).toBeNull()
  })

  it.each<[string, Partial<BudgetTerms>, boolean]>([
    ['is refused while its budget is spent', {}, true],
    ['is admitted by a budget that only warns', { onExceeded: 'warn' }, false],
    ['is admitted by one that leads to a fallback', { onExceeded: 'fallback_model' }, false],
  ])('%s', (_, terms, isRefused) => {
    const pool = ofA({ budgets: [budgetOf({ usd: 1, mode: 'after', ...terms })] })
    const lease = pool.grant({ client: 'a' })
    expect(visitOf(pool, 'a')).toBeNull()
    pool.give(lease, { usage: usageOf(1, 1, 1) })
    expect(visitOf(pool, 'a')?.kind ?? null).toBe(isRefused ? 'budget' : null)
    pool.at(START_MS + DAY_MS)
    expect(visitOf(pool, 'a')).toBeNull()
  })

  it('is admitted while a budget is only reserved, not spent', () => {
    const pool = ofA({ budgets: [budgetOf({ usd: 1, mode: 'exact' })] })
    pool.grant({ client: 'a', boundUsd: 1 })
    pool.refusal({ client: 'a', boundUsd: 0.5 })
    expect(visitOf(pool, 'a')).toBeNull()
  })
})
