import { globSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { basename, dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import {
  INSTRUMENTER_CONSTANTS,
  type MutantCoverage,
  type StrykerOptions,
} from '@stryker-mutator/api/core'
import { commonTokens, declareClassPlugin, PluginKind, tokens } from '@stryker-mutator/api/plugin'
import {
  type DryRunResult,
  DryRunStatus,
  determineHitLimitReached,
  type MutantRunOptions,
  type MutantRunResult,
  MutantRunStatus,
  type TestResult,
  type TestRunner,
  TestStatus,
} from '@stryker-mutator/api/test-runner'
import fc from 'fast-check'
import { createCollector, type RepeatableTest } from './repeatable-tests.ts'

/**
 * Runs the quick tests for one mutant after another in a process that has loaded them once. Stryker's own
 * runner starts Vitest anew for each mutant, which takes a hundred times as long as the tests: of pure
 * code nothing stays behind that the next mutant could meet, and each kill is looked at again without the
 * mutant.
 */

/** What instrumented code reads and writes. */
interface Instrumented {
  activeMutant?: string | undefined
  currentTestId?: string | undefined
  hitCount?: number | undefined
  hitLimit?: number | undefined
  mutantCoverage?: MutantCoverage
}

interface TestFiles {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

/** The options of our own in Stryker's configuration: globs, by the clone's root. */
interface RunnerOptions extends StrykerOptions {
  readonly quickTests: TestFiles
  /** What takes seconds, for the mutants that have survived the quick tests. */
  readonly wideTests: TestFiles
}

const SHIM = 'quick-tests:vitest'
const API = Symbol.for('switchyard.quick-tests')
const RECENT_RUNS = 5
const LONG_MS = 50
const IS_WIDE = process.env.WIDE === '1'
/** Of a lease nearly all tests are within reach: without a limit a survivor would cost them all. */
const LIMIT_MS = IS_WIDE ? 3_000 : 250
/** A wait that nobody ends: the mutant has taken away what ends it. No test takes a third of this. */
const HANG_MS = 30_000

class InProcessRunner implements TestRunner {
  static readonly inject = tokens(commonTokens.options)
  readonly #options: RunnerOptions
  readonly #collector = createCollector()
  readonly #code: Instrumented
  /** By test: how long it takes, and which mutants it has killed. */
  readonly #timesMs = new Map<string, number>()
  readonly #kills = new Map<string, { count: number; lastRun: number }>()
  #runs = 0

  constructor(options: StrykerOptions) {
    this.#options = options as RunnerOptions
    const all: Record<string | symbol, unknown> = globalThis as never
    all[API] = this.#collector.api
    all[INSTRUMENTER_CONSTANTS.NAMESPACE] ??= {}
    this.#code = all[INSTRUMENTER_CONSTANTS.NAMESPACE] as Instrumented
  }

  capabilities() {
    return { reloadEnvironment: false }
  }

  /** Loads all tests of the sandbox, which is the working directory. */
  async init(): Promise<void> {
    // One seed: else a mutant would live or die by chance. To shrink would only take time.
    fc.configureGlobal({ seed: 1, endOnFailure: true })
    registerHooks({
      resolve: (name, context, next) =>
        name === 'vitest' ? { url: SHIM, shortCircuit: true } : next(name, context),
      load: (url, context, next) =>
        url === SHIM
          ? { format: 'module', source: shimSource(), shortCircuit: true }
          : next(url, context),
    })
    const { quickTests, wideTests } = this.#options
    for (const file of [...filesOf(quickTests), ...(IS_WIDE ? filesOf(wideTests) : [])]) {
      this.#collector.begin(file)
      await import(pathToFileURL(resolve(file)).href)
    }
  }

  async dryRun(): Promise<DryRunResult> {
    const tests: TestResult[] = []
    for (const test of this.#collector.tests) {
      this.#code.currentTestId = test.id
      const beganMs = performance.now()
      const failure = await failureOf(test)
      const timeSpentMs = performance.now() - beganMs
      // One that has used up what its file has made can't run for a second mutant. Such tests are quick.
      const isRepeatable =
        failure === null && (timeSpentMs > LONG_MS || (await this.#firstFailure([test])) === null)
      this.#code.currentTestId = undefined
      const of = { id: test.id, name: test.name, fileName: resolve(test.file), timeSpentMs }
      if (isRepeatable) tests.push({ ...of, status: TestStatus.Success })
      else if (failure === null) delete this.#code.mutantCoverage?.perTest[test.id]
      else tests.push({ ...of, status: TestStatus.Failed, failureMessage: failure })
    }
    const { mutantCoverage = { static: {}, perTest: {} } } = this.#code
    // What tests reach, and also the top of a test file does: Stryker would load all tests anew for it.
    for (const reached of Object.values(mutantCoverage.perTest)) {
      for (const id of Object.keys(reached)) delete mutantCoverage.static[id]
    }
    return { status: DryRunStatus.Complete, tests, mutantCoverage }
  }

  async mutantRun(of: MutantRunOptions): Promise<MutantRunResult> {
    const tests = this.#testsFor(of)
    this.#runs += 1
    this.#code.hitCount = 0
    this.#code.hitLimit = of.hitLimit
    this.#code.activeMutant = of.activeMutant.id
    const killed = await this.#firstFailure(tests)
    this.#code.activeMutant = undefined
    const timeout = determineHitLimitReached(this.#code.hitCount, of.hitLimit)
    this.#code.hitCount = undefined
    if (timeout !== null && timeout !== undefined) {
      return { status: MutantRunStatus.Timeout, reason: timeout.reason ?? '' }
    }
    if (killed === null) return { status: MutantRunStatus.Survived, nrOfTests: tests.length }
    const { test, failure, nrOfTests } = killed
    this.#kills.set(test.id, {
      count: (this.#kills.get(test.id)?.count ?? 0) + 1,
      lastRun: this.#runs,
    })
    // A process in which this fails too is spoiled: Stryker starts another, and tries again.
    if ((await failureOf(test)) !== null) throw new Error(`${test.name} fails without a mutant`)
    return {
      status: MutantRunStatus.Killed,
      failureMessage: failure,
      killedBy: [test.id],
      nrOfTests,
    }
  }

  async #firstFailure(tests: readonly RepeatableTest[]) {
    let spentMs = 0
    for (const [at, test] of tests.entries()) {
      const beganMs = cpuMs()
      const failure = await failureOf(test)
      const timeMs = cpuMs() - beganMs
      this.#timesMs.set(test.id, timeMs)
      if (failure !== null) return { test, failure, nrOfTests: at + 1 }
      spentMs += timeMs
      if (spentMs > LIMIT_MS) return null
    }
    return null
  }

  /** Those that reach the mutant: whoever has just killed, then those of its room, of near rooms, of others. */
  #testsFor({ testFilter, activeMutant }: MutantRunOptions): RepeatableTest[] {
    const wanted = new Set(testFilter)
    return this.#collector.tests
      .filter(({ id }) => wanted.has(id))
      .map((test) => ({
        test,
        rank: this.#rankOf(test, distanceOf(test.file, activeMutant.fileName)),
      }))
      .toSorted((a, b) => a.rank - b.rank)
      .map(({ test }) => test)
  }

  /** The lower, the earlier: what kills often and takes little time keeps the run short. */
  #rankOf({ id }: RepeatableTest, distance: number): number {
    const timeMs = this.#timesMs.get(id) ?? LONG_MS
    const kills = this.#kills.get(id)
    if (kills !== undefined && this.#runs - kills.lastRun < RECENT_RUNS) return timeMs / 100
    return (timeMs * 4 ** distance) / (1 + (kills?.count ?? 0))
  }
}

/** The folder of a file below the first folder of that name. */
function roomOf(file: string, top: 'src' | 'test'): string {
  const path = `/${file}`
  return dirname(path.slice(path.lastIndexOf(`/${top}/`) + top.length + 2))
}

/**
 * Steps from tests to mutants: their own file, their room, the room that is around it or in it, any other.
 * The simulation goes through all rooms.
 */
function distanceOf(tests: string, mutants: string): number {
  if (tests.includes('/simulation/')) return 1
  const [from, to] = [roomOf(tests, 'test'), roomOf(mutants, 'src')]
  if (from !== to) return `${from}/`.startsWith(`${to}/`) || `${to}/`.startsWith(`${from}/`) ? 2 : 3
  return basename(tests, '.test.ts') === basename(mutants, '.ts') ? 0 : 1
}

/** The process's own time: that of the clock depends on what else the machine does. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

const filesOf = ({ include, exclude }: TestFiles) =>
  globSync([...include], { exclude: [...exclude] }).toSorted()

async function failureOf(test: RepeatableTest): Promise<string | null> {
  try {
    const running = test.run()
    if (running instanceof Promise) await orHang(running)
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

async function orHang(running: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('hangs')), HANG_MS)
  })
  try {
    await Promise.race([running, hang])
  } finally {
    clearTimeout(timer)
  }
}

const shimSource = () =>
  `export const { describe, expect, it } = globalThis[Symbol.for('${Symbol.keyFor(API)}')]`

export const strykerPlugins = [
  declareClassPlugin(PluginKind.TestRunner, 'quick-tests', InProcessRunner),
]
