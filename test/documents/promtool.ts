import { execFileSync, spawnSync } from 'node:child_process'

/** Debian's package `prometheus` has it; `.ci/run` installs that. */
const isThere = spawnSync('promtool', ['--version']).status === 0

/** Why a test without promtool does not run; null if it does. In CI it has to run. */
export const withoutPromtool: string | null =
  isThere || process.env.CI
    ? null
    : 'promtool is not installed (Debian: apt-get install prometheus)'

/** Runs promtool. What it says of a fault is in the error that is thrown. */
export function promtool(args: readonly string[], input = ''): void {
  try {
    execFileSync('promtool', args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] })
  } catch (error) {
    const { stdout, stderr, message } = error as {
      stdout?: string
      stderr?: string
      message: string
    }
    throw new Error([`promtool ${args.join(' ')}`, message, stdout, stderr].join('\n'), {
      cause: error,
    })
  }
}
