import { callerOf } from '../../../src/balancing/clients/caller.ts'
import type { ClientTerms, GroupTerms } from '../../../src/balancing/clients/clients.ts'
import { clientId, groupId } from '../../../src/balancing/ids.ts'
import { HELLO } from '../stream-texts.ts'
import { streamOf } from '../upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from '../virtual-world.ts'

export const CHAT = 'chat/completions'

/** How long each answer of upstream takes. */
export const ANSWER_MS = 100

const ROOMY = ['a', 'b', 'c'].map((id) => ({ id, maxConcurrent: 1_000, rpm: 100_000 }))

const NO_LIMITS = {
  ...{ rpm: null, tpm: null, rpd: null, maxConcurrent: null, budgets: [] },
  ...{ models: null, keys: null, expiresAtMs: null },
} as const

export type Limits = Partial<Pick<GroupTerms, 'rpm' | 'tpm' | 'rpd' | 'maxConcurrent' | 'budgets'>>

/** A world with the group `team`, of the clients `ada` and `ben`. */
export function worldOfTeam(
  limits: { readonly team?: Limits; readonly ada?: Limits; readonly ben?: Limits },
  options: WorldOptions = {},
) {
  const team: GroupTerms = { ...NO_LIMITS, ...limits.team, id: groupId('team') }
  const clientOf = (id: 'ada' | 'ben'): ClientTerms => ({
    ...NO_LIMITS,
    ...limits[id],
    id: clientId(id),
    groupId: team.id,
  })
  const terms = { ada: clientOf('ada'), ben: clientOf('ben') }
  const clients = { groups: [team], clients: [terms.ada, terms.ben] }
  const world = createVirtualWorld({ keys: ROOMY, strategy: 'least-busy', clients, ...options })
  world.upstream.on(CHAT, { ...streamOf(HELLO), headersAfterMs: ANSWER_MS })
  const caller = { ada: callerOf(terms.ada, team), ben: callerOf(terms.ben, team) }
  /** What is used of the limits of a client, and of its group. */
  const usedOf = async (id: 'ada' | 'ben') => {
    const answer = await world.pool.quotas(clientId(id))
    if (answer.kind === 'unavailable') throw new Error('The pool is there')
    return answer.value
  }
  return { world, caller, usedOf }
}

export type Team = ReturnType<typeof worldOfTeam>
