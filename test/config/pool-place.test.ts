import { expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

it('the pool’s object lives wherever it is called first, unless the operator says where', async () => {
  const placeOf = async (env: object) => (await configOf({ ...env })).place
  const anywhere = { location: null, jurisdiction: null }
  expect(await placeOf({})).toEqual(anywhere)
  expect(await placeOf({ POOL_LOCATION: '', POOL_JURISDICTION: ' ' })).toEqual(anywhere)
  expect(await placeOf({ POOL_LOCATION: 'apac-ne' })).toEqual({ ...anywhere, location: 'apac-ne' })
  const both = { POOL_LOCATION: 'weur', POOL_JURISDICTION: 'eu' }
  expect(await placeOf(both)).toEqual({ location: 'weur', jurisdiction: 'eu' })
})

it.each([
  [{ POOL_LOCATION: 'mars' }, 'POOL_LOCATION: must be one of "wnam", "enam", '],
  [{ POOL_LOCATION: 'WEUR' }, 'or empty, given "WEUR"'],
  [{ POOL_LOCATION: ['weur'] }, 'POOL_LOCATION: must be one of'],
  [{ POOL_LOCATION: null }, 'given null'],
  [{ POOL_JURISDICTION: 'weur' }, 'POOL_JURISDICTION: must be one of "eu", "us", "fedramp", '],
  [{ POOL_JURISDICTION: true }, 'given true'],
  [{ POOL_JURISDICTION: 'sk-or-v1-0123' }, 'given a key, which is not shown'],
])('%j is a fault', async (env, message) => {
  const faults = await faultsOf(env)
  expect(faults).toHaveLength(1)
  expect(faults[0]).toContain(message)
})
