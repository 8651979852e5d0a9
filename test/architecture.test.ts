import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
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

const sources = files.filter((path) => path.startsWith('src/') && /\.tsx?$/.test(path))

describe('rooms', () => {
  /**
   * For each room of src: the rooms and packages that it may import, beside itself. A room's name
   * stands for its top and its sub-rooms alike where an entry ends in `/*`. A single file is named
   * where a sub-room may use it of the room around it: those files are what the whole room is
   * built on, and import nothing of its sub-rooms.
   */
  const mayImport: Readonly<Record<string, readonly string[]>> = {
    balancing: ['balancing/*'],
    'balancing/strategies': [
      ...['balancing/random.ts', 'balancing/non-empty.ts', 'balancing/accounting'],
      ...['balancing/limits'],
    ],
    'balancing/health': [
      ...['balancing/ids.ts', 'balancing/random.ts', 'balancing/settlement.ts'],
      ...['balancing/affinity', 'balancing/limits'],
    ],
    'balancing/clients': [
      ...['balancing/ids.ts', 'balancing/routes.ts', 'balancing/settlement.ts'],
      ...['balancing/limits'],
    ],
    'balancing/limits': [
      ...['balancing/ids.ts', 'balancing/lease-request.ts', 'balancing/non-empty.ts'],
      ...['balancing/settlement.ts'],
    ],
    'balancing/accounting': [
      ...['balancing/ids.ts', 'balancing/settlement.ts', 'balancing/health'],
      ...['balancing/limits'],
    ],
    'balancing/batches': ['balancing/limits'],
    'balancing/serving': ['balancing/*'],
    'balancing/queue': ['balancing/*'],
    'balancing/readings': ['balancing/*'],
    'balancing/records': ['balancing/*'],
    'balancing/alerts': ['balancing/*'],
    'balancing/operators': ['balancing/*'],
    'balancing/affinity': ['balancing/ids.ts', 'balancing/limits'],
    config: ['balancing/*', 'config/alerts', 'config/operators', 'zod', 'leven', '@noble'],
    'config/operators': ['config/client-keys.ts', 'config/fields.ts', 'config/secrets.ts'],
    'config/alerts': ['balancing/*', 'config/fields.ts', 'config/json-text.ts', 'zod', 'leven'],
    openrouter: ['balancing/*', 'openrouter/failures', 'zod'],
    'openrouter/shapes': [
      ...['openrouter/json-value.ts', 'openrouter/sse.ts', 'openrouter/usage.ts'],
      ...['balancing/*', 'openrouter/failures'],
    ],
    'openrouter/failures': ['openrouter/json-value.ts', 'balancing/*'],
    'openrouter/requests': ['openrouter/json-value.ts', 'balancing/*'],
    'openrouter/prices': ['openrouter/json-value.ts', 'openrouter/requests', 'balancing/*'],
    'key-pool': [
      ...['balancing/*', 'config', 'key-pool/alerts', 'key-pool/history', 'key-pool/rows', 'zod'],
      ...['cloudflare:workers'],
    ],
    'key-pool/alerts': [
      ...['key-pool/host-ports.ts', 'key-pool/protocol.ts', 'key-pool/or-else.ts'],
      ...['balancing/*', 'zod'],
    ],
    'key-pool/history': ['balancing/*', 'key-pool/or-else.ts', 'key-pool/rows', 'zod'],
    'key-pool/rows': [
      ...['balancing/*', 'key-pool/or-else.ts', 'key-pool/alerts', 'key-pool/history', 'zod'],
    ],
    gateway: ['balancing/*', 'config', 'openrouter/*', 'key-pool', 'gateway/*'],
    'gateway/attempts': [
      ...['gateway/byte-budget.ts', 'gateway/ports.ts', 'gateway/spans.ts'],
      ...['gateway/answers', 'gateway/leases', 'balancing/*', 'openrouter/*'],
    ],
    'gateway/alerts': ['gateway/ports.ts', 'gateway/leases', 'balancing/*', 'config/alerts'],
    'gateway/answers': ['gateway/ports.ts', 'balancing/*', 'openrouter/*'],
    'gateway/leases': [
      ...['gateway/ports.ts', 'gateway/spans.ts', 'balancing/*', 'config'],
      ...['openrouter/*', 'key-pool'],
    ],
    flight: ['balancing/*', 'config', 'openrouter/*', 'key-pool', 'gateway/*'],
    'flight/object': [
      ...['balancing/*', 'openrouter/*', 'gateway/*', 'flight', 'http', 'zod'],
      ...['cloudflare:workers'],
    ],
    http: [
      ...['balancing/*', 'config', 'openrouter/*', 'key-pool', 'gateway/*', 'flight'],
      ...['http/prices', 'http/alerts', 'hono', 'zod'],
    ],
    'http/alerts': [
      ...['http/kv-credit-cache.ts', 'http/log.ts', 'balancing/*', 'gateway/*'],
      ...['key-pool', 'zod'],
    ],
    'http/prices': ['http/kv-credit-cache.ts', 'gateway/*', 'openrouter/*'],
    'http/flights': ['balancing/*', 'config', 'openrouter/*', 'gateway/*', 'flight', 'http'],
    'http/routes': [
      ...['balancing/*', 'config', 'openrouter/*', 'key-pool', 'gateway/*', 'http'],
      ...['flight', 'http/flights', 'hono', 'http-cache-semantics'],
    ],
    admin: [
      ...['balancing/*', 'config', 'openrouter/*', 'key-pool', 'gateway/*', 'http'],
      ...['admin/sign-in', 'batches', 'batches/files', 'hono', 'zod'],
      ...['config/alerts', 'key-pool/alerts'],
    ],
    batches: ['batches/files', 'batches/progress', 'config'],
    'batches/files': ['openrouter/*', 'cloudflare:workers'],
    'batches/progress': [
      'balancing/batches',
      'batches/files',
      'http',
      'key-pool',
      'cloudflare:workers',
    ],
    'batches/runs': [
      ...['batches', 'batches/files', 'batches/progress', 'balancing/*', 'openrouter/*'],
      ...['gateway/*', 'http'],
    ],
    'batches/routes': [
      ...['batches', 'batches/files', 'batches/progress', 'gateway/*', 'http', 'hono'],
      ...['balancing/*', 'openrouter/*', 'zod'],
    ],
    'admin/dashboard': [
      ...['balancing/*', 'config', 'gateway/*', 'http', 'key-pool/*', 'hono', 'admin'],
      ...['admin/alerts', 'admin/pool', 'admin/sign-in', 'admin/dashboard/views'],
    ],
    'admin/history': [
      ...['admin/admin-request.ts', 'admin/admin-schemas.ts', 'admin/client-answers.ts'],
      'admin/counters-answer.ts',
      ...['balancing/*', 'config'],
      ...['http', 'key-pool/history', 'hono', 'zod'],
    ],
    'admin/alerts': [
      ...['balancing/*', 'config/alerts', 'key-pool/alerts', 'gateway/*', 'http'],
      ...['admin', 'hono', 'zod'],
    ],
    'admin/metrics': ['balancing/*', 'http', 'hono'],
    app: ['openrouter/*', 'gateway/*', 'http/*', 'admin/*', 'hono', 'batches/routes'],
    index: [
      ...['app', 'gateway', 'http', 'key-pool', 'flight/object', 'cloudflare:workers'],
      ...['batches/*'],
    ],
    'admin/dashboard/views': [
      ...['balancing/*', 'key-pool/*', 'admin', 'admin/pool', 'admin/dashboard/feed.ts'],
      ...['hono'],
    ],
    'admin/sign-in': ['balancing/*', 'config/*', 'gateway/*', 'http', 'hono', 'zod'],
    'admin/pool': [
      ...['balancing/*', 'config', 'openrouter/*', 'key-pool', 'gateway/*', 'http'],
      ...['admin', 'hono', 'zod'],
    ],
  }

  /** `src/http/routes/healthz.ts` is in the room `http/routes`, `src/app.ts` is a room of its own. */
  const roomOf = (path: string): string => {
    const folder = dirname(path.replace(/^src\//, ''))
    return folder === '.' ? basename(path, '.ts') : folder
  }

  const importsOf = (path: string): string[] =>
    Array.from(
      read(path).matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g),
      (match) => match[1] ?? '',
    )

  /** The file of src that an import leads to; null where it leads elsewhere. */
  function fileOf(path: string, specifier: string): string | null {
    const target = normalize(join(dirname(path), specifier))
    return specifier.startsWith('.') && target.startsWith('src/') ? target : null
  }

  function isAllowed(path: string, specifier: string): boolean {
    const room = roomOf(path)
    const allowed = mayImport[room] ?? []
    const file = fileOf(path, specifier)
    if (file === null) return allowed.includes(specifier.split('/')[0] ?? specifier)
    const target = roomOf(file)
    return (
      target === room ||
      allowed.includes(target) ||
      allowed.includes(`${target.split('/')[0]}/*`) ||
      allowed.includes(file.replace(/^src\//, ''))
    )
  }

  it('import only what is below them', () => {
    const offenders = sources.flatMap((path) =>
      importsOf(path)
        .filter((specifier) => !isAllowed(path, specifier))
        .map((specifier) => `${path} imports ${specifier}`),
    )
    expect(offenders).toEqual([])
  })

  it('are all known', () => {
    expect(sources.filter((path) => !(roomOf(path) in mayImport))).toEqual([])
  })

  it('have rules that name only rooms and files that are there', () => {
    const rooms = new Set(sources.map(roomOf))
    const known = (name: string) =>
      rooms.has(name) || sources.includes(`src/${name}`) || rooms.has(name.replace(/\/\*$/, ''))
    const names = Object.values(mayImport)
      .flat()
      .filter((name) => rooms.has(name.split('/')[0] ?? ''))
    expect(names.filter((name) => !known(name))).toEqual([])
    expect(Object.keys(mayImport).filter((room) => !rooms.has(room))).toEqual([])
  })

  it('import nothing in a circle', () => {
    const graph = new Map(
      sources.map((path) => [
        path,
        importsOf(path).flatMap((specifier) => fileOf(path, specifier) ?? []),
      ]),
    )
    const done = new Set<string>()
    const circles: string[] = []
    const visit = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' → '))
      if (way.includes(path) || done.has(path)) return
      for (const next of graph.get(path) ?? []) visit(next, [...way, path])
      done.add(path)
    }
    for (const path of sources) visit(path, [])
    expect(circles).toEqual([])
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

  it('of src lie at most 15 in a folder', () => {
    const folders = Map.groupBy(sources, dirname)
    const offenders = [...folders].filter(([, paths]) => paths.length > 15)
    expect(offenders.map(([folder, paths]) => `${folder}: ${paths.length}`)).toEqual([])
  })

  it('have a name of their own, but for a test, which has that of what it tests', () => {
    // The simulator is a program of its own: the fake of a shape is named as the shape is.
    const code = files.filter((path) => /^(src|test)\/.*\.tsx?$/.test(path))
    const named = code.filter((path) => !/\.test\.ts$|^test\/simulator\//.test(path))
    const namesakes = [...Map.groupBy(named, (path) => basename(path))].filter(
      ([, paths]) => paths.length > 1,
    )
    expect(namesakes).toEqual([])
  })

  it('of a test that has the name of a source stand where the source stands', () => {
    // End to end a name is that of a capability: `affinity` there is what a caller notices of it.
    const tests = files.filter((path) => /^test\/(?!e2e\/|simulator\/).*\.test\.ts$/.test(path))
    const offenders = tests.filter((path) => {
      const source = `${basename(path, '.test.ts')}.ts`
      const namesake = sources.find((other) => basename(other) === source)
      return namesake !== undefined && dirname(path).slice(4) !== dirname(namesake).slice(3)
    })
    expect(offenders).toEqual([])
  })

  it('at the top are few', () => {
    const known = new Set([
      ...['src', 'test', 'docs', 'wrangler.toml', 'package.json', 'tsconfig.json'],
      ...[
        'README.md',
        'ARCHITECTURE.md',
        'CONTRIBUTING.md',
        'SECURITY.md',
        'CHANGELOG.md',
        'LICENSE',
      ],
      '.dev.vars.example',
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
    const { vars, exports, observability, triggers, ...others }: Record<string, unknown> = {
      ...config,
    }
    const tables = Object.entries(others).flatMap(([key, value]) => bindings(key, value))
    return [
      ...Object.keys(isRecord(vars) ? vars : {}).map((name) => `var ${name}`),
      `exports ${JSON.stringify(exports)}`,
      `observability ${JSON.stringify(observability)}`,
      `triggers ${JSON.stringify(triggers)}`,
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
    expect(declarations(rawConfig)).toContain('triggers {"crons":["* * * * *"]}')
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
