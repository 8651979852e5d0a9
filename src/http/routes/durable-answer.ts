import type { Context } from 'hono'
import { readEventId } from '../../flight/event-ids.ts'
import { poolUnavailable } from '../../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { ANSWER_GONE } from '../flights/seat-taking.ts'

/**
 * `GET switchyard/answers/{request id}`: a durable answer of this client, as it was given. It ends where
 * the answer ends, and begins after `Last-Event-ID`.
 */
export async function durableAnswerById(c: Context<HttpEnvironment>): Promise<Response> {
  const { gateway, clientId } = c.var
  const { answerKeys, flights } = gateway
  const id = c.req.param('id') ?? ''
  const after = readEventId(c.req.header('last-event-id') ?? null)
  const owner = await answerKeys.ofClient(clientId)
  const reply = await flights.fetchAnswer(owner, id, after?.answerId === id ? after : null)
  switch (reply?.kind) {
    case undefined:
      return errorResponse(
        c,
        poolUnavailable('This gateway cannot look the answer up now. Try again.'),
      )
    case 'gone':
      return errorResponse(c, ANSWER_GONE)
    case 'running':
      return c.json({ id, object: 'switchyard.answer', status: 'running' }, 202, {
        'retry-after': '1',
      })
    case 'kept': {
      const { status, headers } = reply.head
      return new Response(reply.body, { status, headers: { ...headers } })
    }
  }
}
