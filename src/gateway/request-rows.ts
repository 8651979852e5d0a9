import type { AttemptRow, CacheOutcome, RequestRow } from '../balancing/accounting/request-row.ts'
import type { Caller } from '../balancing/clients/caller.ts'
import { isOfBatch } from '../balancing/lease-request.ts'
import type { GatewayError } from './answers/gateway-error.ts'
import type { AttemptNote, AttemptTimes } from './attempts/attempt-history.ts'
import type { InferenceRequest, JourneyReport } from './inference-request.ts'

/** More of a name says nothing to an operator, and a caller must not fill the object's memory. */
const MAX_NAME_LENGTH = 120

/** Of more attempts the first and the last ones tell the story. */
const MAX_ATTEMPTS = 5

/** Somebody who mistakes a key of OpenRouter, or a token of a client, for a model's name. */
const SECRET = /(sk-or-|sy-(?=[0-9a-f]{16}))[\w-]*/g

/** A name that a caller has chosen, as it may be shown. */
export function shownName(name: string): string {
  return name.slice(0, MAX_NAME_LENGTH).replaceAll(SECRET, '$1…')
}

const NO_TIMINGS = { auth: 0, acquire: 0, wait: 0 }

/** The row of a request that had a journey. It says what the request's line in the log says. */
export function rowOfJourney(
  { requestId, shape, routeIndex, asked, caller, startedAtMs, cache }: InferenceRequest,
  report: JourneyReport,
  endedAtMs: number,
): RequestRow {
  const { attempts, times, timings, error, outcome, status, degraded, usage, streamed } = report
  const { auth, acquire, wait } = timings
  const rows = attempts.map((note, at) => attemptRow(note, times[at], { startedAtMs, endedAtMs }))
  const last = rows.at(-1)
  return {
    ...whoOf(caller),
    id: requestId,
    path: shownName(shape.path),
    route: routeIndex,
    asked: shownName(asked),
    sent: last?.model ?? null,
    outcome,
    cache: cache ?? null,
    status,
    ...reasonOf(error),
    streamed,
    degraded,
    attempts:
      rows.length > MAX_ATTEMPTS ? [...rows.slice(0, 1), ...rows.slice(1 - MAX_ATTEMPTS)] : rows,
    attemptsLeftOut: Math.max(0, rows.length - MAX_ATTEMPTS),
    timingsMs: { auth, acquire, wait },
    usage,
    startedAtMs,
    endedAtMs,
  }
}

/**
 * A line of a batch that found no room has not ended: it comes again. Some hundred of them in a second
 * would leave operators no other request to see, and count as failures that nobody has had.
 */
export function isPutOff(
  request: Pick<InferenceRequest, 'class'>,
  { attempts, error }: Pick<JourneyReport, 'attempts' | 'error'>,
): boolean {
  if (!isOfBatch(request) || attempts.length > 0 || error === null) return false
  return error.retryAfterMs !== null || NO_ROOM.has(error.reason)
}

const NO_ROOM: ReadonlySet<string> = new Set(['no_key_available', 'pool_unavailable'])

/** A request that got the answer of another. */
export interface GivenRequest {
  readonly requestId: string
  readonly caller: Caller
  readonly path: string
  readonly route: number | null
  readonly asked: string
  readonly startedAtMs: number
}

/** The row of a request that made no upstream call. */
export function rowOfGiven(
  { requestId, caller, path, route, asked, startedAtMs }: GivenRequest,
  cache: CacheOutcome,
  { outcome, status, error, streamed, timings }: JourneyReport,
  endedAtMs: number,
): RequestRow {
  return {
    ...{ ...whoOf(caller), id: requestId, path: shownName(path), route, asked: shownName(asked) },
    ...{ sent: null, outcome, cache, status, ...reasonOf(error), streamed, degraded: false },
    ...{ attempts: [], attemptsLeftOut: 0, usage: null, startedAtMs, endedAtMs },
    timingsMs: { auth: timings.auth, acquire: 0, wait: 0 },
  }
}

/** A request that was refused before its journey began. */
export interface RefusedRequest {
  readonly requestId: string
  readonly caller: Caller
  readonly path: string
  readonly error: GatewayError
  readonly startedAtMs: number
}

export function rowOfRefusal(
  { requestId, caller, path, error, startedAtMs }: RefusedRequest,
  endedAtMs: number,
): RequestRow {
  const { model } = error.metadata
  return {
    ...whoOf(caller),
    id: requestId,
    path: shownName(path),
    route: null,
    asked: typeof model === 'string' ? shownName(model) : null,
    sent: null,
    outcome: 'refused',
    cache: null,
    status: error.status,
    ...reasonOf(error),
    streamed: false,
    degraded: false,
    attempts: [],
    attemptsLeftOut: 0,
    timingsMs: NO_TIMINGS,
    usage: null,
    startedAtMs,
    endedAtMs,
  }
}

const whoOf = ({ id, groupId = null }: Caller) => ({ clientId: id, groupId })

function reasonOf(error: GatewayError | null): Pick<RequestRow, 'reason' | 'reasons'> {
  const reasons = error?.metadata.reasons
  return {
    reason: error?.reason ?? null,
    reasons: typeof reasons === 'object' ? Object.fromEntries(Object.entries(reasons)) : {},
  }
}

function attemptRow(
  { key, model, status, row, fault, why }: Readonly<AttemptNote>,
  times: Readonly<AttemptTimes> | undefined,
  { startedAtMs, endedAtMs }: Pick<RequestRow, 'startedAtMs' | 'endedAtMs'>,
): AttemptRow {
  const beganAtMs = times?.beganAtMs ?? startedAtMs
  return {
    ...{ key, model: shownName(model), status, row, fault, why: why && shownName(why) },
    beganMs: beganAtMs - startedAtMs,
    waitedMs: times?.waitedMs ?? 0,
    tookMs: times?.tookMs ?? endedAtMs - beganAtMs,
    firstOutputMs: times?.firstOutputMs ?? null,
  }
}
