import type { HonoBase } from 'hono/hono-base'
import type { KeyReport } from '../../balancing/health/key-report.ts'
import type { LookupDuty } from '../../balancing/health/lookup-duty.ts'
import { type KeyId, keyId } from '../../balancing/ids.ts'
import type { ControlOrder, ControlReply } from '../../balancing/operators/control.ts'
import { STEERING } from '../../balancing/operators/steering.ts'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import { keyLookupsOf } from '../../http/composition-root.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { errorResponse } from '../../http/error-response.ts'
import { type AdminContext, bodyOf, isPerhapsDone, unreachable } from '../admin-request.ts'
import { refresh } from '../admin-schemas.ts'
import { explainRequest } from './explain-route.ts'
import type { RefreshAnswer } from './pool-answer-schemas.ts'
import { creditAnswer, keyAnswer, poolAnswer } from './pool-answers.ts'

/** `pool`, `keys` and `credit` of the admin API: what the pool is doing, and what it is told. */
export function poolRoutes(routes: HonoBase<HttpEnvironment>): void {
  routes.get('/pool', pool)
  routes.get('/explain', explainRequest)
  for (const kind of STEERING)
    routes.post(`/keys/:id/${kind}`, (c) => steer(c, kind, c.req.param('id') ?? ''))
  routes.post('/credit/refresh', refreshCredit)
}

async function pool(c: AdminContext): Promise<Response> {
  const answer = await c.var.gateway.pool.overview()
  if (answer.kind === 'unavailable' || answer.value === null) return unreachable(c)
  return c.json(poolAnswer(answer.value))
}

/** Tells a key something; its answer has how the key stands then. */
export async function steer(
  c: AdminContext,
  kind: (typeof STEERING)[number],
  id: string,
): Promise<Response> {
  const reply = await order(c, { kind, keyId: keyId(id) })
  if (reply instanceof Response) return reply
  return reply.kind === 'steered' ? c.json(keyAnswer(reply.key)) : unknownKey(c)
}

/** Has an order carried out. An object of an earlier release takes none, for a minute at most. */
async function order(c: AdminContext, order: ControlOrder): Promise<ControlReply | Response> {
  const answer = await c.var.gateway.pool.control({ order, by: c.var.operator })
  if (answer.kind === 'answer' && answer.value !== null) return answer.value
  return unreachable(c, isPerhapsDone(answer))
}

function unknownKey(c: AdminContext): Response {
  const message = 'There is no key with that id. GET /admin/api/pool lists them.'
  return errorResponse(
    c,
    gatewayError('not_found', message, { metadata: { fault: 'unknown_key' } }),
  )
}

/** How long the answer waits for lookups. Those that take longer go on without it. */
const ANSWER_MS = 5_000

async function refreshCredit(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, refresh)
  if (body instanceof Response) return body
  return await lookUpCredit(c, body.key === undefined ? null : keyId(body.key))
}

/** Has the credit of a key looked up now, or of all; its answer has what was found. */
export async function lookUpCredit(c: AdminContext, wanted: KeyId | null): Promise<Response> {
  const reply = await order(c, { kind: 'refresh_credit', keyId: wanted })
  if (reply instanceof Response) return reply
  if (reply.kind !== 'refresh') return unknownKey(c)
  const found = await lookUp(c, reply.lookups)
  const states = (keys: readonly KeyId[], state: 'under_way' | 'later') =>
    keys.map((id) => ({ id, state, credit: null }))
  const answer: RefreshAnswer = {
    keys: [
      ...reply.lookups.map(({ keyId: id }) => resultOf(id, found.get(id))),
      ...states(reply.underWay, 'under_way'),
      ...states(reply.later, 'later'),
    ],
  }
  return c.json(answer)
}

/**
 * Carries the lookups out as this Worker's duties, and reports them to the pool.
 * @returns what they have found when the answer is due
 */
async function lookUp(
  c: AdminContext,
  duties: readonly LookupDuty[],
): Promise<ReadonlyMap<KeyId, KeyReport>> {
  const found = new Map<KeyId, KeyReport>()
  if (duties.length === 0) return found
  const { gateway } = c.var
  const { pool, ports } = gateway
  const lookups = keyLookupsOf(gateway)
  const one = async (duty: LookupDuty) => {
    const reports = await lookups([duty])
    for (const report of reports) found.set(report.keyId, report)
  }
  const all = Promise.all(duties.map(one)).then(async () => {
    const reports = [...found.values()]
    const nothing = { version: 1, wants: [], settlements: [], takesNoDuties: true } as const
    await pool.exchange({ ...nothing, lookups: reports })
  })
  c.executionCtx.waitUntil(all)
  const due = Promise.withResolvers<void>()
  const cancel = ports.timer(ANSWER_MS, due.resolve)
  await Promise.race([all, due.promise])
  cancel()
  return found
}

/** The pool alone knows how fast it is spent. */
const ASKED_NOW = { stale: false, projectedEndMs: null }

function resultOf(id: KeyId, report: KeyReport | undefined): RefreshAnswer['keys'][number] {
  switch (report?.kind) {
    case undefined:
      return { id, state: 'under_way', credit: null }
    case 'unknown':
      return { id, state: 'failed', credit: null }
    case 'rejected':
      return { id, state: 'rejected', credit: null }
    case 'valid': {
      const credit = creditAnswer({ ...report, ...ASKED_NOW, asOfMs: report.askedAtMs })
      return { id, state: 'found', credit }
    }
  }
}
