import type { HonoBase } from 'hono/hono-base'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { errorResponse } from '../../http/error-response.ts'
import type { AlertsReply } from '../../key-pool/alerts/alert-protocol.ts'
import { type AddressStanding, addressStandings } from '../address-standing.ts'
import { type AdminContext, bodyOf, isPerhapsDone, unreachable } from '../admin-request.ts'
import { alertTest } from '../admin-schemas.ts'
import { isoTime, isoTimeOrNull } from '../client-answers.ts'
import type { AlertsAnswer, AlertTestAnswer } from './alert-answer-schemas.ts'

/** `alerts` of the admin API: what operators are told of, and a test of each address. */
export function alertRoutes(routes: HonoBase<HttpEnvironment>): void {
  routes.get('/alerts', list)
  routes.post('/alerts/test', test)
}

async function list(c: AdminContext): Promise<Response> {
  const answer = await c.var.gateway.pool.alerts({ kind: 'list' })
  if (answer.kind === 'unavailable' || answer.value === null) return unreachable(c)
  const { active, queued, latest } = answer.value
  const all: AlertsAnswer = {
    active: active.map(({ event, subject, sinceMs, goneSinceMs, facts }) => {
      const times = { began_at: isoTime(sinceMs), gone_since: isoTimeOrNull(goneSinceMs) }
      return { event, subject, ...times, facts: { ...facts } }
    }),
    undelivered: queued.map(undelivered),
    latest: latest.map(({ to, id, event, phase, atMs, kind, status }) => {
      return { to, id, event, phase, at: isoTime(atMs), outcome: kind, status }
    }),
    addresses: addressStandings(c.var.gateway.config, answer.value).map(addressAnswer),
  }
  return c.json(all)
}

function undelivered({ to, message, tries, dueAtMs }: AlertsReply['queued'][number]) {
  const { id, event, phase, atMs, alerts, more } = message
  return {
    ...{ to, id, event, phase, at: isoTime(atMs) },
    subjects: alerts.map(({ subject }) => subject),
    ...{ more, tries, next_try_at: tries === 0 ? null : isoTime(dueAtMs) },
  }
}

function addressAnswer({ sinceMs, untilMs, events, ...standing }: AddressStanding) {
  const times = { since: isoTimeOrNull(sinceMs), until: isoTimeOrNull(untilMs) }
  return { ...standing, events: [...events], ...times }
}

const TEXT = 'Switchyard: this is a test. Alerts reach you here.'

async function test(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, alertTest)
  if (body instanceof Response) return body
  const sent = await sendTest(c, body.name)
  return sent instanceof Response ? sent : c.json(sent)
}

/** Sends a signed test to an address, and notes who had it sent. */
export async function sendTest(c: AdminContext, name: string): Promise<AlertTestAnswer | Response> {
  const { pool, alerts, ports } = c.var.gateway
  if (!alerts.names.includes(name)) return unknownAddress(c)
  const noted = await pool.alerts({ kind: 'tested', to: name, by: c.var.operator })
  if (noted.kind === 'unavailable' || noted.value === null) {
    return unreachable(c, isPerhapsDone(noted))
  }
  const notice = { id: `msg_test_${ports.uniqueId()}`, type: 'test', atMs: ports.nowMs() }
  const report = await alerts.send(name, { ...notice, text: TEXT, data: { name } })
  const delivered = report?.kind === 'delivered'
  return { name, delivered, status: report?.status ?? null }
}

function unknownAddress(c: AdminContext): Response {
  const message = 'ALERTS has no address with that name. GET /admin/api/alerts lists them.'
  const metadata = { fault: 'unknown_address' }
  return errorResponse(c, gatewayError('not_found', message, { metadata }))
}
