import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const policyOf = async (policy: unknown) => (await configOf({ POLICY: policy })).policy
const policyFaults = (policy: unknown) => faultsOf({ POLICY: policy })

/** `a.b` as the nested object that an operator writes. */
function nested(path: string, value: unknown): unknown {
  return path.split('.').reduceRight((inner, name) => ({ [name]: inner }), value)
}

it('an empty policy, or none, has every default', async () => {
  const defaults = {
    strategy: 'least-busy',
    maxAttempts: 4,
    retryBudget: { ratio: 0.2, minPerSecond: 2 },
    breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
    panicRatio: 0.5,
    defaultWeight: 1,
    defaultMaxConcurrent: null,
    timeouts: { headersMs: 30_000, firstOutputMs: 120_000, idleMs: 60_000, totalMs: 600_000 },
    maxBodyBytes: 26_214_400,
    onPoolUnavailable: 'open',
  }
  for (const policy of [undefined, '', {}, '{}', { breaker: {}, timeouts: {} }]) {
    expect(await policyOf(policy)).toEqual(defaults)
  }
})

it('is read from a table and from its JSON text alike', async () => {
  const policy = { strategy: 'priority', timeouts: { idle_ms: 500 } }
  expect(await policyOf(JSON.stringify(policy))).toEqual(await policyOf(policy))
  expect(await policyOf(policy)).toMatchObject({ strategy: 'priority', timeouts: { idleMs: 500 } })
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

  it.each(['max_attempts', 'breaker.failures', 'defaults.weight', 'max_body_bytes'])(
    '%s is a whole number',
    async (path) => {
      expect(await policyFaults(nested(path, 2048.5))).toHaveLength(1)
    },
  )

  it.each([
    ['strategy', 'least-buzy', '"round-robin", "weighted", "least-busy", "priority"'],
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

describe('a field that nothing here reads', () => {
  it.each([
    'affinity',
    'credit',
    'queue',
    'routes',
    'aliases',
    'spill_free_tier',
    'spill_policy',
    'extra_paths',
    'stratgy',
    'breaker.panic',
    'defaults.rpm',
    'defaults.tpm',
    'defaults.min_credit',
    'retry_budget.max',
    'timeouts.connect_ms',
    'timeouts.headers_ms_v2',
    'a-very-long-name-with_dots_2',
  ])('%s is a fault, not ignored', async (path) => {
    expect(await policyFaults(nested(path, 1))).toEqual([`POLICY.${path}: unknown field`])
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

it('every fault is listed at once, each under its own field', async () => {
  const faults = await faultsOf({
    POLICY: { strategy: 'best', max_attempts: 0, typo: 1, breaker: { failures: 0, oops: 2 } },
    UPSTREAM_URL: 'http://example.com',
    ANONYMOUS_CLIENTS: 'maybe',
    OPENROUTER_KEYS: 'sk-or-v1-good,bad',
    CLIENT_KEYS: 'nocolon',
    KEY_POOL: undefined,
  })
  const fields = faults.map((fault) => fault.slice(0, fault.indexOf(':')))
  expect(fields.toSorted()).toEqual([
    'ANONYMOUS_CLIENTS',
    'CLIENT_KEYS[0]',
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
