import type { Ports } from '../gateway/ports.ts'
import type { DutiesReply } from '../key-pool/protocol.ts'
import {
  type Gateway,
  gatewayOf,
  generationLookupsOf,
  hasBudgets,
  keyLookupsOf,
} from './composition-root.ts'

/** The most lookups of one minute, of keys and of generations. Further ones have their turn a minute later. */
const MAX_LOOKUPS = 30
const MAX_GENERATIONS = 60
/** The most messages to each address. */
const MAX_ALERTS = 20

/**
 * Carries out the duties that are due although no request comes. It looks up keys, so that one that was
 * repaired is back before the next request; it asks what answers have cost whose usage was estimated; it
 * renews the prices that budgets are kept by; and it tells operators what no request has told them. It
 * does nothing until a request has called the pool's object.
 */
export async function carryOutDuties(env: Env, ports: Ports): Promise<void> {
  const result = gatewayOf(env, ports)
  if (!result.ok) return
  const { gateway } = result
  const { pool, sight, prices, degraded } = gateway
  if (!(await sight.isPlaced())) return
  if (hasBudgets(gateway)) await prices.keepFresh()
  const answer = await pool.duties({
    ...{ max: MAX_LOOKUPS, maxGenerations: MAX_GENERATIONS },
    maxAlerts: MAX_ALERTS,
  })
  await degraded.note(answer.kind === 'answer')
  if (answer.kind === 'unavailable') return
  await Promise.all([carryOut(gateway, answer.value), degraded.endIfOver()])
}

async function carryOut(
  gateway: Gateway,
  { lookups: keyDuties, generations = [], alerts = [] }: DutiesReply,
): Promise<void> {
  const { pool } = gateway
  if (keyDuties.length + generations.length + alerts.length === 0) return
  const [lookups, reconciled, delivered] = await Promise.all([
    keyLookupsOf(gateway)(keyDuties),
    generationLookupsOf(gateway)(generations),
    gateway.alerts.deliver(alerts),
  ])
  await pool.exchange({
    ...{ version: 1, wants: [], settlements: [], lookups, takesNoDuties: true },
    ...(reconciled.length === 0 ? {} : { reconciled }),
    ...(delivered.length === 0 ? {} : { delivered }),
  })
}
