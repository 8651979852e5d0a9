import { START_MS } from '../gateway/virtual-world.ts'
import type { Happening } from './history.ts'
import type { Outcome } from './run.ts'

/** Adds up what some histories covered. */
export function createCoverage() {
  const counts = new Map<string, number>()
  const kinds = new Map<string, number>()
  let hours = 0
  let steps = 0
  let seeds = 0
  const beganMs = Date.now()
  return {
    add(outcome: Outcome): void {
      seeds += 1
      hours += outcome.hours
      steps += outcome.steps
      const { kind } = outcome.history
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
      for (const [what, count] of Object.entries(outcome.counts)) {
        counts.set(what, (counts.get(what) ?? 0) + count)
      }
    },
    hours: () => hours,
    seeds: () => seeds,
    count: (what: string) => counts.get(what) ?? 0,
    text(): string {
      const tookS = (Date.now() - beganMs) / 1000
      const list = (of: Map<string, number>) =>
        [...of]
          .toSorted(([a], [b]) => a.localeCompare(b))
          .map(([what, count]) => `${what} ${count}`)
          .join(', ')
      return [
        `${seeds} seeds, ${Math.round(hours)} virtual hours, ${steps} steps of the object in ${tookS.toFixed(1)} s`,
        `histories: ${list(kinds)}`,
        list(counts),
      ].join('\n')
    },
  }
}

/** What to say of a history in which something did not hold, with the shortest that shows it. */
export function failureOf(outcome: Outcome, short: Outcome | null): string {
  const { history, violation, trace } = short ?? outcome
  const { seed, hours, kind, pool } = history
  const atMs = (violation?.atMs ?? 0) - START_MS
  return [
    `Seed ${seed}, ${kind}: invariant ${violation?.invariant ?? 'none, but an error'} at ${atMs} ms`,
    violation?.what ?? '',
    `Again: npm run simulate -- --seed ${seed} --hours ${hours}`,
    `${history.happenings.length} things happened (${outcome.history.happenings.length} before it was made short):`,
    ...history.happenings.slice(-40).map(lineOf),
    'The last steps:',
    ...trace.slice(-30),
    `The pool: ${JSON.stringify(pool)}`,
  ].join('\n')
}

function lineOf({ atMs, ...what }: Happening): string {
  return `  ${atMs} ms ${JSON.stringify(what)}`
}
