/** Runs at most `max` works at a time, in the order in which they come. */
export function createTurns(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (running >= max) await new Promise<void>((resolve) => waiting.push(resolve))
    else running += 1
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      // A place goes on to the next work without being free in between.
      if (next === undefined) running -= 1
      else next()
    }
  }
}
