import type { ClientId, KeyId } from '../balancing/ids.ts'
import type { JourneyReport } from '../gateway/inference-request.ts'

interface RequestLine {
  readonly requestId: string
  readonly clientId: ClientId
  readonly model: string
  readonly startedAtMs: number
  readonly endedAtMs: number
  readonly report: JourneyReport
}

/**
 * One JSON line per request. It names keys and clients by their ids and holds
 * nothing of what was said: prompts and answers are the caller's business.
 */
export function logRequest({ report, ...line }: RequestLine): void {
  const { outcome, attempts, degraded, timings, usage } = report
  write('log', {
    message: 'request',
    request_id: line.requestId,
    client: line.clientId,
    model: line.model,
    outcome,
    attempts,
    ...(degraded ? { degraded: 'pool' } : {}),
    duration_ms: line.endedAtMs - line.startedAtMs,
    timings_ms: timings,
    ...(usage === null ? {} : { usage }),
  })
}

/** Every fault of a configuration, by field. Messages about secrets hold no part of them. */
export function logFaults(faults: readonly string[]): void {
  write('error', { message: 'gateway_misconfigured', faults })
}

/** A key that OpenRouter will soon refuse, because its time is over. */
export function logExpiry(key: KeyId, expiresAtMs: number): void {
  write('error', {
    message: 'key_expires_soon',
    key,
    expires_at: new Date(expiresAtMs).toISOString(),
  })
}

/** A bug. Its stack goes to the operator and never to the caller. */
export function logBug(requestId: string | undefined, error: unknown): void {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  write('error', { message: 'internal_error', request_id: requestId, stack })
}

function write(level: 'log' | 'error', line: Readonly<Record<string, unknown>>): void {
  console[level](JSON.stringify(line))
}
