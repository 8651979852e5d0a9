/**
 * The world, as the gateway's shells see it. Everything that is not a decision
 * comes in through here, so that a simulation can run the shipped code on
 * virtual time and a made-up network.
 */
export interface Ports {
  fetch(url: string, init: RequestInit): Promise<Response>
  nowMs(): number
  random(): number
  /** Calls back once after `ms`; the returned function takes that back. */
  timer(ms: number, callback: () => void): () => void
  /** A name that nobody else will choose. */
  uniqueId(): string
}

/** Waits; ends early, without an error, when the signal is aborted. */
export function sleep(ports: Ports, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = () => {
      cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const cancel = ports.timer(ms, done)
    signal.addEventListener('abort', done)
  })
}
