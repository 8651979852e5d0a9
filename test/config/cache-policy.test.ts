import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const cachesOf = async (policy: object) =>
  (await configOf({ POLICY: policy })).policy.routes.map(({ cache }) => cache)

describe('the cache of a route', () => {
  it('is off unless somebody says otherwise', async () => {
    expect(await cachesOf({ routes: [{ models: ['x'] }] })).toEqual([null, null])
  })

  it('has what it says, and defaults for the rest', async () => {
    const [all, some] = await cachesOf({
      routes: [
        {
          models: ['x'],
          cache: { ttl_s: 60, scope: 'group', max_bytes: 2048, share: false },
        },
        { models: ['y'], cache: { ttl_s: 1 } },
      ],
    })
    expect(all).toEqual({ ttlMs: 60_000, scope: 'group', maxBytes: 2048, share: false })
    expect(some).toEqual({ ttlMs: 1000, scope: 'client', maxBytes: 1_048_576, share: true })
  })

  it('is single flight alone without a time, and nothing without both', async () => {
    const [alone, nothing] = await cachesOf({
      routes: [
        { models: ['x'], cache: { share: true } },
        { models: ['y'], cache: { share: false } },
      ],
    })
    expect(alone).toMatchObject({ ttlMs: null, share: true })
    expect(nothing).toBeNull()
  })

  it('replaces that of the pool as a whole, so that a route may have none', async () => {
    const [own, none, last] = await cachesOf({
      cache: { ttl_s: 60, scope: 'pool' },
      routes: [
        { models: ['x'], cache: { ttl_s: 5 } },
        { models: ['y'], cache: { share: false } },
      ],
    })
    expect(own).toMatchObject({ ttlMs: 5000, scope: 'client' })
    expect(none).toBeNull()
    expect(last).toMatchObject({ ttlMs: 60_000, scope: 'pool' })
  })

  it('has its faults named with their bounds', async () => {
    const cache = { ttl_s: 0, scope: 'all', max_bytes: 10, share: 'yes', ttl: 1 }
    expect(await faultsOf({ POLICY: { routes: [{ models: ['x'], cache }] } })).toEqual([
      'POLICY.routes[0].cache.ttl_s: must be a whole number from 1 to 604800, given 0',
      'POLICY.routes[0].cache.scope: must be one of "client", "group", "pool", given "all"',
      'POLICY.routes[0].cache.max_bytes: must be a whole number from 1024 to 8388608, given 10',
      'POLICY.routes[0].cache.share: must be true or false, given "yes"',
      'POLICY.routes[0].cache.ttl: unknown field; did you mean "ttl_s"?',
    ])
    expect(await faultsOf({ POLICY: { cache: 60 } })).toEqual([
      'POLICY.cache: must be a table (its fields: ttl_s, scope, max_bytes, share), given 60',
    ])
  })
})
