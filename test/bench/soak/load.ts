import type { RequestCycle } from '../load/closed-loop.ts'
import type { Connection } from '../load/connection.ts'
import { LEAVERS_REQUESTS, SOAK_TOKEN } from './world.ts'

/** What the clients have seen so far. */
export interface Load {
  requests: number
  /** Answers by their status. */
  statuses: Record<string, number>
  /** Connections that the gateway closed under a request. A client would send it again. */
  broken: number
  /** Requests whose client went before the answer was whole. */
  left: number
}

export const noLoad = (): Load => ({ requests: 0, statuses: {}, broken: 0, left: 0 })

/** What has come since then. */
export function since(now: Load, before: Load): Load {
  const statuses = Object.entries(now.statuses).map(
    ([status, count]) => [status, count - (before.statuses[status] ?? 0)] as const,
  )
  return {
    requests: now.requests - before.requests,
    statuses: Object.fromEntries(statuses),
    broken: now.broken - before.broken,
    left: now.left - before.left,
  }
}

export function inWords({ requests, statuses, broken, left }: Load): string {
  const counts = Object.entries(statuses).map(([status, count]) => `${count} × ${status}`)
  return `${requests} requests: ${[...counts, `${broken} broken`, `${left} left`].join(', ')}`
}

/** Keeps a connection busy, and opens it again where it broke. */
export async function stay(
  connection: Connection,
  requests: RequestCycle,
  untilMs: number,
  load: Load,
): Promise<void> {
  while (performance.now() < untilMs) await ask(connection, requests, load)
}

async function ask(connection: Connection, requests: RequestCycle, load: Load): Promise<void> {
  load.requests += 1
  const answer = await connection.send(requests.next()).catch(() => null)
  if (answer === null) load.broken += 1
  else count(load, answer.status)
}

function count({ statuses }: Load, status: number): void {
  statuses[status] = (statuses[status] ?? 0) + 1
}

const MAX_STAY_MS = 150

/**
 * A client that goes before its answer is whole, again and again. In between it waits for a whole
 * answer: a client that only leaves sends faster than a busy machine serves, and everybody else waits.
 */
export async function leave(
  origin: string,
  connection: Connection,
  requests: RequestCycle,
  untilMs: number,
  load: Load,
): Promise<void> {
  for (let i = 0; performance.now() < untilMs; i += 1) {
    const { path, body } = LEAVERS_REQUESTS[i % LEAVERS_REQUESTS.length] ?? { path: '', body: '' }
    const headers = { authorization: `Bearer ${SOAK_TOKEN}`, 'content-type': 'application/json' }
    const signal = AbortSignal.timeout(1 + Math.floor(Math.random() * MAX_STAY_MS))
    load.requests += 1
    try {
      const response = await fetch(`${origin}/api/v1${path}`, {
        method: 'POST',
        headers,
        body,
        signal,
      })
      await response.arrayBuffer()
      count(load, response.status)
    } catch {
      load.left += 1
    }
    await ask(connection, requests, load)
  }
}
