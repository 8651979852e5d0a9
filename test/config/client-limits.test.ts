import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const TOKEN = 'token-for-tests-0001'
const json = JSON.stringify

/** The first client's terms, of a list with one client of these fields. */
const termsOf = async (fields: object) => {
  const { clients } = await configOf({ CLIENT_KEYS: json([{ id: 'a', token: TOKEN, ...fields }]) })
  return clients[0]
}
const faultsOfFields = async (fields: object) =>
  await faultsOf({ CLIENT_KEYS: json([{ id: 'a', token: TOKEN, ...fields }]) })

const BUDGET = {
  ...{ usd: 5, period: 'day', mode: 'capped', onExceeded: 'reject', capUsd: 0.5 },
  ...{ reserveUsd: 0.5, strict: false, includeByok: false, assumeOutputTokens: 4096 },
}

describe('the limits of a client in CLIENT_KEYS', () => {
  it('are none without a field, and each field sets its own', async () => {
    expect(await termsOf({})).toMatchObject({
      ...{ groupId: null, rpm: null, tpm: null, rpd: null, maxConcurrent: null },
      ...{ budgets: [], models: null, keys: null, expiresAtMs: null },
    })
    const fields = {
      ...{ rpm: 1, tpm: 1e9, rpd: 1e9, max_concurrent: 1e6, models: ['a/*', 'b'], keys: ['tag:x'] },
      expires_at: '2027-01-31T00:00:00+01:00',
    }
    const { clients } = await configOf({
      OPENROUTER_KEYS: json([{ key: 'sk-or-v1-only', tags: ['x'] }]),
      CLIENT_KEYS: json([{ id: 'a', token: TOKEN, ...fields }]),
    })
    expect(clients[0]).toMatchObject({
      ...{ rpm: 1, tpm: 1e9, rpd: 1e9, maxConcurrent: 1e6, models: ['a/*', 'b'] },
      keys: [{ kind: 'tag', tag: 'x' }],
      expiresAtMs: Date.UTC(2027, 0, 30, 23),
    })
    expect(await termsOf({ expires_at: '2027-01-31' })).toMatchObject({
      expiresAtMs: Date.UTC(2027, 0, 31),
    })
  })

  it('take a budget, or a list of them', async () => {
    const usd = { usd: 5, period: 'day' }
    expect(await termsOf({ budget: usd })).toMatchObject({ budgets: [BUDGET] })
    const all = {
      ...{ usd: 0, period: 'total', mode: 'exact', on_exceeded: 'fallback_model', cap_usd: 0 },
      ...{ reserve_usd: 1e6, strict: true, include_byok: true, assume_output_tokens: 1 },
    }
    expect(await termsOf({ budget: [usd, all] })).toMatchObject({
      budgets: [
        BUDGET,
        {
          ...{ usd: 0, period: 'total', mode: 'exact', onExceeded: 'fallback_model', capUsd: 0 },
          ...{ reserveUsd: 1e6, strict: true, includeByok: true, assumeOutputTokens: 1 },
        },
      ],
    })
    expect(await termsOf({ budget: [] })).toMatchObject({ budgets: [] })
  })

  it.each<[string, object, string]>([
    ['rpm', { rpm: 0 }, 'must be a whole number from 1 to 1000000, given 0'],
    ['rpm', { rpm: 1_000_001 }, 'must be a whole number from 1 to 1000000, given 1000001'],
    ['rpm', { rpm: 2.5 }, 'must be a whole number from 1 to 1000000, given 2.5'],
    ['tpm', { tpm: 1e9 + 1 }, 'must be a whole number from 1 to 1000000000, given 1000000001'],
    ['rpd', { rpd: 0 }, 'must be a whole number from 1 to 1000000000, given 0'],
    [
      'max_concurrent',
      { max_concurrent: -1 },
      'must be a whole number from 1 to 1000000, given -1',
    ],
    ['models', { models: [] }, 'must be a list of 1 to 100 elements, given 0 elements'],
    ['models[0]', { models: ['a*b'] }, 'must be the name of a model, or the beginning of one'],
    ['models[1]', { models: ['a', 'a'] }, 'must not occur twice'],
    ['keys', { keys: 'alpha' }, 'must be a list of 1 to 100 elements'],
    ['keys[0]', { keys: ['tag:'] }, 'must have a name after the colon'],
    ['expires_at', { expires_at: 'soon' }, 'must be a date, such as 2027-01-31T00:00:00Z'],
    ['expires_at', { expires_at: '2027-13-01' }, 'must be a date, such as 2027-01-31T00:00:00Z'],
    ['expires_at', { expires_at: 1_800_000_000 }, 'must be a date, such as 2027-01-31T00:00:00Z'],
    ['group', { group: 'a b' }, 'must be 1 to 64 letters'],
    ['budget[0]', { budget: 5 }, 'must be an object with the fields "usd" and "period"'],
    ['budget[0].usd', { budget: { period: 'day' } }, 'must be a number from 0 to 1000000, given'],
    ['budget[0].usd', { budget: { usd: -0.01, period: 'day' } }, 'given -0.01'],
    [
      'budget[0].period',
      { budget: { usd: 1, period: 'hour' } },
      'must be one of "day", "week", "month", "total"',
    ],
    [
      'budget[0].mode',
      { budget: { usd: 1, period: 'day', mode: 'x' } },
      'must be one of "exact", "capped", "after"',
    ],
    [
      'budget[0].on_exceeded',
      { budget: { usd: 1, period: 'day', on_exceeded: 'x' } },
      'must be one of "reject", "fallback_model", "warn"',
    ],
    [
      'budget[0].cap_usd',
      { budget: { usd: 1, period: 'day', cap_usd: -1 } },
      'must be a number from 0 to 1000000, given -1',
    ],
    [
      'budget[0].reserve_usd',
      { budget: { usd: 1, period: 'day', reserve_usd: 1e7 } },
      'given 10000000',
    ],
    [
      'budget[0].assume_output_tokens',
      { budget: { usd: 1, period: 'day', assume_output_tokens: 0 } },
      'must be a whole number from 1 to 1000000, given 0',
    ],
    [
      'budget[0].strict',
      { budget: { usd: 1, period: 'day', strict: 'yes' } },
      'must be true or false',
    ],
    [
      'budget[0].include_byok',
      { budget: { usd: 1, period: 'day', include_byok: 1 } },
      'must be true or false',
    ],
    [
      'budget[0].usdd',
      { budget: { usd: 1, period: 'day', usdd: 1 } },
      'unknown field; did you mean "usd"?',
    ],
    [
      'budget[1].period',
      { budget: [1, 2].map((usd) => ({ usd, period: 'day' })) },
      'must be the only budget of its period, and there is another for "day"',
    ],
  ])('%s: %j is a fault that names the field and its bounds', async (field, fields, message) => {
    const faults = await faultsOfFields(fields)
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(
      `CLIENT_KEYS[0].${field}: ${message.startsWith('given') ? '' : message}`,
    )
    expect(faults[0]).toContain(message)
  })

  it('of five budgets is one fault of the list, for there are four periods', async () => {
    const budget = ['day', 'week', 'month', 'total', 'day'].map((period) => ({ usd: 1, period }))
    expect((await faultsOfFields({ budget }))[0]).toBe(
      'CLIENT_KEYS[0].budget: must have at most 4 budgets',
    )
  })

  it('show a part of the pool that is not there', async () => {
    expect(await faultsOfFields({ keys: ['tag:nobody'] })).toEqual([
      'CLIENT_KEYS: client "a".keys[0]: no key has that tag, given a value that is not shown',
    ])
  })
})

describe('CLIENT_KEYS with groups', () => {
  const groups = [{ id: 'team', rpm: 5, budget: { usd: 50, period: 'month' } }]
  const clients = [
    { id: 'a', token: TOKEN, group: 'team' },
    { id: 'b', token: `${TOKEN}2` },
  ]

  it('is an object of two lists, as a text or as an object', async () => {
    for (const CLIENT_KEYS of [
      json({ groups, clients }),
      ` \n${json({ groups, clients })}`,
      { groups, clients },
    ]) {
      const config = await configOf({ CLIENT_KEYS })
      expect(config.groups).toMatchObject([
        { id: 'team', rpm: 5, budgets: [{ ...BUDGET, usd: 50, period: 'month' }] },
      ])
      expect(config.clients.map(({ id, groupId }) => [id, groupId])).toEqual([
        ['a', 'team'],
        ['b', null],
      ])
    }
  })

  it('takes the clients as pairs too, and either list may be left out', async () => {
    const config = await configOf({ CLIENT_KEYS: json({ clients: `a:${TOKEN} b:${TOKEN}2` }) })
    expect(config.clients.map(({ id }) => id)).toEqual(['a', 'b'])
    const onlyGroups = {
      CLIENT_KEYS: json({ groups }),
      ADMIN_TOKEN: 'admin-token-of-the-tests-0000001',
    }
    expect((await configOf(onlyGroups)).groups).toHaveLength(1)
    expect((await faultsOf({ CLIENT_KEYS: json({ groups }) }))[0]).toContain('nobody can call')
  })

  it.each<[string, object, readonly (string | RegExp)[]]>([
    [
      'a third list',
      { groups, clients, people: [] },
      ['CLIENT_KEYS.people: unknown field; the fields here are groups, clients'],
    ],
    [
      'a secret in the place of a list',
      { groups, clients, [TOKEN]: 1 },
      ['CLIENT_KEYS.(name not shown): unknown field; the fields here are groups, clients'],
    ],
    [
      'a group twice',
      { groups: [groups[0], groups[0]], clients },
      ['CLIENT_KEYS.groups[1]: has the same id as another'],
    ],
    [
      'a group with a token',
      { groups: [{ id: 'team', token: TOKEN }], clients },
      [/^CLIENT_KEYS\.groups\[0\]\.token: unknown field; the fields here are id, rpm/],
    ],
    [
      'a group in a group',
      { groups: [{ id: 'team', group: 'x' }], clients },
      [/^CLIENT_KEYS\.groups\[0\]\.group: unknown field/],
    ],
    [
      'a group that is a word',
      { groups: 'team', clients },
      ['CLIENT_KEYS.groups[0]: must be an object with the field "id"'],
    ],
    ['groups that are a number', { groups: 5, clients }, [/^CLIENT_KEYS\.groups: must be a list/]],
    [
      'an unknown group',
      { groups, clients: [{ ...clients[0], group: 'other' }] },
      ['CLIENT_KEYS.clients: client "a" is of a group that is not in the list of groups'],
    ],
    [
      'a bad limit of a group and a client of it',
      { groups: [{ id: 'team', rpm: 0 }], clients },
      [/^CLIENT_KEYS\.groups\[0\]\.rpm: .* given 0$/],
    ],
    [
      'a client with a fault',
      { groups, clients: [{ id: 'a', token: 'x' }] },
      [/^CLIENT_KEYS\.clients\[0\]\.token: must have at least 16/],
    ],
    [
      'a part of the pool that is not there',
      { groups: [{ id: 'team', keys: ['nope'] }], clients },
      [/^CLIENT_KEYS: group "team"\.keys\[0\]: /],
    ],
  ])('with %s is a fault at its place', async (_, value, expected) => {
    const faults = await faultsOf({ CLIENT_KEYS: json(value) })
    expect(faults).toEqual(
      expected.map((one) => (typeof one === 'string' ? one : expect.stringMatching(one))),
    )
  })

  it('is needed for a client of a group: a list alone has no groups', async () => {
    expect(await faultsOf({ CLIENT_KEYS: json(clients) })).toEqual([
      'CLIENT_KEYS: client "a" is of a group; list the groups too: {"groups": [...], "clients": [...]}',
    ])
  })

  it('that is broken JSON is a fault with its place', async () => {
    expect(await faultsOf({ CLIENT_KEYS: '{"clients": [' })).toEqual([
      expect.stringMatching(
        /^CLIENT_KEYS: looks like JSON but is not valid JSON: it ends too early/,
      ),
    ])
  })
})

it('no message shows a token, wherever it was put by mistake', async () => {
  const SECRET = 'h7Zq3mXk9TfW2bLr8VnC5yDp'
  const fields = [
    'rpm',
    'tpm',
    'rpd',
    'max_concurrent',
    'budget',
    'models',
    'keys',
    'expires_at',
    'group',
  ]
  const budget = [
    'usd',
    'period',
    'mode',
    'on_exceeded',
    'cap_usd',
    'strict',
    'assume_output_tokens',
  ]
  const values: unknown[] = [
    ...fields.map((name) => ({ [name]: SECRET })),
    ...fields.map((name) => ({ [name]: [SECRET, ` ${SECRET} `] })),
    ...budget.map((name) => ({ budget: { usd: 1, period: 'day', [name]: SECRET } })),
    { [SECRET]: 1 },
    { budget: { usd: 1, period: 'day', [SECRET]: 1 } },
    { id: ` ${SECRET}` },
    { token: SECRET, sha256: SECRET },
  ]
  for (const value of values) {
    const client = { id: 'a', token: TOKEN, ...(value as object) }
    for (const CLIENT_KEYS of [
      [client],
      { clients: [client] },
      { groups: [{ id: 'team', ...(value as object) }], clients: [{ id: 'b', token: TOKEN }] },
      { [SECRET]: [], clients: SECRET },
    ]) {
      const faults = await faultsOf({ CLIENT_KEYS: json(CLIENT_KEYS) })
      expect(faults.join(), json(CLIENT_KEYS)).not.toContain(SECRET)
    }
  }
})
