import { globSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { dirname, resolve } from 'node:path'
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

/** The option of our own in Stryker's configuration: globs, by the clone's root. */
interface RunnerOptions extends StrykerOptions {
  readonly quickTests: { readonly include: readonly string[]; readonly exclude: readonly string[] }
}

const SHIM = 'quick-tests:vitest'
const API = Symbol.for('switchyard.quick-tests')

class InProcessRunner implements TestRunner {
  static readonly inject = tokens(commonTokens.options)
  readonly #options: RunnerOptions
  readonly #collector = createCollector()
  readonly #code: Instrumented
  /** When a test killed last: whoever killed the last mutant probably kills the next one. */
  readonly #kills = new Map<string, number>()
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
    const { include, exclude } = this.#options.quickTests
    // A glob up to its first star, and something in place of the rest.
    const rooms = this.#options.mutate.map((glob) => roomOf(`${glob.split('*', 1)[0]}x`, 'src'))
    for (const file of globSync([...include], { exclude: [...exclude] }).toSorted()) {
      if (!rooms.some((room) => isNear(roomOf(file, 'test'), room))) continue
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
      // One that has used up what its file has made can't run for a second mutant.
      const isRepeatable = failure === null && (await failureOf(test)) === null
      const timeSpentMs = performance.now() - beganMs
      this.#code.currentTestId = undefined
      const of = { id: test.id, name: test.name, fileName: resolve(test.file), timeSpentMs }
      if (isRepeatable) tests.push({ ...of, status: TestStatus.Success })
      else if (failure === null) delete this.#code.mutantCoverage?.perTest[test.id]
      else tests.push({ ...of, status: TestStatus.Failed, failureMessage: failure })
    }
    const { mutantCoverage = { static: {}, perTest: {} } } = this.#code
    return { status: DryRunStatus.Complete, tests, mutantCoverage }
  }

  async mutantRun(of: MutantRunOptions): Promise<MutantRunResult> {
    const wanted = new Set(of.testFilter)
    const room = roomOf(of.activeMutant.fileName, 'src')
    const tests = this.#collector.tests
      .filter(({ id, file }) => wanted.has(id) && isNear(roomOf(file, 'test'), room))
      .toSorted((a, b) => (this.#kills.get(b.id) ?? 0) - (this.#kills.get(a.id) ?? 0))
    this.#runs += 1
    this.#code.hitCount = 0
    this.#code.hitLimit = of.hitLimit
    this.#code.activeMutant = of.activeMutant.id
    const killed = await firstFailure(tests)
    this.#code.activeMutant = undefined
    const timeout = determineHitLimitReached(this.#code.hitCount, of.hitLimit)
    this.#code.hitCount = undefined
    if (timeout !== null && timeout !== undefined) {
      return { status: MutantRunStatus.Timeout, reason: timeout.reason ?? '' }
    }
    if (killed === null) return { status: MutantRunStatus.Survived, nrOfTests: tests.length }
    const { test, failure, nrOfTests } = killed
    this.#kills.set(test.id, this.#runs)
    // A process in which this fails too is spoiled: Stryker starts another, and tries again.
    if ((await failureOf(test)) !== null) throw new Error(`${test.name} fails without a mutant`)
    return {
      status: MutantRunStatus.Killed,
      failureMessage: failure,
      killedBy: [test.id],
      nrOfTests,
    }
  }
}

/** The folder of a file below the first folder of that name. */
function roomOf(file: string, top: 'src' | 'test'): string {
  const path = `/${file}`
  return dirname(path.slice(path.lastIndexOf(`/${top}/`) + top.length + 2))
}

/** Whether tests are of the room itself, of the one that it is in, or of one in it. */
function isNear(tests: string, mutants: string): boolean {
  return `${tests}/`.startsWith(`${mutants}/`) || `${mutants}/`.startsWith(`${tests}/`)
}

async function firstFailure(tests: readonly RepeatableTest[]) {
  for (const [at, test] of tests.entries()) {
    const failure = await failureOf(test)
    if (failure !== null) return { test, failure, nrOfTests: at + 1 }
  }
  return null
}

async function failureOf(test: RepeatableTest): Promise<string | null> {
  try {
    await test.run()
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const shimSource = () =>
  `export const { describe, expect, it } = globalThis[Symbol.for('${Symbol.keyFor(API)}')]`

export const strykerPlugins = [
  declareClassPlugin(PluginKind.TestRunner, 'quick-tests', InProcessRunner),
]
