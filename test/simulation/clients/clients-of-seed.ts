import { BUDGET_MODES, type BudgetTerms } from '../../../src/balancing/clients/budget.ts'
import type { ClientTerms, GroupTerms } from '../../../src/balancing/clients/clients.ts'
import type { QuotaTerms } from '../../../src/balancing/clients/quota.ts'
import type { ClientsOrder } from '../../../src/balancing/clients/registry.ts'
import { clientId, groupId } from '../../../src/balancing/ids.ts'
import { SPEND_PERIODS } from '../../../src/balancing/limits/quota-charge.ts'
import { seededRandom } from '../../balancing/seeded-random.ts'
import { type Draw, drawFrom } from '../draw.ts'
import { type Happening, type History, HOUR_MS } from '../history.ts'
import { COST_USD, MOST_UNITS } from '../openrouter-model.ts'
import { drawPrice } from './priced-requests.ts'

/** The clients of the configuration; `c2` and `c3` are made at run time. */
const CONFIGURED = ['c0', 'c1'] as const
const MINTED = ['c2', 'c3'] as const
const GROUPS = ['g0', 'g1'] as const

/** What stands for the token of a client that is made at run time. */
export const tokenHashOf = (id: string): string => `hash-of-${id}`

/** The same history with clients that have limits and budgets, and operators who change them. */
export function withClients(history: History): History {
  const { seed, hours, kind, pool } = history
  const draw = drawFrom(seededRandom(seed * 31_337 + 11))
  const scale = kind === 'busy' ? 20 : 1
  const groups = GROUPS.map((id): GroupTerms => ({ ...termsOf(draw, scale), id: groupId(id) }))
  const clientOf = (id: string): ClientTerms => ({
    ...termsOf(draw, scale),
    id: clientId(id),
    groupId: draw.chance(0.6) ? groupId(draw.of(GROUPS)) : null,
  })
  const clients = { clients: CONFIGURED.map(clientOf), groups }
  const orders = MINTED.flatMap((id) => ordersFor(draw, clientOf(id), hours * HOUR_MS))
  const happenings = [...history.happenings.map((one) => priced(draw, one)), ...orders]
  return {
    ...history,
    pool: { ...pool, clients },
    happenings: happenings.toSorted((a, b) => a.atMs - b.atMs),
  }
}

function termsOf(draw: Draw, scale: number): Omit<ClientTerms, 'id' | 'groupId'> {
  const orNone = (share: number, least: number, most: number) =>
    draw.chance(share) ? draw.int(least, most) * scale : null
  const periods = SPEND_PERIODS.filter(() => draw.chance(0.35))
  const limits: QuotaTerms = {
    rpm: orNone(0.3, 3, 12),
    tpm: orNone(0.2, 600, 3_000),
    rpd: orNone(0.1, 5, 40),
    maxConcurrent: orNone(0.4, 1, 5),
    budgets: periods.map((period) => budgetOf(draw, period, scale)),
  }
  return { ...limits, models: null, keys: null, expiresAtMs: null }
}

function budgetOf(draw: Draw, period: BudgetTerms['period'], scale: number): BudgetTerms {
  return {
    usd: (draw.int(1, 24) / 8) * scale,
    period,
    mode: draw.of(BUDGET_MODES),
    onExceeded: draw.of(['reject', 'reject', 'fallback_model', 'warn']),
    capUsd: draw.of([0.02, 0.5]),
    // No answer costs more.
    reserveUsd: COST_USD * MOST_UNITS,
    strict: draw.chance(0.2),
    includeByok: false,
    assumeOutputTokens: 4_096,
  }
}

/** A client is made first of all, may get other limits and a new token, and may be revoked. */
function ordersFor(draw: Draw, terms: ClientTerms, endMs: number): Happening[] {
  const { id, budgets } = terms
  const at = (order: ClientsOrder): Happening => {
    return { atMs: draw.int(1, endMs), kind: 'operator', order }
  }
  const made = {
    atMs: 0,
    kind: 'operator',
    order: { kind: 'make_client', terms, sha256: tokenHashOf(id) },
  } as const
  const orders: Happening[] = [made]
  for (const { period, usd } of budgets) {
    const owner = `client:${id}` as const
    if (draw.chance(0.3)) orders.push(at({ kind: 'reset_budget', owner, period }))
    if (draw.chance(0.2)) {
      const changed = budgets.map((one) => ({ ...one, usd: one.usd * draw.of([0.5, 2]) }))
      orders.push(at({ kind: 'change_client', id, changes: { budgets: changed } }))
    }
    const untilMs = Date.UTC(2026, 0, 15, 12) + endMs / 2
    const nanos = usd * 1e9
    if (draw.chance(0.2)) {
      orders.push(at({ kind: 'increase_budget', owner, period, nanos, untilMs }))
    }
  }
  if (draw.chance(0.3)) orders.push(at({ kind: 'remove_client', id }))
  return orders
}

/** What a request can cost at most. Workers of the first release know nothing of clients' limits. */
function priced(draw: Draw, one: Happening): Happening {
  if (one.kind === 'deployment' && one.release === 'first') return { ...one, release: 'next' }
  if (one.kind !== 'request') return one
  if (draw.chance(0.4)) return { ...one, priced: drawPrice(draw) }
  return { ...one, units: draw.chance(0.1) ? null : draw.int(1, MOST_UNITS) }
}
