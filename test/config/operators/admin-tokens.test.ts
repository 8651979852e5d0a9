import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from '../environment.ts'

const ONE = `${'a'.repeat(31)}1`
const TWO = `${'a'.repeat(31)}2`
const THREE = `${'a'.repeat(31)}3`
const hash = (token: string) => createHash('sha256').update(token).digest('hex')

describe.each([
  ['ADMIN_TOKEN', 'writers'],
  ['READ_TOKEN', 'readers'],
] as const)('%s', (name, who) => {
  const tokensOf = async (value: unknown) => (await configOf({ [name]: value })).admin[who]

  it('is one token or two, kept by their hashes, with blanks around the comma', async () => {
    expect(await tokensOf(ONE)).toEqual([hash(ONE)])
    expect(await tokensOf(`${ONE}, ${TWO}`)).toEqual([hash(ONE), hash(TWO)])
    expect(await tokensOf(` ${ONE} ,\n${TWO} `)).toEqual([hash(ONE), hash(TWO)])
  })

  it('may be unset or empty', async () => {
    for (const value of [undefined, '', ' \n']) expect(await tokensOf(value)).toEqual([])
  })

  it.each<[string, unknown, string]>([
    [
      'too short',
      'a'.repeat(31),
      'must have at least 32 characters, so that nobody can guess it; openssl rand -hex 32 gives one',
    ],
    ['short beside a good one', `${ONE},short`, 'must have at least 32 characters'],
    ['three', `${ONE},${TWO},${THREE}`, 'must be one token, or 2 with a comma'],
    [
      'nothing after the comma',
      `${ONE},`,
      'must contain only printable ASCII characters without spaces',
    ],
    [
      'a blank in it',
      `${ONE} ${TWO}`,
      'must contain only printable ASCII characters without spaces',
    ],
    [
      'a letter that is not ASCII',
      `${ONE}é`,
      'must contain only printable ASCII characters without spaces',
    ],
    ['a number', 5, 'must be a text'],
    ['a list', [ONE], 'must be a text'],
    ['the same token twice', `${ONE},${ONE}`, 'has the same token twice'],
    ['a placeholder', '<your-admin-token-that-you-made-up>', 'looks like a placeholder'],
  ])('%s is one fault, which does not show it', async (_, value, message) => {
    const faults = await faultsOf({ [name]: value })
    expect(faults).toEqual([expect.stringContaining(`${name}: ${message}`)])
    expect(faults.join()).not.toContain(ONE)
  })
})

it('READ_TOKEN must not open what ADMIN_TOKEN opens, nor be a client’s', async () => {
  expect(await faultsOf({ ADMIN_TOKEN: ONE, READ_TOKEN: `${TWO},${ONE}` })).toEqual([
    'READ_TOKEN: has a token of ADMIN_TOKEN; each opens something else, so make up another',
  ])
  const CLIENT_KEYS = `app:${ONE}`
  expect(await faultsOf({ ADMIN_TOKEN: ONE, CLIENT_KEYS })).toEqual([
    'ADMIN_TOKEN: has the token of a client; whoever has that must not have the gateway',
  ])
  expect(await faultsOf({ READ_TOKEN: ONE, CLIENT_KEYS })).toEqual([
    'READ_TOKEN: has the token of a client; whoever has that must not have the gateway',
  ])
})

it('ADMIN_TOKEN lets CLIENT_KEYS be unset, for it can make some; READ_TOKEN does not', async () => {
  expect(await faultsOf({ CLIENT_KEYS: undefined, ADMIN_TOKEN: ONE })).toEqual([])
  const faults = await faultsOf({ CLIENT_KEYS: undefined, READ_TOKEN: ONE })
  expect(faults).toEqual([expect.stringContaining('nobody can call')])
})
