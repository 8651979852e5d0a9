import type { HonoBase } from 'hono/hono-base'
import { dateOf, type UsageBy } from '../../balancing/accounting/day-usage.ts'
import { dayOf } from '../../balancing/accounting/ledger.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import type { UsageQuery, UsageReply } from '../../key-pool/history/history-protocol.ts'
import { type AdminContext, invalid, queryOf, unreachable } from '../admin-request.ts'
import { csvHead, csvLine, requestAnswer, usageRowAnswer } from './history-answers.ts'
import { MAX_DAYS, requestsQuery, usageQuery } from './history-schemas.ts'

/** `requests` and `usage` of the admin API: what became of a request, and what the days have cost. */
export function historyRoutes(routes: HonoBase<HttpEnvironment>): void {
  routes.get('/requests', requests)
  routes.get('/usage', usage)
}

const DEFAULT_LIMIT = 50

async function requests(c: AdminContext): Promise<Response> {
  const query = queryOf(c, requestsQuery)
  if (query instanceof Response) return query
  const { limit = DEFAULT_LIMIT, client: clientId, key: keyId, since: sinceMs, ...rest } = query
  const answer = await c.var.gateway.pool.requests({ limit, clientId, keyId, sinceMs, ...rest })
  if (answer.kind === 'unavailable') return unreachable(c)
  return c.json({ requests: answer.value.requests.map(requestAnswer) })
}

async function usage(c: AdminContext): Promise<Response> {
  const query = queryOf(c, usageQuery)
  if (query instanceof Response) return query
  const today = dayOf(c.var.gateway.ports.nowMs())
  const { to: lastDay = today, by = 'client', format = 'json' } = query
  const { from: firstDay = lastDay } = query
  if (firstDay > lastDay) return invalid(c, 'query.from: must not be after query.to')
  if (lastDay - firstDay >= MAX_DAYS) {
    return invalid(c, `query.from: the days from it to query.to must be ${MAX_DAYS} at most`)
  }
  const first = await c.var.gateway.pool.usage({ by, firstDay, lastDay })
  if (first.kind === 'unavailable') return unreachable(c)
  const asked = { by, firstDay, lastDay }
  const text = format === 'csv' ? csvOf(by) : jsonOf(asked)
  const name = `usage-by-${by}-${dateOf(firstDay)}-${dateOf(lastDay)}.csv`
  const headers =
    format === 'csv'
      ? {
          'content-type': 'text/csv; charset=utf-8; header=present',
          'content-disposition': `attachment; filename="${name}"`,
        }
      : { 'content-type': 'application/json' }
  return c.body(streamOf(c, asked, first.value, text), { headers })
}

/** How the text of an answer begins, goes on and ends. */
interface UsageText {
  readonly head: string
  row(row: UsageReply['rows'][number], isFirst: boolean): string
  readonly tail: string
}

const csvOf = (by: UsageBy): UsageText => {
  return { head: csvHead(by), row: (row) => csvLine(usageRowAnswer(row)), tail: '' }
}

function jsonOf({ by, firstDay, lastDay }: UsageQuery): UsageText {
  const about = JSON.stringify({ by, from: dateOf(firstDay), to: dateOf(lastDay) })
  return {
    head: `${about.slice(0, -1)},"rows":[`,
    row: (row, isFirst) => `${isFirst ? '' : ','}${JSON.stringify(usageRowAnswer(row))}`,
    tail: ']}',
  }
}

/** A year of a large pool is more than an isolate should hold: it is read as the operator takes it. */
function streamOf(
  c: AdminContext,
  query: UsageQuery,
  first: UsageReply,
  text: UsageText,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let reply = first
  let isFirst = true
  return new ReadableStream({
    async pull(controller) {
      const parts = isFirst ? [text.head] : []
      for (const [at, row] of reply.rows.entries()) parts.push(text.row(row, isFirst && at === 0))
      const { nextDay } = reply
      isFirst = false
      if (nextDay === null) parts.push(text.tail)
      controller.enqueue(encoder.encode(parts.join('')))
      if (nextDay === null) return controller.close()
      const next = await c.var.gateway.pool.usage({ ...query, firstDay: nextDay })
      if (next.kind === 'unavailable') controller.error(new Error('The pool does not answer'))
      else reply = next.value
    },
  })
}
