import type { CacheOutcome } from '../balancing/accounting/request-row.ts'
import type { ClientId } from '../balancing/ids.ts'
import type { GatewayError } from '../gateway/answers/gateway-error.ts'
import type { JourneyReport } from '../gateway/inference-request.ts'

interface RequestLine {
  readonly requestId: string
  readonly clientId: ClientId
  readonly model: string
  readonly startedAtMs: number
  readonly endedAtMs: number
  readonly report: JourneyReport
  /** Only where the route has a cache, or the answer is durable. */
  readonly cache?: CacheOutcome
}

/**
 * Logs one JSON line per request. The line names keys and clients by their ids. It holds nothing of
 * prompts and answers, since those are private to the caller.
 */
export function logRequest({ report, ...line }: RequestLine): void {
  const { outcome, status, error, attempts, degraded, timings, usage } = report
  write('log', {
    message: 'request',
    request_id: line.requestId,
    client: line.clientId,
    model: line.model,
    outcome,
    status,
    ...(error === null ? {} : reasonsOf(error)),
    attempts,
    ...(line.cache === undefined ? {} : { cache: line.cache }),
    ...(degraded ? { degraded: 'pool' } : {}),
    duration_ms: line.endedAtMs - line.startedAtMs,
    timings_ms: timings,
    ...(usage === null ? {} : { usage }),
  })
}

interface AnswerLine {
  readonly requestId: string
  /** Undefined if the client is not known. */
  readonly clientId: ClientId | undefined
  /** By what an operator signed in; undefined outside of the admin API. */
  readonly operator: string | undefined
  readonly method: string
  readonly path: string
  readonly status: number
  readonly error: GatewayError | null
}

/** More of a path says nothing to an operator, and a caller must not fill the log. */
const MAX_PATH_LENGTH = 100

/** Somebody who mistakes a key of OpenRouter, or a token of a client, for its name. */
const SECRET_IN_PATH = /(sk-or-|\/sy-(?=[0-9a-f]{16}))[^/]*/g

/** Logs a request that had no journey: one that was refused, or that only asked for a list. */
export function logAnswer({ error, ...line }: AnswerLine): void {
  write('log', {
    message: 'request',
    request_id: line.requestId,
    ...(line.clientId === undefined ? {} : { client: line.clientId }),
    ...(line.operator === undefined ? {} : { operator: line.operator }),
    method: line.method.slice(0, MAX_PATH_LENGTH),
    path: line.path.slice(0, MAX_PATH_LENGTH).replaceAll(SECRET_IN_PATH, '$1…'),
    outcome: error === null ? 'answered' : 'refused',
    status: line.status,
    ...(error === null ? {} : reasonsOf(error)),
  })
}

/**
 * Why the gateway gave its own error: with the reasons counted if no key could serve, and with whose
 * limit it was if a client was over one.
 */
function reasonsOf({ reason, metadata }: GatewayError) {
  const { reasons, limited, limit, period } = metadata
  const quota =
    limited === undefined
      ? {}
      : {
          limited,
          limit: reason === 'client_rate_limited' ? limit : 'budget',
          ...(period === undefined ? {} : { period }),
        }
  return { reason, ...(reasons === undefined ? {} : { reasons }), ...quota }
}

/** Logs every fault of a configuration, by field. A message about a secret holds no part of it. */
export function logFaults(faults: readonly string[]): void {
  write('error', { message: 'gateway_misconfigured', faults })
}

/** Logs the one alert that the pool's object cannot log: that it does not answer. */
export function logPoolDegraded(phase: 'begin' | 'end', sinceMs: number): void {
  const line = { message: 'pool_degraded', alert: phase, began_at: new Date(sinceMs).toISOString() }
  write(phase === 'begin' ? 'error' : 'log', line)
}

/** What the log tells of a batch that has ended. */
interface BatchEnd {
  readonly id: string
  readonly clientId: string
  readonly status: string
  readonly total: number
  readonly repeated: number
  readonly rerun?: number
}

/** Logs that a batch has ended, and what its lines came to. */
export function logBatchEnd(
  { id, clientId, status, total, repeated, rerun = 0 }: BatchEnd,
  tally: { readonly completed: number; readonly failed: number; readonly dead: number },
): void {
  const { completed, failed, dead } = tally
  const counts = { total, completed, failed, dead, repeated, rerun }
  write('log', { message: 'batch_ended', batch: id, client: clientId, status, ...counts })
}

/** Logs a bug. Its stack goes to the operator and never to the caller. */
export function logBug(requestId: string | undefined, error: unknown): void {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  write('error', { message: 'internal_error', request_id: requestId, stack })
}

function write(level: 'log' | 'error', line: Readonly<Record<string, unknown>>): void {
  console[level](JSON.stringify(line))
}
