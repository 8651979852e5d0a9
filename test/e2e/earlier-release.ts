import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

/**
 * The last commit before settlements, key reports and lease requests got the fields by which budgets,
 * sizes and unused leases are told. It is built with the libraries of today, and with tokenx, which is
 * installed for it alone.
 */
const COMMIT = '4dfa9dc1ddee947955d16d482f6345a7b5b4f530'

/** Git does not see this folder, and modules are found from it. */
const FOLDER = '.wrangler/earlier-release'

const run = promisify(execFile)

export type EarlierRelease =
  | { readonly kind: 'at hand' }
  /** Why there is no history to build it from. */
  | { readonly kind: 'out of reach'; readonly why: string }

/**
 * Takes the sources of the earlier release out of Git.
 * @throws if the history is complete and the commit is not in it
 */
export async function takeEarlierRelease(): Promise<EarlierRelease> {
  const git = async (...args: string[]) => (await run('git', args)).stdout.trim()
  const has = await git('cat-file', '-e', `${COMMIT}^{commit}`).then(
    () => true,
    () => false,
  )
  if (!has) {
    const isShallow = await git('rev-parse', '--is-shallow-repository').catch(() => null)
    if (isShallow === null) return outOfReach('this copy has no Git history')
    if (isShallow === 'true') return outOfReach('this clone is shallow (git fetch --unshallow)')
    throw new Error(`The history is complete, and the earlier release ${COMMIT} is not in it`)
  }
  await rm(FOLDER, { recursive: true, force: true })
  await mkdir(FOLDER, { recursive: true })
  const archive = join(FOLDER, 'release.tar')
  await git('archive', `--output=${archive}`, COMMIT, 'src', 'wrangler.toml')
  await run('tar', ['-xf', archive, '-C', FOLDER])
  return { kind: 'at hand' }
}

const outOfReach = (why: string) =>
  ({ kind: 'out of reach', why: `Not tested with an earlier release: ${why}` }) as const

/** A Worker of one release. */
export interface ReleaseWorker {
  readonly name: string
  readonly release: 'earlier' | 'this'
  /** The Worker that has the pool's object. If it is not given, this one. */
  readonly objectOf?: string
}

/** Writes the configuration of a Worker, and returns the file's path. */
export async function configOf({ name, release, objectOf }: ReleaseWorker): Promise<string> {
  const isEarlier = release === 'earlier'
  const file = await readFile(isEarlier ? join(FOLDER, 'wrangler.toml') : 'wrangler.toml', 'utf8')
  const [plain = ''] = file.split('\n[env.')
  const path = join(FOLDER, `${name}.toml`)
  const object = 'class_name = "KeyPool"'
  const text = plain
    .replace(/^name = .*$/m, `name = "${name}"`)
    .replace(/^main = .*$/m, `main = "${isEarlier ? '' : '../../'}src/index.ts"`)
    .replaceAll(/^directory = "\.\//gm, `directory = "${isEarlier ? './' : '../../'}`)
    .replace(object, objectOf === undefined ? object : `${object}\nscript_name = "${objectOf}"`)
  await writeFile(path, text)
  return path
}
