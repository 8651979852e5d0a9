import type { EnterSpan } from './spans.ts'

/**
 * Clock, timers, randomness and network, as parameters. A simulation can then run the shipped
 * code on virtual time and a scripted network.
 */
export interface Ports {
  fetch(url: string, init: RequestInit): Promise<Response>
  nowMs(): number
  random(): number
  /** Calls back once after `ms`. The returned function cancels the timer. */
  timer(ms: number, callback: () => void): () => void
  /** A globally unique name. */
  uniqueId(): string
  /** Absent where nothing is traced. */
  readonly span?: EnterSpan
}

/** Waits for `ms`. An abort of the signal ends the wait early, without an error. */
export function sleep(ports: Ports, ms: number, signal: AbortSignal | null = null): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const cancel = ports.timer(ms, done)
    signal?.addEventListener('abort', done)
  })
}

/**
 * The result of work that may hang, or null once `ms` have passed. The work itself goes on: nothing
 * ends a call to KV. It must not reject.
 */
export async function withinTime<T>(
  { timer }: Pick<Ports, 'timer'>,
  ms: number,
  work: Promise<T>,
): Promise<T | null> {
  const { promise, resolve } = Promise.withResolvers<null>()
  const cancel = timer(ms, () => resolve(null))
  try {
    return await Promise.race([work, promise])
  } finally {
    cancel()
  }
}
