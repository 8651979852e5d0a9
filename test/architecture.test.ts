import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import { experimental_readRawConfig } from 'wrangler'

/**
 * Rules about the repository that neither the compiler nor the linter can see. Each returns the
 * offenders, so that a failure names them.
 */

const root = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Every file that is in git or would be added to it: what is ignored may hold anything. */
const files = execFileSync(
  'git',
  ['-c', 'safe.directory=*', 'ls-files', '--cached', '--others', '--exclude-standard'],
  { cwd: root, encoding: 'utf8' },
)
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(root, path)))

const sources = files.filter((path) => path.startsWith('src/') && path.endsWith('.ts'))

describe('rooms', () => {
  /** For each room of src: the rooms and packages that it may import, beside itself. */
  const mayImport: Readonly<Record<string, readonly string[]>> = {
    balancing: [],
    config: ['balancing', 'zod'],
    openrouter: ['balancing', 'tokenx', 'zod'],
    'key-pool': ['balancing', 'config', 'zod', 'cloudflare:workers'],
    gateway: ['balancing', 'config', 'openrouter', 'key-pool'],
    dashboard: ['hono'],
    http: [
      'balancing',
      'config',
      'openrouter',
      'key-pool',
      'gateway',
      'dashboard',
      'hono',
      'http-cache-semantics',
      'zod',
    ],
    app: ['balancing', 'config', 'openrouter', 'key-pool', 'gateway', 'dashboard', 'http', 'hono'],
    index: ['app', 'config', 'openrouter', 'key-pool', 'gateway', 'http', 'cloudflare:workers'],
  }

  /** `src/http/cors.ts` is in the room `http`, `src/app.ts` is a room of its own. */
  const roomOf = (path: string): string => path.replace(/^src\//, '').replace(/(\.ts$|\/.*)/, '')

  const importsOf = (path: string): string[] =>
    Array.from(
      read(path).matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g),
      (match) => match[1] ?? '',
    )

  /** The room or package that an import leads to; `outside` for a file that is not in src. */
  function targetOf(path: string, specifier: string): string {
    if (!specifier.startsWith('.')) return specifier.split('/')[0] ?? specifier
    const target = normalize(join(dirname(path), specifier))
    return target.startsWith('src/') ? roomOf(target) : 'outside'
  }

  it('import only what is below them', () => {
    const offenders = sources.flatMap((path) => {
      const room = roomOf(path)
      return importsOf(path)
        .filter((specifier) => {
          const target = targetOf(path, specifier)
          return target !== room && !mayImport[room]?.includes(target)
        })
        .map((specifier) => `${path} imports ${specifier}`)
    })
    expect(offenders).toEqual([])
  })

  it('are all known', () => {
    expect(sources.filter((path) => !(roomOf(path) in mayImport))).toEqual([])
  })

  it('do not know the simulator', () => {
    const offenders = files.filter(
      (path) => path.startsWith('src/') && /simulator/i.test(read(path)),
    )
    expect(offenders).toEqual([])
  })

  it('leave the decisions without any platform to call', () => {
    const options = read('src/balancing/tsconfig.json')
    expect(options).toMatch(/"types": \[\]/)
    expect(options).toMatch(/"lib": \["es2024"\]/)
  })
})

describe('files', () => {
  it('are named by what they hold, not by a drawer to put things in', () => {
    const drawer = /^(utils?|helpers?|common|shared|misc|manager)$/
    const offenders = files.filter((path) =>
      path.split(/[/.-]/).some((word) => drawer.test(word.toLowerCase())),
    )
    expect(offenders).toEqual([])
  })

  it('of src have at most 400 lines', () => {
    const offenders = sources
      .map((path) => ({ path, lines: read(path).trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > 400)
    expect(offenders).toEqual([])
  })

  it('at the top are few', () => {
    const known = new Set([
      ...['src', 'test', 'wrangler.toml', 'package.json', 'tsconfig.json'],
      ...['README.md', 'LICENSE', 'CHANGELOG.md'],
      // What tools want there.
      ...['.ci', '.gitignore', 'package-lock.json', 'biome.json', 'vitest.config.ts'],
      'worker-configuration.d.ts',
    ])
    const top = new Set(files.map((path) => path.split('/')[0] ?? path))
    expect([...top].filter((name) => !known.has(name))).toEqual([])
  })

  it('hold nothing that looks like a real key of OpenRouter', () => {
    const offenders = files.filter((path) => /sk-or-v1-[0-9a-f]{40}/i.test(read(path)))
    expect(offenders).toEqual([])
  })
})

describe('wrangler.toml', () => {
  interface Environment {
    readonly workers_dev?: boolean
    readonly preview_urls?: boolean
    readonly secrets?: { readonly required?: readonly string[] }
  }
  const rawConfig: Environment & { readonly env?: Readonly<Record<string, Environment>> } =
    experimental_readRawConfig({ config: join(root, 'wrangler.toml') }).rawConfig
  const environments = Object.entries(rawConfig.env ?? {})

  const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)

  /** One line for each var, binding, export and setting that an environment would not inherit. */
  function declarations(config: object): string[] {
    const { vars, exports, observability, ...others }: Record<string, unknown> = { ...config }
    const tables = Object.entries(others).flatMap(([key, value]) => bindings(key, value))
    return [
      ...Object.keys(isRecord(vars) ? vars : {}).map((name) => `var ${name}`),
      `exports ${JSON.stringify(exports)}`,
      `observability ${JSON.stringify(observability)}`,
      ...tables,
    ].sort()
  }

  /** The bindings of a table, however deep its list is; environments may differ in their ids. */
  function bindings(table: string, value: unknown): string[] {
    if (table === 'env' || table === 'secrets' || table === 'routes') return []
    if (Array.isArray(value)) {
      return value.filter(isRecord).map((entry) => {
        const { id: _, ...rest } = entry
        return `${table} ${JSON.stringify(rest)}`
      })
    }
    if (!isRecord(value)) return []
    return Object.entries(value).flatMap(([key, inner]) => bindings(`${table}.${key}`, inner))
  }

  it('has the environments staging and production', () => {
    expect(environments.map(([name]) => name).sort()).toEqual(['production', 'staging'])
  })

  it('repeats everything that is not inherited in every environment', () => {
    expect(declarations(rawConfig)).toContain('var UPSTREAM_URL')
    for (const [name, environment] of environments) {
      expect(declarations(environment), name).toEqual(declarations(rawConfig))
    }
  })

  it('names the required secrets of what is deployed, and none where wrangler dev would then drop others', () => {
    expect(rawConfig.secrets).toBeUndefined()
    for (const [name, environment] of environments) {
      expect(environment.secrets?.required, name).toEqual(['OPENROUTER_KEYS', 'CLIENT_KEYS'])
    }
  })

  it('opens no side door to production', () => {
    expect(rawConfig.env?.production?.workers_dev).toBe(false)
    for (const config of [rawConfig, ...environments.map(([, environment]) => environment)]) {
      expect(config.preview_urls).toBe(false)
    }
  })

  it('knows no upstream on this machine', () => {
    expect(read('wrangler.toml')).not.toMatch(/simulat|localhost|127\.0\.0\.1|\[::1\]/i)
  })
})

describe('tools', () => {
  interface LockedPackage {
    readonly version?: string
    readonly optionalDependencies?: Readonly<Record<string, string>>
  }
  const locked: Readonly<Record<string, LockedPackage>> = JSON.parse(
    read('package-lock.json'),
  ).packages

  it('run one and the same workerd', () => {
    const versions = Object.entries(locked)
      .filter(([path]) => /node_modules\/(@cloudflare\/)?workerd(-[\w-]+)?$/.test(path))
      .map(([, { version }]) => version)
    expect(versions).not.toEqual([])
    expect(new Set(versions).size).toBe(1)
  })

  it('are locked for every platform, whichever wrote the lock file', () => {
    // npm leaves out a platform's package that its registry could not give, and `npm ci` then
    // refuses the lock file everywhere.
    const missing = Object.entries(locked).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) => !(`node_modules/${name}` in locked || `${path}/node_modules/${name}` in locked),
      ),
    )
    expect(missing).toEqual([])
  })

  it('are kept by the package scripts from calling home', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(read('package.json'))
    const commands = Object.values(scripts)
      .flatMap((script) => script.split('&&'))
      .filter((command) => /\b(wrangler|vitest) /.test(command))
    expect(commands).not.toEqual([])
    const offenders = commands.filter(
      (command) =>
        !command.includes('CLOUDFLARE_CF_FETCH_ENABLED=false ') ||
        !command.includes('WRANGLER_SEND_METRICS=false '),
    )
    expect(offenders).toEqual([])
  })
})
