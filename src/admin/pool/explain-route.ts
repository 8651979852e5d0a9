import * as z from 'zod/mini'
import {
  type Caller,
  callerOf,
  callerWithoutLimits,
  mayUse,
} from '../../balancing/clients/caller.ts'
import type { Explanation, Question } from '../../balancing/explanation.ts'
import { clientId } from '../../balancing/ids.ts'
import type { QuotaRefusal } from '../../balancing/limits/quota-refusal.ts'
import { faultsOf } from '../../config/fields.ts'
import type { RoutePolicy } from '../../config/route-policy.ts'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import { errorResponse } from '../../http/error-response.ts'
import { affinityOfName, plannedModels, unknownAlias } from '../../http/request-plan.ts'
import { type AdminContext, invalid, unreachable } from '../admin-request.ts'
import { explainQuery } from '../admin-schemas.ts'
import { isoTimeOrNull } from '../client-answers.ts'
import type { ExplainAnswer } from './explain-answer-schema.ts'

export async function explainRequest(c: AdminContext): Promise<Response> {
  const explanation = await explainQuestion(c, c.req.query())
  return explanation instanceof Response ? explanation : c.json(explanation)
}

/**
 * How a request would be decided now: which key it would get, or whether it would wait, and why not the
 * others. Nothing is taken for it.
 */
export async function explainQuestion(
  c: AdminContext,
  query: Readonly<Record<string, string>>,
): Promise<ExplainAnswer | Response> {
  const parsed = z.safeParse(explainQuery, query)
  if (!parsed.success) return invalid(c, faultsOf('query', parsed.error).join('; '))
  const { model, client, conversation, tokens } = parsed.data
  const { gateway } = c.var
  const { policy } = gateway.config
  const fault = unknownAlias(model, policy.aliases)
  if (fault !== null) return errorResponse(c, fault)
  const caller = client === undefined ? callerWithoutLimits(ANYBODY) : await callerNamed(c, client)
  if (caller instanceof Response) return caller
  const { asked, models, route } = plannedModels(policy, { model, caller })
  const isStaying = conversation !== undefined && route.affinity !== 'none'
  const question: Question = {
    asked,
    models,
    affinity: isStaying ? affinityOfName(conversation) : null,
    ...(tokens === undefined ? { tokens: 0 } : { tokens, size: tokens }),
    ...(client === undefined ? {} : { clientId: caller.id }),
  }
  const answer = await gateway.pool.explain(question)
  if (answer.kind === 'unavailable') return unreachable(c)
  const closed = closedTo(caller, [asked, models[0]], gateway.ports.nowMs())
  return explainAnswer(answer.value, { question, route, closed })
}

const ANYBODY = clientId('')

type Because = NonNullable<ExplainAnswer['because']>

/** Why the Worker would refuse a client before it asks the pool; null if it would not. */
function closedTo(caller: Caller, names: readonly string[], nowMs: number): Because | null {
  if (caller.expiresAtMs !== null && caller.expiresAtMs <= nowMs) return 'client_expired'
  return mayUse(caller, names) ? null : 'model_not_allowed'
}

/** A client of the configuration, or one that was made at run time: the pool knows both. */
async function callerNamed(c: AdminContext, name: string): Promise<Caller | Response> {
  const id = clientId(name)
  const { pool } = c.var.gateway
  const look = async (only: `client:${string}` | `group:${string}`) =>
    await pool.manageClients({ order: { kind: 'list', only }, by: c.var.operator })
  const answer = await look(`client:${id}`)
  if (answer.kind === 'unavailable') return unreachable(c)
  const client = answer.value.kind === 'all' ? answer.value.clients[0] : undefined
  if (client === undefined) {
    const message = 'There is no client with that id. GET /admin/api/clients lists them.'
    const metadata = { fault: 'unknown_client' }
    return errorResponse(c, gatewayError('not_found', message, { metadata }))
  }
  const { groupId } = client.terms
  if (groupId === null) return callerOf(client.terms, null)
  const ofGroup = await look(`group:${groupId}`)
  if (ofGroup.kind === 'unavailable') return unreachable(c)
  const group = ofGroup.value.kind === 'all' ? ofGroup.value.groups[0] : undefined
  return callerOf(client.terms, group?.terms ?? null)
}

interface Asked {
  readonly question: Question
  readonly route: RoutePolicy
  readonly closed: Because | null
}

function explainAnswer(
  explanation: Explanation,
  { question, route, closed }: Asked,
): ExplainAnswer {
  const { refusal, limit = null } = explanation
  const [would, because] = outcomeOf(explanation, closed)
  return {
    would,
    because,
    model: question.asked,
    client: question.clientId ?? null,
    route: {
      models: [...explanation.route],
      strategy: explanation.strategy,
      affinity: explanation.affinity,
      fallback_models: [...route.fallbackModels],
    },
    chosen: explanation.chosen,
    limit: limit === null ? null : limitAnswer(limit),
    reasons: { ...refusal?.reasons },
    retry_at: isoTimeOrNull(refusal?.retryAtMs ?? null),
    panic: explanation.panic,
    waiting: explanation.waiting,
    looked_at_model: explanation.model,
    best_score: explanation.best,
    keys: explanation.keys.map((key) => ({
      id: key.key,
      account: key.account,
      eligible: key.eligible,
      score: key.eligible ? key.score : null,
      reasons: key.eligible ? [] : [...key.reasons],
      clears_at: key.eligible ? null : isoTimeOrNull(key.clearsAtMs),
    })),
  }
}

/** The limits of a client are looked at before a key is. */
function outcomeOf(
  { chosen, waits, limit = null }: Explanation,
  closed: Because | null,
): readonly [ExplainAnswer['would'], Because | null] {
  if (closed !== null) return ['refuse', closed]
  if (limit !== null) return ['refuse', 'client_limit']
  if (chosen !== null) return ['serve', null]
  return [waits === true ? 'wait' : 'refuse', 'no_key']
}

function limitAnswer(limit: QuotaRefusal): NonNullable<ExplainAnswer['limit']> {
  return {
    owner: limit.kind === 'revoked' ? null : limit.owner,
    kind: limit.kind,
    limit: limit.kind === 'rate' ? limit.limit : null,
    period: limit.kind === 'budget' ? limit.period : null,
    resets_at: 'resetsAtMs' in limit ? isoTimeOrNull(limit.resetsAtMs) : null,
  }
}
