import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { MEMORY } from '../../src/http/composition-root.ts'
import { json } from '../http/gateway-driver.ts'
import { answered, roleOf } from './flight-answers.ts'
import { chunk, createFlightWorld, END, TOKENS } from './flight-driver.ts'

beforeEach(() => void vi.spyOn(console, 'log').mockImplementation(() => undefined))
afterEach(async () => {
  vi.restoreAllMocks()
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 2_000 })
})

const CACHE = { ttl_s: 3600, scope: 'pool' }
const ROUTES = [{ models: ['vendor/*'], cache: CACHE, fallback_models: ['other/fallback'] }]
const NO_MODEL = { error: { code: 404, message: 'No endpoints found for vendor/model.' } }

/** `mate` may not use the fallback. */
const withFallback = () =>
  createFlightWorld(
    CACHE,
    { routes: ROUTES, aliases: { 'task:a': 'vendor/model' } },
    {
      CLIENT_KEYS: JSON.stringify([
        { id: 'app', token: TOKENS.app },
        { id: 'mate', token: TOKENS.mate, models: ['vendor/*'] },
      ]),
    },
  )

it('a fallback’s answer is not kept: who asks later gets that of the model', async () => {
  const world = withFallback()
  const asked = world.ask()
  const refused = await world.call(0)
  refused.answer(json(NO_MODEL, { status: 404 }))
  const fallback = await world.call(1)
  fallback.answer()
  fallback.end(chunk('a') + END)
  const response = await asked
  await response.text()
  expect(response.headers.get('x-switchyard-model')).toBe('other/fallback')
  await world.pass(1)
  expect(roleOf((await answered(world, 2)).response)).toBe('miss')
  const hit = await world.ask()
  expect([roleOf(hit), await hit.text()]).toEqual(['hit', chunk('a') + END])
})

it('a client that may not use the fallback does not join its answer', async () => {
  const world = withFallback()
  const asked = world.ask()
  const refused = await world.call(0)
  refused.answer(json(NO_MODEL, { status: 404 }))
  const fallback = await world.call(1)
  fallback.answer()
  fallback.write(chunk('a'))
  expect(roleOf(await asked)).toBe('miss')
  const own = await answered(world, 2, { client: 'mate' })
  expect([roleOf(own.response), own.response.headers.get('x-switchyard-model')]).toEqual([
    'miss',
    null,
  ])
  fallback.end(END)
  await (await asked).text()
  await world.pass(1)
})

it('an alias is no fallback: its answer is kept', async () => {
  const world = withFallback()
  const body = { model: 'task:a' }
  const { response } = await answered(world, 0, { body })
  expect(response.headers.get('x-switchyard-model')).toBe('vendor/model')
  const hit = await world.ask({ body })
  expect([roleOf(hit), await hit.text()]).toEqual(['hit', chunk('a') + END])
})
