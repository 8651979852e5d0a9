import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { poolConfig } from '../../src/config/config.ts'
import { configOf, faultsOf } from './environment.ts'

const OPENROUTER_KEYS = JSON.stringify([
  { key: 'sk-or-v1-a', id: 'a', account: 'acme', tags: ['eu', 'batch'] },
  { key: 'sk-or-v1-b', id: 'b', tags: ['us'] },
])
const routesOf = async (policy: object) =>
  (await configOf({ OPENROUTER_KEYS, POLICY: policy })).policy.routes
const routeFaults = (...routes: unknown[]) => faultsOf({ OPENROUTER_KEYS, POLICY: { routes } })

/** A list of so many different texts. */
const many = (length: number, text = 'm') => Array.from({ length }, (_, i) => `${text}${i}`)

describe('a route', () => {
  it('has what it says itself', async () => {
    const [route] = await routesOf({
      routes: [
        {
          models: ['anthropic/*', 'openai/gpt-4o'],
          keys: ['a', 'tag:us', 'account:acme'],
          strategy: 'priority',
          affinity: 'conversation',
          fallback_models: ['openai/gpt-4o-mini', 'openai/gpt-4o'],
          timeouts: { headers_ms: 101, first_output_ms: 102, idle_ms: 103, total_ms: 104 },
          max_attempts: 9,
        },
      ],
    })
    expect(route).toEqual({
      models: ['anthropic/*', 'openai/gpt-4o'],
      keys: [
        { kind: 'id', id: 'a' },
        { kind: 'tag', tag: 'us' },
        { kind: 'account', account: 'acme' },
      ],
      strategy: 'priority',
      affinity: 'conversation',
      fallbackModels: ['openai/gpt-4o-mini', 'openai/gpt-4o'],
      timeouts: { headersMs: 101, firstOutputMs: 102, idleMs: 103, totalMs: 104 },
      maxAttempts: 9,
      cache: null,
    })
  })

  it('takes from the pool what it leaves open, each clock for itself', async () => {
    const pool = {
      strategy: 'weighted',
      affinity: 'none',
      max_attempts: 7,
      timeouts: { headers_ms: 201, first_output_ms: 202, idle_ms: 203 },
    }
    const [open, partly] = await routesOf({
      ...pool,
      routes: [{ models: ['x/*'] }, { models: ['y/*'], timeouts: { idle_ms: 999 } }],
    })
    const inherited = { strategy: 'weighted', affinity: 'none', maxAttempts: 7 }
    const clocks = { headersMs: 201, firstOutputMs: 202, idleMs: 203, totalMs: 600_000 }
    expect(open).toEqual({
      models: ['x/*'],
      keys: null,
      fallbackModels: [],
      timeouts: clocks,
      cache: null,
      ...inherited,
    })
    expect(partly).toMatchObject({ timeouts: { ...clocks, idleMs: 999 }, ...inherited })
  })

  it('is followed by one for every other model, which has the pool’s own values alone', async () => {
    const routes = await routesOf({
      strategy: 'lowest-usage',
      max_attempts: 2,
      routes: [
        { models: ['*'], keys: ['a'], strategy: 'priority', max_attempts: 9 },
        { models: ['x'], fallback_models: ['y'], timeouts: { total_ms: 100 } },
      ],
    })
    expect(routes).toHaveLength(3)
    expect(routes[2]).toMatchObject({
      models: ['*'],
      keys: null,
      strategy: 'lowest-usage',
      affinity: 'session',
      fallbackModels: [],
      timeouts: { totalMs: 600_000 },
      maxAttempts: 2,
    })
  })

  it('never moves another: routes stay in order and nothing of one shows in the next', async () => {
    const someRoute = fc.record(
      {
        models: fc.uniqueArray(fc.constantFrom('a/*', 'b', 'c/d', '*'), { minLength: 1 }),
        strategy: fc.constantFrom('priority', 'weighted', 'round-robin'),
        affinity: fc.constantFrom('none', 'session', 'conversation'),
        max_attempts: fc.integer({ min: 1, max: 10 }),
        timeouts: fc.record({ idle_ms: fc.integer({ min: 100, max: 1000 }) }),
      },
      { requiredKeys: ['models'] },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(someRoute, { maxLength: 5 }), async (given) => {
        const routes = await routesOf({ routes: given })
        const expected = [...given, { models: ['*'] }].map((route) => ({
          strategy: 'least-busy',
          affinity: 'session',
          ...route,
        }))
        expect(
          routes.map(({ models, strategy, affinity }) => ({ models, strategy, affinity })),
        ).toEqual(
          expected.map(({ models, strategy, affinity }) => ({ models, strategy, affinity })),
        )
        expect(routes.map(({ maxAttempts }) => maxAttempts)).toEqual([
          ...given.map((route) => route.max_attempts ?? 4),
          4,
        ])
        expect(routes.map(({ timeouts }) => timeouts.idleMs)).toEqual([
          ...given.map((route) => route.timeouts?.idle_ms ?? 60_000),
          60_000,
        ])
      }),
      { numRuns: 50 },
    )
  })

  it('reaches the pool that decides', async () => {
    const config = await configOf({
      OPENROUTER_KEYS,
      POLICY: {
        routes: [{ models: ['x/*'], keys: ['tag:eu'], strategy: 'most-credit' }],
        credit: { refresh_s: 120, threshold: 3 },
        queue: { max_waiting: 5, max_wait_ms: 50 },
      },
    })
    const pool = poolConfig(config)
    expect(pool.routes).toEqual(config.policy.routes)
    expect(pool.policy).toMatchObject({
      credit: { refreshMs: 120_000, thresholdUsd: 3 },
      queue: { maxWaiting: 5, maxWaitMs: 50 },
    })
    expect(pool.keys.map(({ id, tags }) => [id, tags])).toEqual([
      ['a', ['eu', 'batch']],
      ['b', ['us']],
    ])
    expect(JSON.stringify(pool)).not.toContain('sk-or')
  })
})

describe('a fault of a route', () => {
  const text = 'must be a text of 1 to 256 characters without spaces or control characters, given'
  const star = 'must be the name of a model, or the beginning of one with "*" after it, given'

  it.each([
    ['no models', {}, '.models: must be a list of 1 to 100 elements, given nothing'],
    ['an empty list', { models: [] }, '.models: must be a list of 1 to 100 elements, given []'],
    ['one model', { models: 'x' }, '.models: must be a list of 1 to 100 elements, given "x"'],
    ['a number', { models: ['x', 5] }, `.models[1]: ${text} 5`],
    ['an empty name', { models: [''] }, `.models[0]: ${text} ""`],
    ['a blank in a name', { models: ['a b'] }, `.models[0]: ${text} "a b"`],
    ['a star in front', { models: ['*/gpt'] }, `.models[0]: ${star} "*/gpt"`],
    ['a star within', { models: ['a/*b'] }, `.models[0]: ${star} "a/*b"`],
    ['two stars', { models: ['a/**'] }, `.models[0]: ${star} "a/**"`],
    ['a model twice', { models: ['a', 'b', 'a'] }, '.models[2]: must not occur twice, given "a"'],
    [
      'no keys',
      { models: ['x'], keys: [] },
      '.keys: must be a list of 1 to 1000 elements, given []',
    ],
    [
      'one key',
      { models: ['x'], keys: 'a' },
      '.keys: must be a list of 1 to 1000 elements, given "a"',
    ],
    [
      'a key twice',
      { models: ['x'], keys: ['a', 'a'] },
      '.keys[1]: must not occur twice, given "a"',
    ],
    [
      'a strategy that is none',
      { models: ['x'], strategy: 'best' },
      '.strategy: must be one of "round-robin", "weighted", "least-busy", "most-credit", "credit-threshold", "lowest-latency", "lowest-usage", "priority", given "best"',
    ],
    [
      'an affinity that is none',
      { models: ['x'], affinity: 'account' },
      '.affinity: must be one of "none", "session", "conversation", given "account"',
    ],
    [
      'a pattern for a fallback that has a blank',
      { models: ['x'], fallback_models: ['y', 'a b'] },
      `.fallback_models[1]: ${text} "a b"`,
    ],
    [
      'a fallback twice',
      { models: ['x'], fallback_models: ['y', 'y'] },
      '.fallback_models[1]: must not occur twice, given "y"',
    ],
    [
      'one fallback',
      { models: ['x'], fallback_models: 'y' },
      '.fallback_models: must be a list of 0 to 20 elements, given "y"',
    ],
    [
      'no attempts',
      { models: ['x'], max_attempts: 0 },
      '.max_attempts: must be a whole number from 1 to 10, given 0',
    ],
    [
      'a clock out of bounds',
      { models: ['x'], timeouts: { idle_ms: 99 } },
      '.timeouts.idle_ms: must be a whole number from 100 to 3600000, given 99',
    ],
    [
      'an unknown clock',
      { models: ['x'], timeouts: { connect_ms: 500 } },
      '.timeouts.connect_ms: unknown field; the fields here are headers_ms, first_output_ms, idle_ms, total_ms',
    ],
    [
      'an unknown field',
      { models: ['x'], modles: ['x'] },
      '.modles: unknown field; did you mean "models"?',
    ],
    [
      'no table',
      'x',
      ': must be a table (its fields: models, keys, strategy, affinity, fallback_models, timeouts, max_attempts, cache), given "x"',
    ],
  ])('names its place: %s', async (_, route, fault) => {
    expect(await routeFaults({ models: ['first'] }, route)).toEqual([`POLICY.routes[1]${fault}`])
  })

  it.each([
    ['models', many(100), many(101), '1 to 100'],
    ['fallback_models', many(20), many(21), '0 to 20'],
  ])('names the bound of %s', async (name, inside, outside, bounds) => {
    expect(await routeFaults({ models: ['x'], [name]: inside })).toEqual([])
    const [fault, ...others] = await routeFaults({ models: ['x'], [name]: outside })
    expect(others).toEqual([])
    expect(fault).toContain(`POLICY.routes[0].${name}: must be a list of ${bounds} elements, given`)
  })

  it('is more than 100 of them, or what is no list', async () => {
    const routes = many(100).map((model) => ({ models: [model] }))
    expect(await routeFaults(...routes)).toEqual([])
    const [fault, ...others] = await routeFaults(...routes, { models: ['x'] })
    expect(others).toEqual([])
    expect(fault).toMatch(/^POLICY\.routes: must be a list of 0 to 100 elements, given /)
    expect(await faultsOf({ POLICY: { routes: { models: ['x'] } } })).toEqual([
      'POLICY.routes: must be a list of 0 to 100 elements, given {"models":["x"]}',
    ])
  })

  it('is a name of more than 256 characters', async () => {
    const names = { models: ['m'.repeat(256)], fallback_models: ['f'.repeat(256)] }
    expect(await routeFaults(names)).toEqual([])
    expect(await routeFaults({ models: ['m'.repeat(257)] })).toHaveLength(1)
    expect(await routeFaults({ ...names, fallback_models: ['f'.repeat(257)] })).toHaveLength(1)
  })
})

describe('a selector', () => {
  it.each([
    ['an id that no key has', 'c', 'no key has that id, given "c"'],
    ['an id in other letters', 'A', 'no key has that id, given "A"'],
    ['a tag that no key has', 'tag:asia', 'no key has that tag, given "asia"'],
    ['an id for a tag', 'tag:a', 'no key has that tag, given "a"'],
    ['a tag for an id', 'eu', 'no key has that id, given "eu"'],
    ['no tag', 'tag:', 'must have a name after the colon, given "tag:"'],
    ['no account', 'account:', 'must have a name after the colon, given "account:"'],
    [
      'a blank',
      'tag: eu',
      'must be a text of 1 to 80 characters without spaces or control characters, given "tag: eu"',
    ],
  ])('of %s is a fault at its place, not a no-op', async (_, selector, fault) => {
    expect(await routeFaults({ models: ['x'] }, { models: ['y'], keys: ['a', selector] })).toEqual([
      `POLICY.routes[1].keys[1]: ${fault}`,
    ])
  })

  it('may name an account that no key is configured with: it may be learned', async () => {
    expect(await routeFaults({ models: ['x'], keys: ['account:org_7'] })).toEqual([])
  })

  it('may name a disabled key, which is configured all the same', async () => {
    const keys = [{ key: 'sk-or-v1-a', id: 'a', disabled: true, tags: ['t'] }]
    const POLICY = { routes: [{ models: ['x'], keys: ['a', 'tag:t'] }] }
    expect(await faultsOf({ OPENROUTER_KEYS: JSON.stringify(keys), POLICY })).toEqual([])
  })

  it('may be as long as an id can be, with its prefix', async () => {
    const account = 'x'.repeat(64)
    expect(await routeFaults({ models: ['x'], keys: [`account:${account}`] })).toEqual([])
  })

  it('of a key that could not be read is not a second fault', async () => {
    const keys = [{ key: 'nonsense', id: 'a' }]
    const POLICY = { routes: [{ models: ['x'], keys: ['a'] }] }
    const faults = await faultsOf({ OPENROUTER_KEYS: JSON.stringify(keys), POLICY })
    expect(faults).toEqual([
      'OPENROUTER_KEYS[0].key: must start with sk-or- and contain only printable ASCII characters without spaces',
    ])
  })
})
