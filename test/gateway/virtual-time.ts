/**
 * A clock that only the test moves. Timers fire in the order of their times. Timers with the same
 * time fire in the order in which they were set. Between two timers, every promise that can settle
 * does so.
 */
export interface VirtualTime {
  nowMs(): number
  timer(ms: number, callback: () => void): () => void
  /** A timer of the pool's object, which outlasts the journeys and is not one of theirs. */
  objectTimer(ms: number, callback: () => void): () => void
  /** Lets time pass. Each timer on the way fires at its own time. */
  advance(ms: number): Promise<void>
  /** The clock goes on while nothing runs, as if the process had stood still: no timer fires. */
  stall(ms: number): void
  /** Lets all promises settle that can settle without a timer. */
  drain(): Promise<void>
  /** Lets time pass to a moment, in epoch milliseconds, or until `goesOn` does not hold any more. */
  runWhile(goesOn: () => boolean, untilMs: number): Promise<void>
  /** Lets time pass until `done` holds, the gateway has no timer, or `withinMs` is over. */
  runUntil(done: () => boolean, withinMs: number): Promise<void>
  /** The number of timers that the gateway has set. A finished journey leaves none behind. */
  openTimers(): number
}

interface Timer {
  readonly atMs: number
  readonly callback: () => void
  readonly isOfObject: boolean
}

/** Turns of the microtask queue: more than the longest chain of promises in the gateway. */
const TURNS = 600

async function takeTurns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await Promise.resolve()
}

export interface VirtualTimeOptions {
  /** Lets all promises settle. Default: many turns of the microtask queue, which any runtime has. */
  readonly drain?: () => Promise<void>
  /** Called after each timer, when all that follows from it at that moment has happened. */
  readonly afterEach?: () => void
}

export function createVirtualTime(
  startMs: number,
  { drain = takeTurns, afterEach = () => undefined }: VirtualTimeOptions = {},
): VirtualTime {
  let nowMs = startMs
  // A set keeps the order in which its members were added.
  const timers = new Set<Timer>()

  const set = (timer: Timer) => {
    timers.add(timer)
    return () => void timers.delete(timer)
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
  const openTimers = () => [...timers].filter(({ isOfObject }) => !isOfObject).length
  const run = async (isOver: () => boolean, withinMs: number) => {
    const endMs = nowMs + withinMs
    await drain()
    for (let next = nextTimer(); !isOver() && next !== null && next.atMs <= endMs; ) {
      fire(next)
      await drain()
      afterEach()
      next = nextTimer()
    }
  }

  return {
    nowMs: () => nowMs,
    timer: (ms, callback) => set({ atMs: nowMs + ms, callback, isOfObject: false }),
    objectTimer: (ms, callback) => set({ atMs: nowMs + ms, callback, isOfObject: true }),
    async advance(ms) {
      const endMs = nowMs + ms
      await run(() => false, ms)
      nowMs = endMs
    },
    stall(ms) {
      nowMs += ms
    },
    drain,
    async runWhile(goesOn, untilMs) {
      await run(() => !goesOn(), untilMs - nowMs)
      if (goesOn()) nowMs = Math.max(nowMs, untilMs)
    },
    runUntil: (done, withinMs) => run(() => done() || openTimers() === 0, withinMs),
    openTimers,
  }
}
