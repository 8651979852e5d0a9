import { execFileSync, spawnSync } from 'node:child_process'
import type { TestContext } from 'vitest'

/** What `.ci/run` installs of Debian: readers of metrics and of log lines, as operators have them. */
type Tool = 'promtool' | 'jq'

/**
 * Passes over a test, with the reason, where its tool is not installed. In CI it does not: there the
 * test fails.
 */
export function needs(tool: Tool, { skip }: TestContext): void {
  const isThere = spawnSync(tool, ['--version']).status === 0
  skip(
    !(isThere || process.env.CI),
    `${tool} is not installed (.ci/run says of which package it is)`,
  )
}

/** Runs promtool. What it says of a fault is in the error that is thrown. */
export function promtool(args: readonly string[], input = ''): void {
  run('promtool', args, input)
}

/** Runs a line of a shell in a folder. @returns what it prints */
export function shell(line: string, folder: string): string {
  return run('sh', ['-euc', line], '', folder)
}

function run(command: string, args: readonly string[], input: string, cwd?: string): string {
  try {
    return execFileSync(command, args, { input, cwd, encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    const { stdout, stderr, message } = error as Readonly<Record<string, string>>
    throw new Error([args.join(' '), message, stdout, stderr].join('\n'), { cause: error })
  }
}
