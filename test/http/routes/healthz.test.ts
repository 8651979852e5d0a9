import { env } from 'cloudflare:workers'
import { describe, expect, it, vi } from 'vitest'
import { ANSWER, chat, gatewayInFrontOf } from '../gateway-driver.ts'

const never = () => {
  throw new Error('Upstream was called')
}

/** A KV namespace in memory. */
function namespaceOf(entries: Record<string, unknown> = {}) {
  const get = vi.fn(async (name: string) => entries[name] ?? null)
  const put = vi.fn(async (name: string, value: string) => {
    entries[name] = JSON.parse(value)
  })
  return { get, put }
}

const PLACED = 'placed/pool/default/0'
const placed = () => namespaceOf({ [PLACED]: true })

/** The pool's object, with what a test makes it answer. */
function poolOf(answers: Record<string, () => Promise<unknown>>) {
  const getByName = vi.fn(() => answers)
  return { getByName }
}

const unreachable = poolOf({ health: () => Promise.reject(new Error('down')) })

describe('healthz', () => {
  it('tells how many keys are usable, to anybody, without asking upstream', async () => {
    const bindings = { CREDIT: placed() }
    const response = await gatewayInFrontOf(never).send('/healthz', {}, bindings)
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ status: 'ok', keys_usable: 3, keys_total: 3 })
  })

  it('is 503 while no key can serve, although the pool answers', async () => {
    const KEY_POOL = poolOf({ health: async () => ({ version: 1, usableKeys: 0 }) })
    const bindings = { KEY_POOL, CREDIT: placed() }
    const response = await gatewayInFrontOf(never).send('/healthz', {}, bindings)
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({ status: 'unavailable', keys_usable: 0, keys_total: 3 })
  })

  it('counts keys that are disabled among the keys, and not among the usable ones', async () => {
    const OPENROUTER_KEYS = JSON.stringify([
      { key: 'sk-or-v1-test-a' },
      { key: 'sk-or-v1-test-b', disabled: true },
    ])
    const bindings = { OPENROUTER_KEYS, KEY_POOL: unreachable, CREDIT: placed() }
    const response = await gatewayInFrontOf(never).send('/healthz', {}, bindings)
    expect(await response.json()).toEqual({ status: 'degraded', keys_usable: 1, keys_total: 2 })
  })

  it.each([
    ['open', 200, 3],
    ['closed', 503, 0],
  ])(
    'while the pool cannot be reached and the policy is %s is %d',
    async (policy, status, usable) => {
      const POLICY = { on_pool_unavailable: policy }
      const bindings = { KEY_POOL: unreachable, POLICY, CREDIT: placed() }
      const response = await gatewayInFrontOf(never).send('/healthz', {}, bindings)
      expect(response.status).toBe(status)
      expect(await response.json()).toEqual({
        status: 'degraded',
        keys_usable: usable,
        keys_total: 3,
      })
    },
  )
})

describe('healthz does not call the object', () => {
  it('before an inference request has: the first call decides where it lives', async () => {
    let nowMs = 1_000_000
    const CREDIT = namespaceOf()
    const KEY_POOL = poolOf({ health: async () => ({ version: 1, usableKeys: 2 }) })
    const { send } = gatewayInFrontOf(never, { nowMs: () => nowMs })
    const bindings = { CREDIT, KEY_POOL }
    for (let i = 0; i < 100; i++) {
      const response = await send('/healthz', {}, bindings)
      expect(await response.json()).toEqual({ status: 'ok', keys_usable: 3, keys_total: 3 })
    }
    expect(KEY_POOL.getByName).not.toHaveBeenCalled()
    expect(CREDIT.get).toHaveBeenCalledTimes(1)
    // Another isolate may have noted meanwhile that the object is placed.
    await CREDIT.put(PLACED, 'true')
    nowMs += 59_999
    await send('/healthz', {}, bindings)
    expect(KEY_POOL.getByName).not.toHaveBeenCalled()
    nowMs += 1
    const response = await send('/healthz', {}, bindings)
    expect(await response.json()).toMatchObject({ keys_usable: 2 })
  })

  it('more often than every four seconds, however often it is called', async () => {
    let nowMs = 1_000_000
    const KEY_POOL = poolOf({ health: async () => ({ version: 1, usableKeys: 2 }) })
    const { send } = gatewayInFrontOf(never, { nowMs: () => nowMs })
    const bindings = { CREDIT: placed(), KEY_POOL }
    for (let i = 0; i < 100; i++) await send('/healthz', {}, bindings)
    nowMs += 4_000
    await send('/healthz', {}, bindings)
    expect(KEY_POOL.getByName).toHaveBeenCalledTimes(1)
    nowMs += 1
    await send('/healthz', {}, bindings)
    expect(KEY_POOL.getByName).toHaveBeenCalledTimes(2)
  })

  it('while requests tell this isolate how the pool is', async () => {
    const getByName = vi.fn((name: string) => env.KEY_POOL.getByName(name))
    const CREDIT = namespaceOf()
    const { send } = gatewayInFrontOf(() => new Response(ANSWER, { status: 200 }))
    const bindings = { CREDIT, KEY_POOL: { getByName } }
    expect((await send('/v1/chat/completions', chat(), bindings)).status).toBe(200)
    expect(CREDIT.put).toHaveBeenCalledWith(PLACED, 'true')
    const calls = getByName.mock.calls.length
    const response = await send('/healthz', {}, bindings)
    expect(await response.json()).toEqual({ status: 'ok', keys_usable: 3, keys_total: 3 })
    expect(getByName).toHaveBeenCalledTimes(calls)
  })
})

it('an object of the release before, which has no such method, is asked for its snapshot', async () => {
  const message = 'The RPC receiver does not implement the method "health".'
  const health = () => Promise.reject(new TypeError(message))
  const snapshot = async () => ({ panic: false, usable: 1, keys: [] })
  const bindings = { KEY_POOL: poolOf({ health, snapshot }), CREDIT: placed() }
  const response = await gatewayInFrontOf(never).send('/healthz', {}, bindings)
  expect(await response.json()).toEqual({ status: 'ok', keys_usable: 1, keys_total: 3 })
})
