import type { Reporter, SerializedError, TestModule, TestRunEndReason } from 'vitest/node'

/** The counts of a finished run. */
export interface Tally {
  readonly passed: number
  readonly failed: number
}

/** The parts of vitest's test module that `tally` needs. */
export interface CountedModule {
  /** `failed` also if the file could not be loaded or one of its hooks threw. */
  state(): string
  errors(): readonly unknown[]
  readonly children: { allTests(): Iterable<{ result(): { readonly state: string } }> }
}

/**
 * Counts passed and failed tests. A file that could not be loaded, a hook that threw, an error
 * outside any test and an interrupted run each count as a failure, even if no test failed. A run in
 * which no test passed has failed too.
 */
export function tally(
  modules: readonly CountedModule[],
  unhandledErrors: readonly unknown[],
  reason: TestRunEndReason,
): Tally {
  const counts = modules.map(tallyModule)
  const passed = counts.reduce((sum, count) => sum + count.passed, 0)
  const failed = counts.reduce((sum, count) => sum + count.failed, unhandledErrors.length)
  const failedOtherwise = reason !== 'passed' || passed === 0
  return { passed, failed: failed === 0 && failedOtherwise ? 1 : failed }
}

function tallyModule(module: CountedModule): Tally {
  const states = Array.from(module.children.allTests(), (test) => test.result().state)
  const passed = states.filter((state) => state === 'passed').length
  // A pending test is one that the run never reached.
  const failed = states.filter((state) => state === 'failed' || state === 'pending').length
  const failedOutsideTests = module.state() === 'failed' || module.errors().length > 0
  return { passed, failed: failed === 0 && failedOutsideTests ? 1 : failed }
}

/**
 * Prints `N passed, N failed` as the last line of a run, for programs that count tests. Makes the
 * run exit non-zero if anything failed.
 */
export default class ClosingLineReporter implements Reporter {
  #tally: Tally | null = null

  onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly SerializedError[],
    reason: TestRunEndReason,
  ): void {
    // The line is printed at exit, after the summary of the default reporter.
    if (this.#tally === null) process.once('exit', () => this.#printClosingLine())
    this.#tally = tally(modules, unhandledErrors, reason)
    if (this.#tally.failed > 0) process.exitCode = 1
  }

  #printClosingLine(): void {
    if (this.#tally === null) return
    process.stdout.write(`${this.#tally.passed} passed, ${this.#tally.failed} failed\n`)
  }
}
