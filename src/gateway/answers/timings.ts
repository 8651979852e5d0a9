/** How long each part of a request took, in milliseconds. */
export interface Timings {
  auth: number
  acquire: number
  wait: number
  upstream: number
}

export function createTimings(authMs: number): Timings {
  return { auth: authMs, acquire: 0, wait: 0, upstream: 0 }
}

/** The timings as a `Server-Timing` header (https://www.w3.org/TR/server-timing/). */
export function serverTiming(timings: Timings): string {
  const parts: readonly (keyof Timings)[] = ['auth', 'acquire', 'wait', 'upstream']
  return parts.map((part) => `${part};dur=${Math.round(timings[part])}`).join(', ')
}
