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
 * Logs one JSON line per request. The line names keys and clients by their ids. It holds nothing of
 * prompts and answers, since those are private to the caller.
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

/** Logs every fault of a configuration, by field. A message about a secret holds no part of it. */
export function logFaults(faults: readonly string[]): void {
  write('error', { message: 'gateway_misconfigured', faults })
}

/** Logs that a key expires soon. OpenRouter will refuse it from then on. */
export function logExpiry(key: KeyId, expiresAtMs: number): void {
  write('error', {
    message: 'key_expires_soon',
    key,
    expires_at: new Date(expiresAtMs).toISOString(),
  })
}

/** Logs a bug. Its stack goes to the operator and never to the caller. */
export function logBug(requestId: string | undefined, error: unknown): void {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  write('error', { message: 'internal_error', request_id: requestId, stack })
}

function write(level: 'log' | 'error', line: Readonly<Record<string, unknown>>): void {
  console[level](JSON.stringify(line))
}
