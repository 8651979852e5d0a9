import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { quietWranglerEnvironment, repositoryPath, wranglerPath } from '../../local/wrangler-dev.ts'
import type { RunScope } from './run-scope.ts'

/** What of `wrangler.toml` workerd has to be told. */
export interface Deployment {
  readonly compatibilityDate: string
  readonly compatibilityFlags: readonly string[]
}

/** A Worker as `wrangler deploy` would upload it: one module. */
export interface Bundle {
  readonly source: string
  readonly bytes: number
  readonly gzippedBytes: number
}

/**
 * Bundles a Worker as for deployment to production, with what `wrangler.toml` says of that.
 * @param options `readable`: not minified, with the names of functions; `entry`: in place of the
 *   Worker's own entry, from the top of the repository
 */
export async function bundleForDeployment(
  scope: RunScope,
  options: { readonly readable?: boolean; readonly entry?: string } = {},
): Promise<Bundle> {
  const { readable = false, entry } = options
  const outputPath = join(
    scope.folder,
    `bundle-${readable ? 'readable' : (entry ?? 'plain').replaceAll('/', '-')}`,
  )
  await runWrangler(scope, [
    ...['deploy', '--dry-run', '--env', 'production', '--outdir', outputPath],
    ...(readable ? ['--minify=false'] : []),
    ...(entry === undefined ? [] : [entry]),
  ])
  const name = entry === undefined ? 'index' : (entry.split('/').pop() ?? '').replace('.ts', '')
  const source = readFileSync(join(outputPath, `${name}.js`), 'utf8')
  return {
    source,
    bytes: Buffer.byteLength(source),
    gzippedBytes: gzipSync(source).length,
  }
}

/** The Workers that the gateway is held against. */
export type BenchWorker = 'forwarding' | 'parsing' | 'watching'

/** One of the bench's own Workers, which import nothing: without its types it is a module. */
export function bundleOfBench(name: BenchWorker | 'kv'): string {
  const path = fileURLToPath(new URL(`../workers/${name}.ts`, import.meta.url))
  return stripTypeScriptTypes(readFileSync(path, 'utf8'))
}

/** Wrangler reads its file in a process of its own: its modules are not to lie in this one's memory. */
export async function readDeployment(scope: RunScope): Promise<Deployment> {
  const script = `import { experimental_readRawConfig } from ${JSON.stringify(import.meta.resolve('wrangler'))}
    console.log(JSON.stringify(experimental_readRawConfig({ config: 'wrangler.toml' }).rawConfig))`
  const output = await runNode(scope, ['--input-type=module', '--eval', script])
  const config: { compatibility_date?: string; compatibility_flags?: string[] } = JSON.parse(output)
  if (config.compatibility_date === undefined) {
    throw new Error('wrangler.toml has no compatibility_date')
  }
  return {
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags ?? [],
  }
}

/** Makes a folder of modules for a workerd process. */
export function folderOf(
  scope: RunScope,
  name: string,
  modules: Readonly<Record<string, string>>,
): string {
  const folder = join(scope.folder, name)
  mkdirSync(join(folder, 'storage'), { recursive: true })
  for (const [path, source] of Object.entries(modules)) writeFileSync(join(folder, path), source)
  return folder
}

async function runWrangler(scope: RunScope, args: readonly string[]): Promise<string> {
  return await runNode(scope, [wranglerPath, ...args])
}

/** @throws when the program fails; the message holds what it said */
async function runNode(scope: RunScope, args: readonly string[]): Promise<string> {
  const child = scope.spawn(process.execPath, args, {
    cwd: repositoryPath,
    env: { ...process.env, ...quietWranglerEnvironment, CI: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let complaints = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    complaints += chunk.toString()
  })
  const code = await new Promise<number>((resolve) => {
    child.once('error', () => resolve(1))
    child.once('close', (ended) => resolve(ended ?? 1))
  })
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}:\n${output}${complaints}`)
  return output
}
