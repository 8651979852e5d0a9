import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const policyOf = async (policy: unknown) => (await configOf({ POLICY: policy })).policy
const policyFaults = (policy: unknown) => faultsOf({ POLICY: policy })

/** The nested object that an operator writes for the path `a.b`. */
function nested(path: string, value: unknown): unknown {
  return path.split('.').reduceRight((inner, name) => ({ [name]: inner }), value)
}

it('an empty policy, or none, has every default', async () => {
  const defaults = {
    routes: [
      {
        models: ['*'],
        keys: null,
        strategy: 'least-busy',
        affinity: 'session',
        fallbackModels: [],
        timeouts: { headersMs: 30_000, firstOutputMs: 120_000, idleMs: 60_000, totalMs: 600_000 },
        maxAttempts: 4,
        cache: null,
      },
    ],
    aliases: new Map(),
    alerts: {
      ...{ to: null, intervalMs: 300_000, usableKeysBelow: 0.5, budgetFromPercent: 50 },
      ...{ creditLowShare: 0.1, creditLowMs: 86_400_000, keyExpiresMs: 604_800_000 },
    },
    extraPaths: [],
    retryBudget: { ratio: 0.2, minPerSecond: 2 },
    breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
    panicRatio: 0.5,
    defaultWeight: 1,
    defaultMaxConcurrent: null,
    defaultRpm: null,
    defaultTpm: null,
    defaultMinCreditUsd: 0,
    credit: { refreshMs: 60_000, thresholdUsd: 1 },
    queue: { maxWaiting: 100, maxWaitMs: 10_000 },
    batch: { maxFileBytes: 209_715_200, share: 0.5 },
    spillFreeTier: false,
    spillPolicy: false,
    timeouts: { headersMs: 30_000, firstOutputMs: 120_000, idleMs: 60_000, totalMs: 600_000 },
    maxBodyBytes: 26_214_400,
    onPoolUnavailable: 'open',
  }
  const empty = { breaker: {}, timeouts: {}, credit: {}, queue: {}, batch: {}, defaults: {} }
  for (const policy of [undefined, '', {}, '{}', empty, { routes: [], aliases: {} }]) {
    expect(await policyOf(policy)).toEqual(defaults)
  }
})

it('is read from a table and from its JSON text alike', async () => {
  const policy = { strategy: 'priority', timeouts: { idle_ms: 500 } }
  expect(await policyOf(JSON.stringify(policy))).toEqual(await policyOf(policy))
  const { routes, timeouts } = await policyOf(policy)
  expect(routes[0].strategy).toBe('priority')
  expect(timeouts.idleMs).toBe(500)
})

describe('the bounds of a field', () => {
  it.each([
    ['max_attempts', 1, 10],
    ['retry_budget.ratio', 0, 1],
    ['retry_budget.min_per_s', 0, 100],
    ['breaker.failures', 1, 100],
    ['breaker.window_s', 1, 3600],
    ['breaker.cooldown_s', 1, 3600],
    ['breaker.panic_ratio', 0, 1],
    ['defaults.weight', 1, 1000],
    ['defaults.max_concurrent', 1, 1_000_000],
    ['defaults.rpm', 1, 1_000_000],
    ['defaults.tpm', 1, 1_000_000_000],
    ['defaults.min_credit', 0, 1_000_000],
    ['credit.refresh_s', 30, 3600],
    ['credit.threshold', 0, 1_000_000],
    ['queue.max_waiting', 0, 10_000],
    ['queue.max_wait_ms', 0, 60_000],
    ['batch.max_file_bytes', 1024, 1_073_741_824],
    ['batch.share', 0.01, 1],
    ['timeouts.headers_ms', 100, 3_600_000],
    ['timeouts.first_output_ms', 100, 3_600_000],
    ['timeouts.idle_ms', 100, 3_600_000],
    ['timeouts.total_ms', 100, 3_600_000],
    ['max_body_bytes', 1024, 104_857_600],
  ])(
    '%s: %d and %d are in, what lies outside is named with the bounds and the value',
    async (path, min, max) => {
      for (const value of [min, max]) expect(await policyFaults(nested(path, value))).toEqual([])
      for (const value of [min - 1, max + 1, 'many', null, true, []]) {
        const [fault, ...others] = await policyFaults(nested(path, value))
        expect(others).toEqual([])
        expect(fault).toMatch(new RegExp(`^POLICY\\.${path.replace('.', '\\.')}: `))
        expect(fault).toContain(`from ${min} to ${max}`)
        expect(fault).toContain(`given ${JSON.stringify(value)}`)
      }
    },
  )

  it.each([
    ['max_attempts', 2.5],
    ['breaker.failures', 2.5],
    ['defaults.weight', 2.5],
    ['defaults.max_concurrent', 2.5],
    ['defaults.rpm', 2.5],
    ['defaults.tpm', 2.5],
    ['queue.max_waiting', 2.5],
    ['queue.max_wait_ms', 2.5],
    ['batch.max_file_bytes', 2000.5],
    ['timeouts.idle_ms', 500.5],
    ['max_body_bytes', 2048.5],
  ])('%s is a whole number', async (path, value) => {
    const [fault, ...others] = await policyFaults(nested(path, value))
    expect(others).toEqual([])
    expect(fault).toContain('must be a whole number')
    expect(fault).toContain(`given ${value}`)
  })

  it.each([
    ['defaults.min_credit', 0.25],
    ['credit.threshold', 0.25],
    ['credit.refresh_s', 30.5],
  ])('%s may have a fraction', async (path, value) => {
    expect(await policyFaults(nested(path, value))).toEqual([])
  })

  it.each([
    [
      'strategy',
      'least-buzy',
      '"round-robin", "weighted", "least-busy", "most-credit", "credit-threshold", "lowest-latency", "lowest-usage", "priority"',
    ],
    ['affinity', 'sesion', '"none", "session", "conversation"'],
    ['on_pool_unavailable', 'ajar', '"open", "closed"'],
  ])('%s is one of a list, which the fault names', async (path, value, list) => {
    expect(await policyFaults(nested(path, value))).toEqual([
      `POLICY.${path}: must be one of ${list}, given "${value}"`,
    ])
  })

  it('the longest cooldown is not shorter than the first, and grows with it where it is not set', async () => {
    expect(await policyFaults({ breaker: { cooldown_s: 100, max_cooldown_s: 99 } })).toEqual([
      'POLICY.breaker.max_cooldown_s: must be at least cooldown_s (100), given 99',
    ])
    const { breaker } = await policyOf({ breaker: { cooldown_s: 3600 } })
    expect(breaker).toMatchObject({ cooldownMs: 3_600_000, maxCooldownMs: 3_600_000 })
    const own = await policyOf({ breaker: { cooldown_s: 5, max_cooldown_s: 86_400 } })
    expect(own.breaker.maxCooldownMs).toBe(86_400_000)
  })
})

it('what is set is read in the units of the gateway', async () => {
  const policy = {
    defaults: { rpm: 60, tpm: 90_000, min_credit: 0.5 },
    credit: { refresh_s: 90, threshold: 2.5 },
    queue: { max_waiting: 7, max_wait_ms: 250 },
    batch: { max_file_bytes: 5000, share: 0.25 },
    spill_free_tier: true,
    spill_policy: true,
  }
  expect(await policyOf(policy)).toMatchObject({
    defaultRpm: 60,
    defaultTpm: 90_000,
    defaultMinCreditUsd: 0.5,
    credit: { refreshMs: 90_000, thresholdUsd: 2.5 },
    queue: { maxWaiting: 7, maxWaitMs: 250 },
    batch: { maxFileBytes: 5000, share: 0.25 },
    spillFreeTier: true,
    spillPolicy: true,
  })
})

it.each(['spill_free_tier', 'spill_policy'])(
  '%s is true or false and nothing that looks like it',
  async (name) => {
    for (const value of ['true', 1, 0, null, []]) {
      expect(await policyFaults({ [name]: value })).toEqual([
        `POLICY.${name}: must be true or false, given ${JSON.stringify(value)}`,
      ])
    }
  },
)

it.each([
  ['credit', 'refresh_s, threshold'],
  ['queue', 'max_waiting, max_wait_ms'],
  ['batch', 'max_file_bytes, share'],
])('%s is a table, and the fault names its fields', async (name, fields) => {
  expect(await policyFaults({ [name]: 60 })).toEqual([
    `POLICY.${name}: must be a table (its fields: ${fields}), given 60`,
  ])
})

describe('a field that nothing here reads', () => {
  it.each([
    ['stratgy', 'did you mean "strategy"?'],
    ['breaker.panic', 'did you mean "panic_ratio"?'],
    ['defaults.rps', 'did you mean "rpm"?'],
    ['credit.refresh', 'did you mean "refresh_s"?'],
    ['queue.max_wait_s', 'did you mean "max_wait_ms"?'],
    ['spill', 'did you mean "spill_free_tier"?'],
    ['timeouts.headers_ms_v2', 'did you mean "headers_ms"?'],
    ['retry_budget.max', 'the fields here are ratio, min_per_s'],
    ['timeouts.connect_ms', 'the fields here are headers_ms, first_output_ms, idle_ms, total_ms'],
  ])('%s is a fault, not ignored: %s', async (path, hint) => {
    expect(await policyFaults(nested(path, 1))).toEqual([`POLICY.${path}: unknown field; ${hint}`])
  })

  it('is told all known ones, if none is near', async () => {
    const [fault, ...others] = await policyFaults({ 'a-very-long-name-with_dots_2': 1 })
    expect(others).toEqual([])
    expect(fault).toMatch(
      /^POLICY\.a-very-long-name-with_dots_2: unknown field; the fields here are strategy, .*, on_pool_unavailable$/,
    )
  })
})

it.each([['a word'], ['{"strategy": '], ['[1]'], [[]], [7], [true]])(
  'what is no table is a fault: %j',
  async (policy) => {
    const [fault, ...others] = await policyFaults(policy)
    expect(others).toEqual([])
    expect(fault).toMatch(/^POLICY: must be a table/)
  },
)

it.each([
  [
    'KEY_POOL',
    'KEY_POOL: this environment has no such Durable Object binding; add it to wrangler.toml',
  ],
  ['CREDIT', 'CREDIT: this environment has no such KV namespace binding; add it to wrangler.toml'],
])('an environment that lacks the binding %s is a fault', async (name, fault) => {
  expect(await faultsOf({ [name]: undefined })).toEqual([fault])
})

it('answers can be shared only where their objects are bound; else no such binding is missed', async () => {
  const cached = { routes: [{ models: ['a/*'] }, { models: ['b/*'], cache: { ttl_s: 60 } }] }
  const fault =
    'FLIGHT: this environment has no such Durable Object binding, and a route has a cache; add it to wrangler.toml'
  expect(await faultsOf({ FLIGHT: undefined, POLICY: cached })).toEqual([fault])
  const forAll = { cache: { share: true } }
  expect(await faultsOf({ FLIGHT: undefined, POLICY: forAll })).toEqual([fault])
  const off = { routes: [{ models: ['a/*'], cache: { share: false } }] }
  for (const POLICY of [{}, off]) expect(await faultsOf({ FLIGHT: undefined, POLICY })).toEqual([])
})

it('every fault is listed at once, each under its own field', async () => {
  const faults = await faultsOf({
    POLICY: { strategy: 'best', max_attempts: 0, typo: 1, breaker: { failures: 0, oops: 2 } },
    UPSTREAM_URL: 'http://example.com',
    ANONYMOUS_CLIENTS: 'maybe',
    OPENROUTER_KEYS: 'sk-or-v1-good,bad',
    CLIENT_KEYS: 'nocolon',
    KEY_POOL: undefined,
    CREDIT: undefined,
  })
  const fields = faults.map((fault) => fault.slice(0, fault.indexOf(':')))
  expect(fields.toSorted()).toEqual([
    'ANONYMOUS_CLIENTS',
    'CLIENT_KEYS[0]',
    'CREDIT',
    'KEY_POOL',
    'OPENROUTER_KEYS[1].key',
    'POLICY.breaker.failures',
    'POLICY.breaker.oops',
    'POLICY.max_attempts',
    'POLICY.strategy',
    'POLICY.typo',
    'UPSTREAM_URL',
  ])
})
