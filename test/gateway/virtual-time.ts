/**
 * A clock that only the test moves. Timers fire in the order of their moments, those of one moment
 * in the order in which they were set, and between two of them every promise that can settle does.
 */
export interface VirtualTime {
  nowMs(): number
  timer(ms: number, callback: () => void): () => void
  /** Lets time pass; what is due on the way happens at its own moment. */
  advance(ms: number): Promise<void>
  /** Lets everything happen that needs no time. */
  drain(): Promise<void>
  /** Lets time pass until `done` holds, or until nothing is left that could make it hold. */
  runUntil(done: () => boolean, withinMs: number): Promise<void>
  /** How many timers are set: a journey that is over leaves none behind. */
  openTimers(): number
}

interface Timer {
  readonly atMs: number
  readonly callback: () => void
}

/** More turns of the microtask queue than any chain of promises in the gateway is long. */
const TURNS = 600

export function createVirtualTime(startMs: number): VirtualTime {
  let nowMs = startMs
  // A set keeps the order in which its members were added.
  const timers = new Set<Timer>()

  const drain = async () => {
    for (let turn = 0; turn < TURNS; turn++) await Promise.resolve()
  }
  const nextTimer = (): Timer | null => {
    let next: Timer | null = null
    for (const timer of timers) if (next === null || timer.atMs < next.atMs) next = timer
    return next
  }
  const fire = (timer: Timer) => {
    timers.delete(timer)
    nowMs = Math.max(nowMs, timer.atMs)
    timer.callback()
  }
  const runUntil = async (done: () => boolean, withinMs: number) => {
    const endMs = nowMs + withinMs
    await drain()
    for (let next = nextTimer(); !done() && next !== null && next.atMs <= endMs; ) {
      fire(next)
      await drain()
      next = nextTimer()
    }
  }

  return {
    nowMs: () => nowMs,
    timer(ms, callback) {
      const timer = { atMs: nowMs + ms, callback }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    async advance(ms) {
      const endMs = nowMs + ms
      await runUntil(() => false, ms)
      nowMs = endMs
    },
    drain,
    runUntil,
    openTimers: () => timers.size,
  }
}
