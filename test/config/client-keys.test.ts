import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const json = JSON.stringify

const LONG = 'token-for-tests-'

describe('a client', () => {
  const clientsOf = async (CLIENT_KEYS: unknown) => (await configOf({ CLIENT_KEYS })).clients
  const hash = (token: string) => createHash('sha256').update(token).digest('hex')
  const shown = (clients: Awaited<ReturnType<typeof clientsOf>>) =>
    clients.map(({ id, tokenSha256 }) => [id, tokenSha256])

  it('may be a pair, whose token may hold colons, or an object with the token or its hash', async () => {
    const expected = [
      ['a', hash(`${LONG}:1`)],
      ['b', hash(`${LONG}2`)],
    ]
    expect(shown(await clientsOf(`a:${LONG}:1, b:${LONG}2`))).toEqual(expected)
    expect(
      shown(
        await clientsOf(
          json([
            { id: 'a', token: `${LONG}:1` },
            { id: 'b', sha256: hash(`${LONG}2`) },
          ]),
        ),
      ),
    ).toEqual(expected)
    expect(
      shown(await clientsOf(json([{ id: 'b', sha256: hash(`${LONG}2`).toUpperCase() }]))),
    ).toEqual([['b', hash(`${LONG}2`)]])
  })

  it.each([
    ['without a token', [{ id: 'a' }]],
    ['with a token and a hash', [{ id: 'a', token: LONG, sha256: hash(LONG) }]],
    ['with half a hash', [{ id: 'a', sha256: 'abcd' }]],
    ['with an empty token', [{ id: 'a', token: '' }]],
    ['with a bad id', [{ id: 'a b', token: LONG }]],
    ['with a limit out of its bounds', [{ id: 'a', token: LONG, rpm: 0 }]],
    ['that is a number', [5]],
  ])('%s is a fault at its place', async (_, clients) => {
    const faults = await faultsOf({ CLIENT_KEYS: json(clients) })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(/^CLIENT_KEYS\[0\]/)
  })

  it('with a token that can be guessed is a fault that says how to make one', async () => {
    for (const CLIENT_KEYS of ['a:fifteen-letters', json([{ id: 'a', token: 'x' }])]) {
      expect(await faultsOf({ CLIENT_KEYS })).toEqual([
        'CLIENT_KEYS[0].token: must have at least 16 characters, so that nobody can guess it; openssl rand -hex 32 gives one',
      ])
    }
    expect(await faultsOf({ CLIENT_KEYS: 'a:sixteen-letters-' })).toEqual([])
  })

  it('with the id or the token of another is a fault', async () => {
    expect(await faultsOf({ CLIENT_KEYS: `a:${LONG}1 a:${LONG}2` })).toEqual([
      'CLIENT_KEYS[1]: has the same id as CLIENT_KEYS[0]',
    ])
    const clients = json([
      { id: 'a', token: LONG },
      { id: 'b', sha256: hash(LONG) },
    ])
    expect(await faultsOf({ CLIENT_KEYS: clients })).toEqual([
      'CLIENT_KEYS[1]: has the same token as CLIENT_KEYS[0]',
    ])
  })

  it('is needed unless anonymous callers are allowed and no client is configured', async () => {
    const anonymous = async (env: object) => (await configOf({ ...env })).anonymous
    expect(await anonymous({ CLIENT_KEYS: `a:${LONG}` })).toBe(false)
    expect(await anonymous({ ANONYMOUS_CLIENTS: 'allow', CLIENT_KEYS: undefined })).toBe(true)
    expect(await anonymous({ ANONYMOUS_CLIENTS: 'allow', CLIENT_KEYS: ' ' })).toBe(true)
    expect(await anonymous({ ANONYMOUS_CLIENTS: 'allow', CLIENT_KEYS: `a:${LONG}` })).toBe(false)
    expect(await anonymous({ ANONYMOUS_CLIENTS: 'allow', CLIENT_KEYS: '[]' })).toBe(false)
  })

  it('is missing where nobody could call, which is a fault', async () => {
    const nobody =
      'CLIENT_KEYS: no client key is configured, so nobody can call; set it to one or more id:token pairs (openssl rand -hex 32 makes a token), or set ANONYMOUS_CLIENTS to "allow"'
    for (const CLIENT_KEYS of [undefined, '', ' ,\n', '[]']) {
      expect(await faultsOf({ CLIENT_KEYS })).toEqual([nobody])
      expect(await faultsOf({ CLIENT_KEYS, ANONYMOUS_CLIENTS: 'deny' })).toEqual([nobody])
    }
    // Clients that could not be read are a fault of their own, and the only one.
    expect(await faultsOf({ CLIENT_KEYS: 'nocolon' })).toEqual([
      'CLIENT_KEYS[0]: must have the form id:token',
    ])
    expect(await faultsOf({ CLIENT_KEYS: undefined, ANONYMOUS_CLIENTS: 'maybe' })).toEqual([
      'ANONYMOUS_CLIENTS: must be "deny" or "allow", given "maybe"',
    ])
  })

  it('has all its faults listed, not the first of them', async () => {
    const CLIENT_KEYS = json([
      { id: 'a b', token: 'has blanks in it', toke: 1 },
      { name: 'app' },
      { id: 'b', token: 'made-up-by-an-operator', sha256: 'ab' },
    ])
    expect(await faultsOf({ CLIENT_KEYS })).toEqual([
      'CLIENT_KEYS[0].id: must be 1 to 64 letters, digits or . _ : @ - and start with a letter or digit',
      'CLIENT_KEYS[0].token: must contain only printable ASCII characters without spaces, and at least one',
      'CLIENT_KEYS[0].toke: unknown field; did you mean "token"?',
      'CLIENT_KEYS[1].id: must be a string',
      'CLIENT_KEYS[1].name: unknown field; the fields here are id, token, sha256, rpm, tpm, rpd, max_concurrent, budget, models, keys, expires_at, group',
      'CLIENT_KEYS[1]: must have either "token" or "sha256", given neither',
      'CLIENT_KEYS[2].sha256: must be 64 hexadecimal digits',
      'CLIENT_KEYS[2]: must have either "token" or "sha256", given both',
    ])
  })

  it.each(['<your token>', 'app:your-token-goes-here', 'app:some-long-random-token', 'app:…'])(
    'whose token is a placeholder is a fault: everybody could guess it: %s',
    async (text) => {
      const [fault] = await faultsOf({ CLIENT_KEYS: text })
      expect(fault).toMatch(/looks like a placeholder|must have the form id:token|printable ASCII/)
    },
  )
})
