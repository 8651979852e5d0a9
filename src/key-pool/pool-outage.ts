import type { PoolAnswer, PoolClient } from './pool-client.ts'

/** A call that failed after this long met silence. An object that refuses says so at once. */
const SILENCE_MS = 1_500

/**
 * How long the isolate waits before it asks a failing object again, and the same doubled after each
 * further failure. After the first it does not wait: one answer may be lost and no more.
 */
const PAUSE_MS = 500
const MAX_PAUSE_MS = 5_000

/** After this long a call counts as dead: the platform may end the request that made it. */
const CALL_LASTS_MS = 3_000

/** The call was not made, since the object does not answer other requests of this isolate. */
const UNASKED = { kind: 'unavailable', unasked: true } as const

/**
 * Keeps an object that does not answer from costing every request two seconds. After a call that met
 * silence, or after two that broke, one request at a time asks again, at growing intervals. Every
 * other call is `unavailable` at once.
 *
 * Made once for an isolate. One broken call proves nothing: a restart breaks all running calls once.
 */
export function withOutage(pool: PoolClient, nowMs: () => number): PoolClient {
  const outage = createOutage()

  const ask = async <T>(call: () => Promise<PoolAnswer<T>>): Promise<PoolAnswer<T>> => {
    const turn = outage.begin(nowMs())
    if (turn === null) return UNASKED
    const answer = await call()
    outage.end(turn, answer.kind === 'answer', nowMs())
    return answer
  }
  return {
    exchange: (request) => ask(() => pool.exchange(request)),
    whenDecided: (leaseId) => ask(() => pool.whenDecided(leaseId)),
    explain: (question) => ask(() => pool.explain(question)),
    spending: (clientId) => ask(() => pool.spending(clientId)),
    keyForGeneration: (id, clientId) => ask(() => pool.keyForGeneration(id, clientId)),
    snapshot: () => ask(() => pool.snapshot()),
    requests: (query) => ask(() => pool.requests(query)),
    history: (query) => ask(() => pool.history(query)),
    usage: (query) => ask(() => pool.usage(query)),
    readings: () => ask(() => pool.readings()),
    health: () => ask(() => pool.health()),
    duties: (request) => ask(() => pool.duties(request)),
    clientDirectory: (known) => ask(() => pool.clientDirectory(known)),
    manageClients: (request) => ask(() => pool.manageClients(request)),
    control: (request) => ask(() => pool.control(request)),
    overview: () => ask(() => pool.overview()),
    audit: () => ask(() => pool.audit()),
    alerts: (request) => ask(() => pool.alerts(request)),
    quotas: (id) => ask(() => pool.quotas(id)),
  }
}

/** One call, and its number among the calls of the isolate. */
interface Turn {
  readonly number: number
  readonly beganMs: number
}

function createOutage() {
  let calls = 0
  /** How often the object failed in turn. From the second failure on there is an outage. */
  let failures = 0
  /** Calls with a lower number began before the last failure, and prove nothing new. */
  let newsFrom = 0
  let askAgainAtMs = 0
  let asking: Turn | null = null

  return {
    /** Null if the call must not be made. */
    begin(nowMs: number): Turn | null {
      const turn = { number: calls, beganMs: nowMs }
      if (failures > 1) {
        const isAsking = asking !== null && nowMs - asking.beganMs < CALL_LASTS_MS
        if (isAsking || nowMs < askAgainAtMs) return null
        asking = turn
      }
      calls += 1
      return turn
    },
    end(turn: Turn, isAnswer: boolean, nowMs: number): void {
      if (turn.number === asking?.number) asking = null
      if (isAnswer) {
        failures = 0
        return
      }
      if (failures > 0 && turn.number < newsFrom) return
      const isSilent = nowMs - turn.beganMs >= SILENCE_MS
      failures = Math.max(failures + 1, isSilent ? 2 : 1)
      newsFrom = calls
      const pauseMs = failures > 2 ? Math.min(PAUSE_MS * 2 ** (failures - 3), MAX_PAUSE_MS) : 0
      askAgainAtMs = nowMs + pauseMs
    },
  }
}
