import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { sha256Hex } from '../../src/config/secrets.ts'
import { configOf, faultsOf } from './environment.ts'

const keysOf = async (env: Readonly<Record<string, unknown>>) => (await configOf(env)).keys
const idsOf = async (env: Readonly<Record<string, unknown>>) =>
  (await keysOf(env)).map(({ config }) => config.id)
const json = JSON.stringify

describe('a list of keys', () => {
  it.each([
    ['commas', 'sk-or-v1-a,sk-or-v1-b,sk-or-v1-c'],
    ['spaces and line breaks', ' sk-or-v1-a sk-or-v1-b\n\tsk-or-v1-c\r\n'],
    ['commas with blanks, and one at the end', 'sk-or-v1-a, sk-or-v1-b ,\nsk-or-v1-c,'],
    [
      'a JSON array of objects',
      json([{ key: 'sk-or-v1-a' }, { key: 'sk-or-v1-b' }, { key: 'sk-or-v1-c' }]),
    ],
  ])('may be written with %s', async (_, OPENROUTER_KEYS) => {
    const secrets = (await keysOf({ OPENROUTER_KEYS })).map(({ secret }) => secret)
    expect(secrets).toEqual(['sk-or-v1-a', 'sk-or-v1-b', 'sk-or-v1-c'])
  })

  it('is joined from every secret whose name starts so, the main one first, numbers by value', async () => {
    const env = {
      OPENROUTER_KEY_10: 'sk-or-v1-ten',
      OPENROUTER_KEY_2: 'sk-or-v1-two',
      OPENROUTER_KEYS_EU: json([{ key: 'sk-or-v1-eu' }]),
      OPENROUTER_KEYS: 'sk-or-v1-main',
      OPENROUTER_KEY: 'sk-or-v1-single',
      OTHER_KEY: 'sk-or-v1-not-ours',
    }
    const secrets = (await keysOf(env)).map(({ secret }) => secret)
    expect(secrets[0]).toBe('sk-or-v1-main')
    expect(secrets.indexOf('sk-or-v1-two')).toBeLessThan(secrets.indexOf('sk-or-v1-ten'))
    expect(secrets.toSorted()).toEqual(
      ['eu', 'main', 'single', 'ten', 'two'].map((name) => `sk-or-v1-${name}`),
    )
  })

  it('that is empty is a fault', async () => {
    for (const OPENROUTER_KEYS of [undefined, '', ' ,\n', '[]']) {
      expect(await faultsOf({ OPENROUTER_KEYS })).toEqual([
        'OPENROUTER_KEYS: no key is configured; set it to one or more OpenRouter keys',
      ])
    }
  })

  it.each(['[{"key": "sk-or-v1-a"', '{"key": "sk-or-v1-a"}', '[1, "sk-or-v1-a"]'])(
    'that is not what it should be is a fault which does not show it: %s',
    async (OPENROUTER_KEYS) => {
      const faults = await faultsOf({ OPENROUTER_KEYS })
      expect(faults).not.toEqual([])
      expect(faults.join()).toMatch(/^OPENROUTER_KEYS/)
      expect(faults.join()).not.toContain('sk-or-v1')
    },
  )
})

const MAX_SPEND = { usd: 12.5, period: 'week', mode: 'exact' } as const

describe('a key', () => {
  it('without an id is named by its hash, wherever it stands', async () => {
    const named = (key: string) =>
      `key-${createHash('sha256').update(key).digest('hex').slice(0, 8)}`
    expect(await idsOf({ OPENROUTER_KEYS: 'sk-or-v1-a sk-or-v1-b' })).toEqual([
      named('sk-or-v1-a'),
      named('sk-or-v1-b'),
    ])
    expect(await idsOf({ OPENROUTER_KEYS: 'sk-or-v1-b sk-or-v1-a' })).toEqual([
      named('sk-or-v1-b'),
      named('sk-or-v1-a'),
    ])
  })

  it('has the fields it was given, and the defaults of the policy for the others', async () => {
    const [own, plain] = await keysOf({
      POLICY: {
        defaults: { weight: 7, max_concurrent: 9, rpm: 60, tpm: 5000, min_credit: 0.5 },
      },
      OPENROUTER_KEYS: json([
        {
          key: 'sk-or-v1-a',
          id: 'a',
          account: 'acme',
          weight: 3,
          max_concurrent: 2,
          rpm: 6,
          tpm: 700,
          min_credit: 0,
          max_spend: { ...MAX_SPEND, cap_usd: 0.1, reserve_usd: 0.2, include_byok: true },
          tags: ['eu', 'batch'],
          disabled: true,
        },
        { key: 'sk-or-v1-b', id: 'b' },
      ]),
    })
    expect(own?.config).toEqual({
      id: 'a',
      account: 'acme',
      weight: 3,
      maxConcurrent: 2,
      rpm: 6,
      tpm: 700,
      minCreditUsd: 0,
      maxSpend: { ...MAX_SPEND, capUsd: 0.1, reserveUsd: 0.2, includeByok: true },
      tags: ['eu', 'batch'],
      disabled: true,
      fingerprint: sha256Hex('sk-or-v1-a').slice(0, 8),
    })
    expect(plain?.config).toEqual({
      id: 'b',
      account: null,
      weight: 7,
      maxConcurrent: 9,
      rpm: 60,
      tpm: 5000,
      minCreditUsd: 0.5,
      maxSpend: null,
      tags: [],
      disabled: false,
      fingerprint: sha256Hex('sk-or-v1-b').slice(0, 8),
    })
  })

  it('has no limits, and an account that is to be learned, unless they are set', async () => {
    const [key] = await keysOf({ OPENROUTER_KEYS: 'sk-or-v1-a' })
    expect(key?.config).toMatchObject({
      account: null,
      maxConcurrent: null,
      rpm: null,
      tpm: null,
      minCreditUsd: 0,
    })
  })

  it('may not be given the name that stands for an unknown account', async () => {
    const OPENROUTER_KEYS = json([{ key: 'sk-or-v1-a', account: 'own/a' }])
    expect(await faultsOf({ OPENROUTER_KEYS })).toHaveLength(1)
  })

  it.each([
    ['does not start with sk-or-', { key: 'sk-proj-abc' }, '.key'],
    ['holds a blank', { key: 'sk-or-v1 a' }, '.key'],
    ['is missing', { id: 'a' }, '.key'],
    ['has a bad id', { key: 'sk-or-v1-a', id: 'two words' }, '.id'],
    ['has its own secret as its id', { key: 'sk-or-v1-a', id: 'sk-or-v1-a' }, '.id'],
    ['weighs nothing', { key: 'sk-or-v1-a', weight: 0 }, '.weight'],
    ['may serve nothing', { key: 'sk-or-v1-a', max_concurrent: 0 }, '.max_concurrent'],
    ['is disabled by a word', { key: 'sk-or-v1-a', disabled: 'yes' }, '.disabled'],
    ['has an id like a selector of tags', { key: 'sk-or-v1-a', id: 'tag:eu' }, '.id'],
    ['has an id like a selector of accounts', { key: 'sk-or-v1-a', id: 'account:a' }, '.id'],
    ['has an unknown field', { key: 'sk-or-v1-a', tag: 'eu' }, '.tag'],
    ['has one tag for a list', { key: 'sk-or-v1-a', tags: 'eu' }, '.tags'],
    ['has a bad tag', { key: 'sk-or-v1-a', tags: ['eu', 'two words'] }, '.tags[1]'],
    ['has its own secret as a tag', { key: 'sk-or-v1-a', tags: ['sk-or-v1-a'] }, '.tags[0]'],
    [
      'has too many tags',
      { key: 'sk-or-v1-a', tags: Array.from({ length: 21 }, (_, i) => `t${i}`) },
      '.tags',
    ],
    ['has a limit in words', { key: 'sk-or-v1-a', rpm: 'many' }, '.rpm'],
    ['has no tokens at all', { key: 'sk-or-v1-a', tpm: 0 }, '.tpm'],
    ['has a debt for its least credit', { key: 'sk-or-v1-a', min_credit: -1 }, '.min_credit'],
  ])('that %s is a fault at its place', async (_, key, field) => {
    const faults = await faultsOf({ OPENROUTER_KEYS: json([{ key: 'sk-or-v1-z' }, key]) })
    expect(faults).toHaveLength(1)
    expect(faults[0]?.startsWith(`OPENROUTER_KEYS[1]${field}: `)).toBe(true)
  })

  const form = 'must start with sk-or- and contain only printable ASCII characters without spaces'
  const own = 'put a key of your own there, from openrouter.ai/settings/keys'

  it.each([
    ['sk-or-v1-…', `looks like a placeholder and holds a character that is not ASCII; ${own}`],
    ['sk-or-v1-...', `looks like a placeholder; ${own}`],
    ['<your-key>', `looks like a placeholder; ${own}`],
    ['sk-or-v1-your-key-here', `looks like a placeholder; ${own}`],
    ['sk-or-v1-xxxxxxxxxxxx', `looks like a placeholder; ${own}`],
    [
      'sk-or-v1-0123е567',
      `${form}; it holds a character that is not ASCII: copy the key again from openrouter.ai/settings/keys`,
    ],
    [
      'sk-proj-0123456789',
      `${form}; this looks like a key of another provider: make one at openrouter.ai/settings/keys`,
    ],
    [
      'sk-ant-api03-0123456789',
      `${form}; this looks like a key of another provider: make one at openrouter.ai/settings/keys`,
    ],
    ['nonsense', form],
  ])('that is %s is told apart', async (key, fault) => {
    expect(await faultsOf({ OPENROUTER_KEYS: key })).toEqual([`OPENROUTER_KEYS[0].key: ${fault}`])
    expect(await faultsOf({ OPENROUTER_KEYS: json([{ key }]) })).toEqual([
      `OPENROUTER_KEYS[0].key: ${fault}`,
    ])
  })

  it('has all its faults listed, and is found to be a duplicate in spite of them', async () => {
    const OPENROUTER_KEYS = json([
      { key: 'sk-or-v1-a', id: 'a' },
      { key: 'sk-or-v1-a', id: 'a', weight: 0, tag: 'eu' },
    ])
    expect(await faultsOf({ OPENROUTER_KEYS })).toEqual([
      'OPENROUTER_KEYS[1].weight: must be a whole number from 1 to 1000, given 0',
      'OPENROUTER_KEYS[1].tag: unknown field; did you mean "tags"?',
      'OPENROUTER_KEYS[1]: is the same key as OPENROUTER_KEYS[0]',
    ])
    const ids = json([
      { key: 'sk-or-v1-a', id: 'a' },
      { key: 'sk-or-v1-b', id: 'a', weight: 0 },
    ])
    expect(await faultsOf({ OPENROUTER_KEYS: ids })).toEqual([
      'OPENROUTER_KEYS[1].weight: must be a whole number from 1 to 1000, given 0',
      'OPENROUTER_KEYS[1]: has the same id as OPENROUTER_KEYS[0]',
    ])
  })

  it('that has a number out of bounds is told the bounds and the number', async () => {
    const OPENROUTER_KEYS = json([{ key: 'sk-or-v1-a', weight: 1001, max_concurrent: 2.5 }])
    expect(await faultsOf({ OPENROUTER_KEYS })).toEqual([
      'OPENROUTER_KEYS[0].weight: must be a whole number from 1 to 1000, given 1001',
      'OPENROUTER_KEYS[0].max_concurrent: must be a whole number from 1 to 1000000, given 2.5',
    ])
  })

  it.each([
    ['rpm', 'a whole number from 1 to 1000000', [1, 1_000_000], [0, 1_000_001, 1.5]],
    ['tpm', 'a whole number from 1 to 1000000000', [1, 1e9], [0, 1e9 + 1, 1.5]],
    ['min_credit', 'a number from 0 to 1000000', [0, 0.5, 1e6], [-0.01, 1e6 + 1]],
  ])('%s is %s', async (name, bounds, inside, outside) => {
    const faultsWith = (value: unknown) =>
      faultsOf({ OPENROUTER_KEYS: json([{ key: 'sk-or-v1-a', [name]: value }]) })
    for (const value of inside) expect(await faultsWith(value)).toEqual([])
    for (const value of outside) {
      expect(await faultsWith(value)).toEqual([
        `OPENROUTER_KEYS[0].${name}: must be ${bounds}, given ${value}`,
      ])
    }
    // The message does not show a text, since a text beside a key may be a part of the key.
    expect(await faultsWith('5')).toEqual([
      `OPENROUTER_KEYS[0].${name}: must be ${bounds}, given a value that is not a number and is not shown`,
    ])
  })

  it('max_spend is an amount and a period', async () => {
    const faultsWith = (max_spend: unknown) =>
      faultsOf({ OPENROUTER_KEYS: json([{ key: 'sk-or-v1-a', max_spend }]) })
    const place = 'OPENROUTER_KEYS[0].max_spend'
    for (const period of ['day', 'week', 'month', 'total']) {
      for (const usd of [0.01, 5, 1e6]) expect(await faultsWith({ usd, period })).toEqual([])
    }
    for (const usd of [0, -1, 1e6 + 1]) {
      expect(await faultsWith({ usd, period: 'day' })).toEqual([
        `${place}.usd: must be a number above 0, up to 1000000, given ${usd}`,
      ])
    }
    expect(await faultsWith({ usd: 'sk-or-v1-a', period: 'sk-or-v1-a' })).toEqual([
      `${place}.usd: must be a number above 0, up to 1000000, given a value that is not a number and is not shown`,
      `${place}.period: must be one of "day", "week", "month", "total"`,
    ])
    expect(await faultsWith({ usd: 5, period: 'day', mode: 'sk-or-v1-a', cap_usd: -1 })).toEqual([
      `${place}.mode: must be one of "exact", "capped", "after"`,
      `${place}.cap_usd: must be a number from 0 to 1000000, given -1`,
    ])
    expect(await faultsWith({ usd: 5 })).toEqual([
      `${place}.period: must be one of "day", "week", "month", "total"`,
    ])
    expect(await faultsWith({ usd: 5, period: 'day', per: 1 })).toEqual([
      `${place}.per: unknown field; the fields here are usd, period, mode, cap_usd, reserve_usd, include_byok`,
    ])
    expect(await faultsWith(5)).toEqual([
      `${place}: must be an object with the fields "usd" and "period"`,
    ])
  })

  it('that occurs twice is a fault, in one secret or in two, and so is an id', async () => {
    expect(
      await faultsOf({ OPENROUTER_KEYS: 'sk-or-v1-a', OPENROUTER_KEY_1: 'sk-or-v1-b,sk-or-v1-a' }),
    ).toEqual(['OPENROUTER_KEY_1[1]: is the same key as OPENROUTER_KEYS[0]'])
    const OPENROUTER_KEYS = json([
      { key: 'sk-or-v1-a', id: 'x' },
      { key: 'sk-or-v1-b', id: 'x' },
    ])
    expect(await faultsOf({ OPENROUTER_KEYS })).toEqual([
      'OPENROUTER_KEYS[1]: has the same id as OPENROUTER_KEYS[0]',
    ])
  })
})

/** As long as a token has to be. */
