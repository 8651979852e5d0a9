import { execFileSync } from 'node:child_process'
import type { History } from './history.ts'
import { historyOf } from './history-of-seed.ts'
import { createCoverage, failureOf } from './report.ts'
import { type Outcome, run, shrink } from './run.ts'

/**
 * `npm run simulate -- --seed 7 --hours 50` replays a seed. Without a seed it runs seeds from 1 on,
 * `--seeds` of them or for `--seconds`, and with `--fresh` from a seed that nobody has seen before this
 * commit.
 */

const SEEDS = 1_000_000_000

const argumentOf = (name: string): number | null => {
  const at = process.argv.indexOf(`--${name}`)
  return at === -1 ? null : Number(process.argv[at + 1])
}

const HOURS = 50
const hours = argumentOf('hours') ?? HOURS
const seed = argumentOf('seed')
const seconds = argumentOf('seconds') ?? Number.POSITIVE_INFINITY
const first = seed ?? argumentOf('from') ?? (process.argv.includes('--fresh') ? fresh() : 1)
const count = seed === null ? (argumentOf('seeds') ?? (Number.isFinite(seconds) ? 1e9 : 200)) : 1
const shrinkSeconds = argumentOf('shrink') ?? 30

/**
 * It is of the commit and not of the clock: whoever runs the same code again sees the same seeds, so what CI
 * has found does not go away. Without a repository it is of the clock.
 */
function fresh(): number {
  try {
    const commit = execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: 'pipe' })
    return Number.parseInt(commit.slice(0, 12), 16) % SEEDS
  } catch {
    return Math.floor(Date.now() / 1000) % SEEDS
  }
}

/** Each so many seeds one is run twice, to see that a seed has one history and no more. */
const TWICE_EVERY = 25

async function runOnceOrTwice(history: History, isTwice: boolean): Promise<Outcome> {
  const outcome = await run(history)
  if (!isTwice || outcome.violation !== null) return outcome
  const again = await run(history)
  if (again.digest === outcome.digest) return outcome
  const what = `${outcome.digest} and then ${again.digest}`
  return { ...outcome, violation: { invariant: 10, what, atMs: 0 } }
}

const coverage = createCoverage()
const endMs = Date.now() + seconds * 1000
for (let i = 0; i < count && Date.now() < endMs; i++) {
  const outcome = await runOnceOrTwice(historyOf(first + i, hours), i % TWICE_EVERY === 0)
  coverage.add(outcome)
  if (outcome.violation === null) continue
  const short = shrinkSeconds === 0 ? null : await shrink(outcome, shrinkSeconds * 1000)
  console.log(failureOf(outcome, short))
  process.exitCode = 1
  break
}
console.log(coverage.text())
