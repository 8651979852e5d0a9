import type { Connection } from './connection.ts'

/** What came of a load of whole answers. */
export interface LoadResult {
  readonly requests: number
  readonly failures: number
  /** Why one of them failed; null where none did. */
  readonly failure: string | null
  readonly elapsedMs: number
  /** Of each request, in milliseconds, from its first byte sent to the last one of its answer. */
  readonly latenciesMs: number[]
}

/** Sends requests in their order and over again. Where one run stops, the next goes on. */
export class RequestCycle {
  readonly #requests: readonly (readonly Buffer[])[]
  #next = 0

  constructor(requests: readonly (readonly Buffer[])[]) {
    this.#requests = requests
  }

  next(): readonly Buffer[] {
    const request = this.#requests[this.#next] ?? []
    this.#next = (this.#next + 1) % this.#requests.length
    return request
  }
}

/** Keeps each connection busy with one request after another, for so many milliseconds. */
export async function runClosedLoop(
  connections: readonly Connection[],
  requests: RequestCycle,
  durationMs: number,
): Promise<LoadResult> {
  const latenciesMs: number[] = []
  let failures = 0
  let failure: string | null = null
  const beganMs = performance.now()
  const deadlineMs = beganMs + durationMs
  const work = async (connection: Connection): Promise<void> => {
    for (let sentMs = beganMs; sentMs < deadlineMs; ) {
      const { status, excerpt } = await connection.send(requests.next())
      const nowMs = performance.now()
      latenciesMs.push(nowMs - sentMs)
      sentMs = nowMs
      if (status === 200) continue
      failures += 1
      failure = `${status} ${excerpt}`
    }
  }
  await Promise.all(connections.map(work))
  const elapsedMs = performance.now() - beganMs
  return { requests: latenciesMs.length, failures, failure, elapsedMs, latenciesMs }
}

/**
 * Sends requests at a steady rate, each on whichever connection is free; one that finds none waits,
 * and those after it with it.
 * @param everyMs between two of them, in milliseconds
 * @param onSend told of each
 */
export async function runSteadily(
  connections: readonly Connection[],
  requests: RequestCycle,
  everyMs: number,
  durationMs: number,
  onSend: () => void,
): Promise<Pick<LoadResult, 'requests' | 'failures' | 'failure'>> {
  const free = [...connections]
  const pending = new Set<Promise<void>>()
  let sent = 0
  let failures = 0
  let failure: string | null = null
  const send = async (connection: Connection): Promise<void> => {
    sent += 1
    onSend()
    const { status, excerpt } = await connection.send(requests.next())
    free.push(connection)
    if (status === 200) return
    failures += 1
    failure = `${status} ${excerpt}`
  }
  const beganMs = performance.now()
  for (let due = 0; due * everyMs < durationMs; due++) {
    const waitMs = beganMs + due * everyMs - performance.now()
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    while (free.length === 0) await Promise.race(pending)
    const connection = free.shift()
    if (connection === undefined) continue
    const work = send(connection).finally(() => pending.delete(work))
    pending.add(work)
  }
  await Promise.all(pending)
  return { requests: sent, failures, failure }
}
