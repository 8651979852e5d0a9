import type { LogEntry } from '../simulator/journal.ts'
import type { Key } from '../simulator/world.ts'
import { type Sent, titleOf } from './demo-request.ts'
import { CUT_AFTER_OUTPUT } from './demo-troubles.ts'

/** The result of a run. */
export interface DemoResult {
  readonly requests: number
  readonly streamed: number
  readonly durationMs: number
  readonly answered: number
  /** Upstream attempts for these requests, as the simulator counted them. */
  readonly attempts: number
  /** How many requests were answered although one of their attempts failed. */
  readonly rescued: number
  readonly failures: readonly DemoFailure[]
  /** How long the lease requests took, for all attempts of a request together. */
  readonly acquireMs: { readonly p50: number; readonly p95: number }
  readonly keys: readonly DemoKey[]
  /** Events that should not have happened; empty after a good run. */
  readonly surprises: readonly string[]
}

/** A failure that a client saw. */
export interface DemoFailure {
  readonly number: number
  readonly reason: string
  /** Whether the failure was a stream that was cut after its first output. */
  readonly unavoidable: boolean
}

/** What one key did in a run. */
export interface DemoKey {
  readonly key: string
  readonly account: string
  readonly served: number
  readonly refusals: readonly DemoRefusal[]
  /** The longest pause of the key after a refusal, counted in attempts with other keys. */
  readonly passedOver: number
}

export interface DemoRefusal {
  /** The simulator's name for the error. */
  readonly error: string
  readonly status: number | null
  readonly times: number
  /** The fault that the gateway found, with the row of its table; null if its log is unknown. */
  readonly blamed: string | null
}

export interface DemoRecord {
  readonly sent: readonly Sent[]
  readonly durationMs: number
  /** The keys of the simulator. */
  readonly keys: readonly Pick<Key, 'name' | 'accountId'>[]
  /** The log of the simulator. */
  readonly log: readonly LogEntry[]
  /** The gateway's output; null if the run cannot read it. */
  readonly gatewayLog: string | null
}

/** An upstream attempt with the gateway's verdict on it. */
interface Attempt {
  readonly entry: LogEntry
  readonly blamed: string | null
}

/** Compares what the clients, the simulator and the gateway recorded of one run. */
export function demoResult(record: DemoRecord): DemoResult {
  const { sent, durationMs, log, gatewayLog } = record
  const verdicts = verdictsByRequest(gatewayLog ?? '')
  const attemptsOf = new Map(
    sent.map((request) => [request, attemptsOfRequest(request, log, verdicts)] as const),
  )
  const attempts = [...attemptsOf.values()].flat().toSorted((a, b) => a.entry.seq - b.entry.seq)
  const isRescued = (request: Sent) =>
    request.outcome === 'answered' && (attemptsOf.get(request) ?? []).length > 1
  const failures = sent.flatMap((request) => failureOf(request, attemptsOf.get(request) ?? []))
  const acquireMs = sent.flatMap((request) => request.acquireMs ?? [])
  return {
    requests: sent.length,
    streamed: sent.filter(({ streamed }) => streamed).length,
    durationMs,
    answered: sent.filter(({ outcome }) => outcome === 'answered').length,
    attempts: attempts.length,
    rescued: sent.filter(isRescued).length,
    failures,
    acquireMs: { p50: percentile(acquireMs, 0.5), p95: percentile(acquireMs, 0.95) },
    keys: record.keys.map((key) => keyOf(key, attempts)),
    surprises: [
      ...[...attemptsOf].flatMap(([request, own]) => surprisesOf(request, own)),
      ...warningsIn(gatewayLog ?? ''),
    ],
  }
}

/** What Wrangler warns of; nobody who tries the demo can do anything about it. */
function warningsIn(gatewayLog: string): string[] {
  const warnings = gatewayLog
    .split('\n')
    .filter((line) => /\[WARNING\]|not automatically triggered/.test(line))
  return warnings.map((line) => `Wrangler warns: ${line.trim()}`)
}

function attemptsOfRequest(
  { number, requestId }: Sent,
  log: readonly LogEntry[],
  verdicts: ReadonlyMap<string, readonly (string | null)[]>,
): Attempt[] {
  const own = verdicts.get(requestId ?? '') ?? []
  return log
    .filter(({ headers }) => headers['x-title'] === titleOf(number))
    .map((entry, place) => ({ entry, blamed: own[place] ?? null }))
}

function isUnavoidable({ outcome }: Sent, attempts: readonly Attempt[]): boolean {
  return outcome === 'failed_after_output' && attempts.at(-1)?.entry.fault === CUT_AFTER_OUTPUT
}

function failureOf(request: Sent, attempts: readonly Attempt[]): DemoFailure[] {
  const { number, failure } = request
  if (failure === null) return []
  return [{ number, reason: failure, unavoidable: isUnavoidable(request, attempts) }]
}

/** Where the three records disagree, or a client saw a failure that the gateway should hide. */
function surprisesOf(request: Sent, attempts: readonly Attempt[]): string[] {
  const { number, failure, key } = request
  const surprises: string[] = []
  if (failure !== null && !isUnavoidable(request, attempts)) {
    surprises.push(`request ${number} failed: ${failure}`)
  }
  if (request.attempts !== null && request.attempts !== attempts.length) {
    surprises.push(
      `request ${number}: the header says ${request.attempts} attempts, upstream saw ${attempts.length}`,
    )
  }
  const last = attempts.at(-1)?.entry.key ?? null
  if (key !== null && key !== last) {
    surprises.push(`request ${number}: the header says key ${key}, upstream saw ${last}`)
  }
  if (request.degraded) surprises.push(`request ${number}: the pool could not be reached`)
  return surprises
}

function keyOf({ name, accountId }: DemoRecord['keys'][number], attempts: readonly Attempt[]) {
  const own = attempts.filter(({ entry }) => entry.key === name)
  return {
    key: name,
    account: accountId,
    served: own.filter(({ entry }) => entry.outcome === 'completed').length,
    refusals: refusalsOf(own),
    passedOver: longestRest(name, attempts),
  }
}

function refusalsOf(attempts: readonly Attempt[]): DemoRefusal[] {
  const refused = attempts.filter(({ entry }) => entry.outcome !== 'completed')
  const byError = Map.groupBy(refused, ({ entry }) => entry.error ?? entry.outcome)
  return [...byError].map(([error, alike]) => ({
    error,
    status: alike[0]?.entry.status ?? null,
    times: alike.length,
    blamed: alike.find(({ blamed }) => blamed !== null)?.blamed ?? null,
  }))
}

/** The longest pause after a refusal, to the next attempt or to the end; see `passedOver`. */
function longestRest(key: string, attempts: readonly Attempt[]): number {
  let longest = 0
  let since: number | null = null
  for (const [place, { entry }] of attempts.entries()) {
    if (entry.key !== key) continue
    if (since !== null) longest = Math.max(longest, place - since - 1)
    since = entry.outcome === 'completed' ? null : place
  }
  return since === null ? longest : Math.max(longest, attempts.length - since - 1)
}

/** The nearest-rank percentile: a measured value, without interpolation. */
function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
}

/** The gateway's verdicts on the attempts of each request, in their order, by request id. */
function verdictsByRequest(output: string): Map<string, (string | null)[]> {
  const verdicts = new Map<string, (string | null)[]>()
  for (const line of output.split('\n')) {
    const json = parseJson(line)
    if (!isRecord(json) || json.message !== 'request') continue
    const { request_id, attempts } = json
    if (typeof request_id !== 'string' || !Array.isArray(attempts)) continue
    verdicts.set(
      request_id,
      attempts.map((attempt: unknown) =>
        isRecord(attempt) && typeof attempt.row === 'string'
          ? `${attempt.fault} (row ${attempt.row})`
          : null,
      ),
    )
  }
  return verdicts
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
