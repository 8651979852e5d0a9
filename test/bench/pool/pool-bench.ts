import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { readOutputArguments } from '../arguments.ts'
import { machineText, writeMarkdown, writeReport } from '../report/documents.ts'
import { decimal, whole } from '../report/figures.ts'
import { Reporter } from '../report/reporter.ts'
import { calibrationStep } from './calibration.ts'
import { ALL_SIZES, CASES, type Case } from './cases.ts'
import { averageUs, type Pace, type Timing } from './stopwatch.ts'

const USAGE = `usage: npm run bench:pool -- [options]

Times the reducer alone, in this process: what one request costs the pool object, without its
storage and its calls. Takes about three minutes.

  --quick             only to see that it works: its figures mean nothing
  --json <file>       writes all figures
  --markdown <file>   puts the table into a document, where it has a place for it`

/** Rounds are long enough for several garbage collections each, so that each pays for its own. */
const FULL: Pace = { warmUpMs: 1_000, rounds: 7, roundMs: 40 }
const QUICK: Pace = { warmUpMs: 1, rounds: 1, roundMs: 1 }

/** What a process is told that times one case. */
export interface CaseOrder {
  readonly name: string
  readonly keys: number
  readonly pace: Pace
}

interface Figure extends Timing {
  readonly case: string
  readonly keys: number
}

function main(): void {
  const options = readOutputArguments(process.argv.slice(2))
  if (options === null) {
    console.error(USAGE)
    process.exit(2)
  }
  const reporter = new Reporter()
  const loopUs = averageUs(calibrationStep, 200)
  reporter.print(machineText())
  const table = reporter.table('The reducer: one acquire and one settle', [
    'case',
    ...ALL_SIZES.flatMap((keys) => [`${whole(keys)} keys, µs`, 'in loops', 'target, µs']),
  ])
  const figures: Figure[] = []
  for (const one of CASES) {
    const found = timeCase(one, options.quick ? QUICK : FULL, reporter)
    figures.push(...found)
    const cells = ALL_SIZES.flatMap((keys) => {
      const figure = found.find((candidate) => candidate.keys === keys)
      if (figure === undefined) return ['', '', '']
      const target = one.targetUs?.[keys]
      const targetText = target === undefined ? '' : whole(target)
      return [decimal(figure.stepUs, 2), whole(figure.loops), targetText]
    })
    table.row(one.name, ...cells)
  }
  table.note(
    `One step of the calibrating loop took ${decimal(loopUs * 1000, 0)} ns. “In loops” is a time divided by that of the loop, measured beside it.`,
  )
  if (options.markdown !== null) writeMarkdown(options.markdown, new Map([['pool', [table.table]]]))
  if (options.json !== null) writeReport(options.json, { loopUs, figures })
}

function timeCase({ name, sizes }: Case, pace: Pace, reporter: Reporter): Figure[] {
  return sizes.map((keys) => {
    reporter.progress(`${name}: ${keys} keys`)
    return { case: name, keys, ...timeAlone({ name, keys, pace }) }
  })
}

function timeAlone(order: CaseOrder): Timing {
  const program = fileURLToPath(new URL('case-process.ts', import.meta.url))
  const output = execFileSync(
    process.execPath,
    [...process.execArgv, program, JSON.stringify(order)],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  )
  return JSON.parse(output)
}

main()
