import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { quotas } from '../../../src/balancing/clients/client-records.ts'
import { walks } from '../../property-limits.ts'
import {
  type AnyClients,
  clientsArbitrary,
  type LedgerHint,
  ledgerHistory,
} from './ledger-arbitraries.ts'
import { LedgerWalk } from './ledger-walk.ts'

/** What must be true of clients' limits and budgets after every step of any history. */

const RUNS = walks(200, 60_000)

function walked(clients: AnyClients, seed: number, history: readonly LedgerHint[]): LedgerWalk {
  const walk = new LedgerWalk(clients, seed)
  for (const hint of history) walk.step(hint)
  return walk
}

describe('whatever happens to clients with limits', { timeout: 90_000 }, () => {
  it('budgets hold, no amount is below nothing, and each lease takes and gives back once', () => {
    fc.assert(
      fc.property(clientsArbitrary, fc.nat(), ledgerHistory(['crash', 'rest']), (...any) => {
        expect(walked(...any).faults).toEqual([])
      }),
      RUNS,
    )
  })

  it('a restart at any step forgets no spend, and at rest it is exact', () => {
    fc.assert(
      fc.property(clientsArbitrary, fc.nat(), ledgerHistory(), (...any) => {
        expect(walked(...any).faults).toEqual([])
      }),
      RUNS,
    )
  })

  it('nothing is in flight nor reserved once traffic stops', () => {
    fc.assert(
      fc.property(clientsArbitrary, fc.nat(), ledgerHistory(), (...any) => {
        const walk = walked(...any)
        walk.stopTraffic()
        for (const { inFlight, budgets } of quotas(walk.pool.state.clients)) {
          expect(inFlight).toBe(0)
          for (const { reservedNanos } of budgets) expect(reservedNanos).toBe(0)
        }
      }),
      RUNS,
    )
  })
})
