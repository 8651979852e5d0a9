import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { faultyStart, localBindings, localFaults } from './local-configuration.ts'
import { simulatedEnvironment } from './stack.ts'
import { costlyGreeting, costWarning, simulatedGreeting } from './start-text.ts'
import { repositoryPath, startFault } from './wrangler-dev.ts'

const toml = readFileSync(join(repositoryPath, 'wrangler.toml'), 'utf8')

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-newcomer-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Files {
  /** The lines of `.dev.vars`. */
  readonly devVars?: readonly string[]
  readonly wranglerToml?: string
}

const KEYS = 'OPENROUTER_KEYS="sk-or-v1-0123456789abcdef"'
const CLIENTS = 'CLIENT_KEYS="my-app:5f3a9c0d7e1b2a48"'

function write({ devVars = [KEYS, CLIENTS], wranglerToml = toml }: Files): void {
  writeFileSync(join(folder, 'wrangler.toml'), wranglerToml)
  writeFileSync(join(folder, '.dev.vars'), devVars.join('\n'))
}

/** What `npm start` says in place of `Ready`, without its first line. */
async function saidInsteadOfReady(files: Files): Promise<string[]> {
  write(files)
  const faults = await localFaults(localBindings(folder))
  const [first, ...lines] = faultyStart(faults).split('\n')
  expect(first).toBe('The gateway was not started, because its configuration has faults:')
  return lines.map((line) => line.trim()).filter((line) => line !== '')
}

const withPolicy = (lines: string) => toml.replace('[vars.POLICY]\n', `[vars.POLICY]\n${lines}\n`)

describe('a newcomer', () => {
  const mistakes: [string, Files, string[]][] = [
    [
      'leaves CLIENT_KEYS out',
      { devVars: [KEYS] },
      [
        'CLIENT_KEYS: no client key is configured, so nobody can call; set it to one or more id:token pairs (openssl rand -hex 32 makes a token), or set ANONYMOUS_CLIENTS to "allow"',
      ],
    ],
    [
      'copies the key of the README',
      { devVars: ['OPENROUTER_KEYS="sk-or-v1-…"', CLIENTS] },
      [
        'OPENROUTER_KEYS[0].key: looks like a placeholder and holds a character that is not ASCII; put a key of your own there, from openrouter.ai/settings/keys',
      ],
    ],
    [
      'copies the key of a tutorial',
      { devVars: ['OPENROUTER_KEYS="sk-or-v1-your-key-here"', CLIENTS] },
      [
        'OPENROUTER_KEYS[0].key: looks like a placeholder; put a key of your own there, from openrouter.ai/settings/keys',
      ],
    ],
    [
      'has a key of somebody else’s',
      { devVars: ['OPENROUTER_KEYS="sk-proj-0123456789abcdef"', CLIENTS] },
      [
        'OPENROUTER_KEYS[0].key: must start with sk-or- and contain only printable ASCII characters without spaces; this looks like a key of another provider: make one at openrouter.ai/settings/keys',
      ],
    ],
    [
      'forgets a comma in JSON, and has typographic quotation marks from a page',
      {
        devVars: [
          'OPENROUTER_KEYS=\'[{"key": "sk-or-v1-0123456789abcdef" "id": "a"}]\'',
          "CLIENT_KEYS='[{“id”: “my-app”}]'",
        ],
      },
      [
        'OPENROUTER_KEYS: looks like JSON but is not valid JSON: unexpected " at line 1, column 38',
        'CLIENT_KEYS: looks like JSON but is not valid JSON: a typographic quotation mark (JSON takes only ") at line 1, column 3',
      ],
    ],
    [
      'makes three mistakes in one entry',
      {
        devVars: [
          'OPENROUTER_KEYS=\'[{"key": "sk-or-v1-0123456789abcdef", "id": "team a", "wieght": 2, "rpm": 0}]\'',
          CLIENTS,
        ],
      },
      [
        'OPENROUTER_KEYS[0].id: must be 1 to 64 letters, digits or . _ : @ - and start with a letter or digit',
        'OPENROUTER_KEYS[0].rpm: must be a whole number from 1 to 1000000, given 0',
        'OPENROUTER_KEYS[0].wieght: unknown field; did you mean "weight"?',
      ],
    ],
    [
      'writes a token without the name of its app',
      { devVars: [KEYS, 'CLIENT_KEYS=5f3a9c0d7e1b2a48'] },
      ['CLIENT_KEYS[0]: must have the form id:token'],
    ],
    [
      'misspells a field and a strategy of POLICY',
      { wranglerToml: withPolicy('stratgy = "priority"\naffinity = "sesion"') },
      [
        'POLICY.affinity: must be one of "none", "session", "conversation", given "sesion"',
        'POLICY.stratgy: unknown field; did you mean "strategy"?',
      ],
    ],
    [
      'leaves the scheme of the upstream out',
      { wranglerToml: toml.replace('"https://openrouter.ai/api/v1"', '"openrouter.ai/api/v1"') },
      [
        'UPSTREAM_URL: must be an absolute URL, such as https://openrouter.ai/api/v1, given "openrouter.ai/api/v1"',
      ],
    ],
    [
      'forgets a bracket in wrangler.toml',
      { wranglerToml: toml.replace('[vars.POLICY]', '[vars.POLICY') },
      [
        `wrangler.toml cannot be read: Invalid TOML document: illegal character in key (line ${1 + toml.split('\n').indexOf('[vars.POLICY]')}, column 13).`,
      ],
    ],
  ]

  it.each(mistakes)('who %s is told what to do, in one sentence each', async (_, files, said) => {
    expect(await saidInsteadOfReady(files)).toEqual(said)
  })

  it('who makes no mistake is told nothing, with keys of his own and without', async () => {
    write({})
    expect(await localFaults(localBindings(folder))).toEqual([])
    expect(await localFaults(localBindings(folder, simulatedEnvironment()))).toEqual([])
    copyFileSync(join(repositoryPath, 'wrangler.toml'), join(folder, 'wrangler.toml'))
    rmSync(join(folder, '.dev.vars'))
    expect(await localFaults(localBindings(folder, simulatedEnvironment()))).toEqual([])
  })

  it('whose key costs money is told so, and gets a snippet that shows no token', async () => {
    write({})
    const local = localBindings(folder)
    if (!local.ok) throw new Error(local.fault)
    expect(costWarning(local.bindings.UPSTREAM_URL)).toContain(
      'requests go to https://openrouter.ai/api/v1 and COST MONEY',
    )
    const greeting = await costlyGreeting('http://localhost:8787', local.bindings)
    expect(greeting).toContain('REQUESTS COST MONEY')
    expect(greeting).toContain('curl http://localhost:8787/api/v1/chat/completions')
    expect(greeting).toContain('the token of "my-app", from CLIENT_KEYS in .dev.vars')
    expect(greeting).toContain('console.log(answer.choices[0].message.content)')
    expect(greeting).not.toContain('5f3a9c0d7e1b2a48')
    expect(greeting).not.toContain('sk-or-')
    const open = { ...local.bindings, CLIENT_KEYS: undefined, ANONYMOUS_CLIENTS: 'allow' }
    expect(await costlyGreeting('http://localhost:8787', open)).toContain('any token will do')
  })

  it('without a key of his own gets snippets that run, and faults to try', () => {
    const greeting = simulatedGreeting('http://localhost:8787', 'http://localhost:9', {
      client: 'sy-a-token',
      admin: 'sy-an-admin-token',
    })
    expect(greeting).toContain('Nothing costs money')
    expect(greeting).toContain('"model":"sim/401@alpha"')
    expect(greeting).toContain('curl http://localhost:9/control ')
    expect(greeting).toContain("'authorization: Bearer sy-a-token'")
    expect(greeting).toMatch(/http:\/\/localhost:8787\/admin .*sy-an-admin-token/)
  })
})

describe('a gateway that does not start', () => {
  it('is reported in wrangler’s own words, as one sentence', () => {
    const log =
      '\n✘ [ERROR] Could not resolve\n  "nowhere.ts"\n\n    src/index.ts:1:7:\n      1 │ import\n'
    expect(startFault(log, new Error('wrangler dev ended with code 1'))).toBe(
      'Could not resolve "nowhere.ts"',
    )
  })

  it('without a word of wrangler’s is reported with all that there is', () => {
    expect(startFault('some output', new Error('no answer within 60000 ms'))).toBe(
      'no answer within 60000 ms. Its output:\nsome output',
    )
  })
})
