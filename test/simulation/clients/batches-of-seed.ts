import { seededRandom } from '../../balancing/seeded-random.ts'
import { type Draw, drawFrom } from '../draw.ts'
import { type Happening, type History, ISOLATES } from '../history.ts'

/** How many runs of lines a history has at most, and how many lines one of them. */
const RUNS = 6
const LINES = 40

/** The same history with batches, whose lines run beside everything else that happens. */
export function withBatches(history: History): History {
  const { seed, kind, happenings } = history
  const draw = drawFrom(seededRandom(seed * 52_361 + 29))
  const requests = happenings.filter((one) => one.kind === 'request')
  const runs = Array.from({ length: draw.int(2, RUNS) }, () => {
    // Most begin amid the others' requests, and some when nobody else is there.
    const fromMs = draw.of(requests)?.atMs ?? 0
    const restMs = draw.chance(0.2) ? draw.int(20_000, 200_000) : 0
    return linesOf(draw, fromMs + restMs, kind === 'busy' ? [20, 60] : [0, 100, 700])
  })
  const all = [...happenings, ...runs.flat()]
  return { ...history, happenings: all.toSorted((a, b) => a.atMs - b.atMs) }
}

function linesOf(draw: Draw, fromMs: number, paces: readonly number[]): Happening[] {
  const everyMs = draw.of(paces)
  const client = `c${draw.int(0, 3)}`
  return Array.from({ length: draw.int(4, LINES) }, (_, i) => ({
    kind: 'request',
    atMs: fromMs + i * everyMs,
    client,
    isolate: draw.int(0, ISOLATES - 1),
    model: draw.of(['vendor/a', 'vendor/b']),
    fallbacks: [],
    tokens: draw.int(0, 400),
    conversation: draw.chance(0.3) ? `talk-${draw.int(0, 9)}` : null,
    leavesAfterMs: draw.chance(0.05) ? draw.int(0, 4_000) : null,
    again: draw.of([0, 1, 3]),
    isBad: draw.chance(0.03),
    isOfBatch: true,
  }))
}
