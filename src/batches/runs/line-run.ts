import type { Caller } from '../../balancing/clients/caller.ts'
import { clientId } from '../../balancing/ids.ts'
import { answerOf, type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { JourneyReport } from '../../gateway/inference-request.ts'
import { startJourney } from '../../gateway/journey.ts'
import { withOneTimer } from '../../gateway/one-timer.ts'
import type { Ports } from '../../gateway/ports.ts'
import { callerOfClient } from '../../http/authenticate.ts'
import { type Gateway, journeyContextOf } from '../../http/composition-root.ts'
import { logBug, logRequest } from '../../http/log.ts'
import { type PlannedBody, planBody } from '../../http/request-plan.ts'
import { overloaded } from '../../http/upload.ts'
import { joinPieces } from '../../openrouter/pieces.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import type { BatchLine } from '../files/batch-lines.ts'
import type { LineResult, LineUsage } from '../progress/batch-rows.ts'
import { type LineAnswer, type LineError, NO_USAGE, resultLine } from '../progress/result-line.ts'
import type { LineEnd } from './verdict.ts'

/** Whose lines run, and what they are. */
export interface LineContext {
  /** Its lookups wait for their turn. */
  readonly gateway: Gateway
  /** For the journeys, whose calls wait for theirs. */
  readonly ports: Ports
  readonly shape: ApiShape
  readonly client: string
  readonly requestIdOf: (line: number) => string
  readonly background: (work: Promise<unknown>) => void
}

export type EndOfLine = LineEnd & { readonly result: (isGood: boolean) => LineResult }

/** A longer answer fits into no result. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024

const TOO_LONG: LineError = {
  code: 'answer_too_large',
  message: `The answer has more than ${MAX_ANSWER_BYTES} bytes.`,
}

const JSON_HEADERS = { 'content-type': 'application/json' }

/**
 * Runs the request of one line: who its client is now, what it may, and the ordinary journey. Never
 * rejects.
 */
export async function runLine(context: LineContext, line: BatchLine): Promise<EndOfLine> {
  const { gateway, client, background } = context
  const held = gateway.memory.open()
  try {
    const caller = await callerOfClient(gateway, clientId(client), background)
    if (caller === 'unreachable') return failed(context, line, UNREACHABLE)
    if (caller === null) return failed(context, line, REVOKED)
    if (!held.grow(line.body.length)) return failed(context, line, overloaded())
    const headers = new Headers(JSON_HEADERS)
    const planned = await planBody(gateway, {
      ...{ shape: context.shape, bytes: line.body, held, headers, caller, background },
    })
    if (!planned.ok) return failed(context, line, planned.error)
    return await travel(context, line, { ...planned, caller, headers })
  } catch (bug) {
    logBug(context.requestIdOf(line.line), bug)
    return failed(context, line, gatewayError('internal_error', 'The gateway failed.'))
  } finally {
    held.release()
  }
}

const UNREACHABLE: GatewayError = gatewayError(
  'pool_unavailable',
  'This gateway cannot check whether the client may call.',
)
const REVOKED: GatewayError = gatewayError(
  'unauthorized',
  'The client key of this batch is not valid any more.',
)

async function travel(
  context: LineContext,
  line: BatchLine,
  {
    plan,
    caller,
    headers,
  }: Extract<PlannedBody, { ok: true }> & {
    readonly caller: Caller
    readonly headers: Headers
  },
): Promise<EndOfLine> {
  const { gateway, shape, background, requestIdOf } = context
  const { model, route, ...rest } = plan
  const ports = withOneTimer(context.ports)
  const startedAtMs = ports.nowMs()
  const held = gateway.memory.open()
  const leave = new AbortController()
  const requestId = requestIdOf(line.line)
  const journey = startJourney(journeyContextOf(gateway, ports, background), {
    ...rest,
    class: 'batch',
    requestId,
    ...{ held, shape, caller, headers, startedAtMs, authMs: 0, search: '', signal: leave.signal },
    ...{ timeouts: route.timeouts, maxAttempts: route.maxAttempts, routeKeys: route.keys },
  })
  try {
    const response = await journey.response
    const body = await readAnswer(response)
    if (body === null) leave.abort()
    const report = await journey.finished
    if (report.bug !== null) logBug(requestId, report.bug)
    const about = { requestId, clientId: caller.id, model, startedAtMs }
    logRequest({ ...about, report, endedAtMs: ports.nowMs() })
    return answered(context, line, { response, body, report })
  } finally {
    held.release()
  }
}

/** The whole answer; null if it is too long to be kept. */
async function readAnswer({ body }: Response): Promise<Uint8Array | null> {
  if (body === null) return new Uint8Array(0)
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of body) {
    length += piece.length
    if (length > MAX_ANSWER_BYTES) return null
    pieces.push(piece)
  }
  return joinPieces(pieces)
}

interface Answer {
  readonly response: Response
  readonly body: Uint8Array | null
  readonly report: JourneyReport
}

function answered(
  context: LineContext,
  line: BatchLine,
  { response, body, report }: Answer,
): EndOfLine {
  // An answer that broke off shows itself in the report alone.
  const isBroken = report.outcome !== 'answered' && response.ok
  const status = isBroken ? (report.status ?? 502) : response.status
  return {
    status: isBroken && status < 400 ? 502 : status,
    error: report.error,
    retryAfterMs: secondsOf(response.headers.get('retry-after')),
    result: (isGood) => ({
      outcome: isGood && body !== null ? 'completed' : 'failed',
      text: textOf(context, line, body === null ? TOO_LONG : { status: response.status, body }),
      usage: usageOf(report),
    }),
  }
}

/** A wait in whole seconds, as the gateway passes it on, in milliseconds. */
function secondsOf(text: string | null): number | null {
  return text !== null && /^\d{1,6}$/.test(text) ? Number(text) * 1000 : null
}

function failed(context: LineContext, line: BatchLine, error: GatewayError): EndOfLine {
  const { status, body } = answerOf(error, context.shape)
  const answer = { status, body: new TextEncoder().encode(body) }
  return {
    ...{ status, error, retryAfterMs: null },
    result: () => ({ outcome: 'failed', text: textOf(context, line, answer), usage: NO_USAGE }),
  }
}

function textOf(
  { requestIdOf }: LineContext,
  { line, customId }: BatchLine,
  result: LineAnswer | LineError,
): Uint8Array {
  return resultLine({ requestId: requestIdOf(line), customId }, result)
}

function usageOf({ usage }: JourneyReport): LineUsage {
  if (usage === null) return NO_USAGE
  const { promptTokens, cachedTokens, completionTokens, reasoningTokens, costUsd } = usage
  return { promptTokens, cachedTokens, completionTokens, reasoningTokens, costUsd }
}
