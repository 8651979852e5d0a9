import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { TestProject } from 'vitest/node'
import { unstable_getMiniflareWorkerOptions as readWorkerOptions } from 'wrangler'
import { joinBatches } from '../local/with-batches.ts'
import { quietWranglerEnvironment, repositoryPath, wranglerPath } from '../local/wrangler-dev.ts'

/** The Worker as it is deployed, and what `wrangler.toml` says of it. */
export interface BuiltWorker {
  readonly source: string
  /** As Miniflare takes them, in JSON. */
  readonly options: string
  /** The same with the blocks that switch batches on. */
  readonly optionsWithBatches: string
}

declare module 'vitest' {
  interface ProvidedContext {
    builtWorker: BuiltWorker
  }
}

const FOLDER = '.wrangler/built-for-tests'

/** Two projects need it, and each loads this module by itself. */
const once: { switchyardBuild?: Promise<BuiltWorker> } = globalThis as object

/** Builds the Worker once for all end-to-end tests, since each of them starts it several times. */
export async function setup(project: TestProject): Promise<void> {
  once.switchyardBuild ??= build()
  project.provide('builtWorker', await once.switchyardBuild)
}

/** The bundle that `wrangler deploy` would upload for the top level of `wrangler.toml`. */
async function build(): Promise<BuiltWorker> {
  const args = ['deploy', '--dry-run', '--env', '', '--outdir', FOLDER]
  await promisify(execFile)(process.execPath, [wranglerPath, ...args], {
    cwd: repositoryPath,
    env: { ...process.env, ...quietWranglerEnvironment, CI: '1' },
  })
  const source = await readFile(join(repositoryPath, FOLDER, 'index.js'), 'utf8')
  const optionsOf = (config: string) =>
    JSON.stringify(readWorkerOptions(join(repositoryPath, config)).workerOptions)
  return {
    ...{ source, options: optionsOf('wrangler.toml') },
    optionsWithBatches: optionsOf(joinBatches()),
  }
}
