import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryPath } from './wrangler-dev.ts'

/** Where the joined configuration lies. git does not see it. */
const FOLDER = '.wrangler/with-batches'

/**
 * Joins the blocks of `docs/batches.toml` to those of `wrangler.toml`, for its top level and for each
 * environment, and writes the result to a file of its own: the plain gateway's stays as it is.
 *
 * @returns the path of that file, from the root of the repository
 */
export function joinBatches(): string {
  const plain = readFileSync(join(repositoryPath, 'wrangler.toml'), 'utf8')
  const blocks = readFileSync(join(repositoryPath, 'docs/batches.toml'), 'utf8')
  const of = (environment: string) => blocks.replaceAll(/^(\[\[?)(?=\w)/gm, `$1env.${environment}.`)
  const path = join(FOLDER, 'wrangler.toml')
  mkdirSync(join(repositoryPath, FOLDER), { recursive: true })
  // The paths of the Worker and its assets count from the folder of the configuration.
  const moved = plain.replaceAll(/^(main|directory) = "/gm, '$1 = "../../')
  const joined = [moved, blocks, of('staging'), of('production')].join('\n')
  writeFileSync(join(repositoryPath, path), joined)
  return path
}

if (import.meta.main) console.log(joinBatches())
