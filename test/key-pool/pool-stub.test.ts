import { env } from 'cloudflare:workers'
import { expect, it, vi } from 'vitest'
import { ANYWHERE } from '../../src/config/pool-place.ts'
import type { KeyPool } from '../../src/key-pool/durable-object.ts'
import { createPoolClient } from '../../src/key-pool/pool-client.ts'
import { objectLabel, placeOf, poolStub } from '../../src/key-pool/pool-stub.ts'

/** A namespace that notes which objects are asked for, and how. */
function notingNamespace() {
  const asked: unknown[] = []
  const within = (jurisdiction: string | null) => ({
    getByName(name: string, options: object) {
      asked.push({ jurisdiction, name, ...options })
      return { snapshot: async () => null }
    },
    jurisdiction: vi.fn((name: string) => within(name)),
  })
  return { asked, namespace: within(null) as unknown as DurableObjectNamespace<KeyPool> }
}

const NAME = 'pool/default/0'
const retry = { maxRetries: 0 }

it('every stub of the pool’s object names the place that the operator has chosen', async () => {
  const { asked, namespace } = notingNamespace()
  const place = placeOf({ POOL_LOCATION: 'weur', POOL_JURISDICTION: 'eu' })
  const client = createPoolClient(namespace, place)
  await client.snapshot()
  await client.snapshot()
  poolStub(namespace, place)
  const there = { jurisdiction: 'eu', name: NAME, locationHint: 'weur' }
  expect(asked).toEqual([{ ...there, retry }, { ...there, retry }, there])
})

it('none names a place where none is chosen', async () => {
  const { asked, namespace } = notingNamespace()
  await createPoolClient(namespace, placeOf({ POOL_LOCATION: '' })).snapshot()
  expect(asked).toEqual([{ jurisdiction: null, name: NAME, retry }])
})

it('a place that was only wished for is the same object', async () => {
  const near = poolStub(env.KEY_POOL, { ...ANYWHERE, location: 'weur' })
  expect(near.id.equals(poolStub(env.KEY_POOL, ANYWHERE).id)).toBe(true)
})

it('where the runtime has no jurisdictions, the pool cannot be reached: nothing lives elsewhere', async () => {
  const client = createPoolClient(env.KEY_POOL, { ...ANYWHERE, jurisdiction: 'eu' })
  expect(await client.snapshot()).toEqual({ kind: 'unavailable' })
})

it('marks of objects in two jurisdictions are told apart', () => {
  expect(objectLabel(ANYWHERE)).toBe(NAME)
  expect(objectLabel({ jurisdiction: 'eu' })).toBe(`${NAME}@eu`)
})
