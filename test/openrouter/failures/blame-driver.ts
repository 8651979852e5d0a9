import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { type Blame, blame, type SpillPolicy } from '../../../src/openrouter/failures/blame.ts'
import {
  readError,
  type UpstreamFailure,
} from '../../../src/openrouter/failures/upstream-failure.ts'

/** A Saturday. */
export const NOW = Date.parse('2026-11-21T10:20:30.500Z')
export const MINUTE_END = Date.parse('2026-11-21T10:21:00.000Z')
export const MIDNIGHT = Date.parse('2026-11-22T00:00:00.000Z')
export const DAY_MS = 24 * 60 * 60 * 1000

/** The default: an operator allows no move to another account. */
export const STRICT: SpillPolicy = { freeTier: false, policy: false }

export function answered(
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
  spill: SpillPolicy = STRICT,
): Blame {
  const failure: UpstreamFailure = {
    kind: 'response',
    status,
    headers: new Headers(headers),
    error: readError(body, status),
  }
  return blame(failure, { nowMs: NOW, spill })
}

export function refused(
  status: number,
  message: string,
  metadata?: Record<string, unknown>,
  headers: Record<string, string> = {},
  spill: SpillPolicy = STRICT,
): Blame {
  const error = { code: status, message, ...(metadata === undefined ? {} : { metadata }) }
  return answered(status, { error, user_id: 'user_2b' }, headers, spill)
}

export const bench = (
  scope: BenchOrder['scope'],
  reason: BenchOrder['reason'],
  term: BenchOrder['term'],
  detail?: BenchOrder['detail'],
): readonly BenchOrder[] => [{ scope, reason, term, ...(detail === undefined ? {} : { detail }) }]

export const until = (untilMs: number): BenchOrder['term'] => ({ kind: 'until', untilMs })
export const MINUTE: BenchOrder['term'] = { kind: 'for', forMs: 60_000 }
export const BACKOFF: BenchOrder['term'] = { kind: 'backoff', baseMs: 1000, maxMs: 60_000 }
export const BUDGET: BenchOrder['term'] = { kind: 'for', forMs: 300_000 }
export const LOOKUP: BenchOrder['term'] = { kind: 'lookup', lapseMs: null }
