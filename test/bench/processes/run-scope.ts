import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const STOP_TIMEOUT_MS = 3_000

/** What a run must not leave behind: its child processes and its temporary folder. */
export interface RunScope {
  /** Removed when the run ends. */
  readonly folder: string
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess
  /** Ends one child before the run does. */
  stop(child: ChildProcess): Promise<void>
}

/** A scope that whoever opened it has to close: it ends the children and removes the folder. */
export interface OpenScope extends RunScope {
  close(): void
}

export function openScope(): OpenScope {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-bench-'))
  const children = new Set<ChildProcess>()
  return {
    folder,
    spawn(command, args, options) {
      const child = spawn(command, args, options)
      children.add(child)
      child.once('exit', () => children.delete(child))
      return child
    },
    async stop(child) {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(timer)
    },
    close() {
      for (const child of children) child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    },
  }
}

/**
 * Everything is cleaned up in the `exit` event, which comes at the end of a run, after an error that
 * nobody caught, and after Ctrl-C alike. What it does has to be synchronous.
 *
 * @param limitMs after which the run is given up, in milliseconds
 */
export function createRunScope(limitMs: number): RunScope {
  const scope = openScope()
  process.once('exit', scope.close)
  for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
    process.once(signal, () => process.exit(code))
  }
  setTimeout(() => {
    console.error(`Given up after ${limitMs / 1000} s.`)
    process.exit(1)
  }, limitMs).unref()
  return scope
}
