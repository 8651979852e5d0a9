import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { createApp } from '../../../src/app.ts'
import { withOwnPool } from '../../http/gateway-driver.ts'
import { type BatchWorld, inBatchWorld } from './batch-world.ts'

const ADMIN = 'an-admin-token-of-thirty-two-chars'
const ALL = { lines: 5, perRange: 5, stepMs: 1_000 }

/** The operators' API in front of a world's batch. */
function adminOf(world: BatchWorld) {
  const { time, object, bucket, upstream } = world
  const app = createApp({
    ...{ nowMs: time.nowMs, timer: time.timer, random: () => 0.5, fetch: upstream.fetch },
    uniqueId: () => crypto.randomUUID(),
  })
  const bindings = {
    ...{ ...env, ...withOwnPool({ ADMIN_TOKEN: ADMIN }), FILES: bucket.r2 },
    BATCHES: { getByName: (name: string) => (name.endsWith(world.id) ? object.now : NOTHING) },
    ...{ FILE_LISTS: {}, BATCH_LINES: {}, DEAD_LINES: {} },
  } as never
  return async (method: string, path: string) => {
    const headers = { authorization: `Bearer ${ADMIN}` }
    const request = new Request(`https://gateway.example/admin/api/${path}`, { method, headers })
    const response = await app.fetch(request, bindings, createExecutionContext())
    return { status: response.status, body: await response.json<Record<string, unknown>>() }
  }
}

const NOTHING = { view: async () => null }

describe('a line that ends its Worker each time', () => {
  it('is in the error file and among the dead letters, and runs again if an operator says so', async () => {
    await inBatchWorld(ALL, async (world) => {
      const admin = adminOf(world)
      world.poison = 'line-3'
      await world.create()
      await world.toTheEnd()
      expect(world.view().tally).toMatchObject({ completed: 4, failed: 1, dead: 1 })
      expect(world.results('error')).toMatchObject([
        { custom_id: 'line-3', response: null, error: { code: 'dead_letter' } },
      ])
      expect(world.deadLetters).toEqual([{ version: 1, batchId: world.id, line: 3 }])
      const first = world.view().record
      world.poison = ''
      expect(await admin('POST', `batches/${world.id}/redrive`)).toEqual({
        ...{ status: 200, body: { redriven: 1 } },
      })
      expect(world.view().record).toMatchObject({ status: 'in_progress', ending: null })
      // Its input is kept from now on.
      expect(world.over).toEqual([true, false])
      await world.toTheEnd()
      expect(world.view().tally).toMatchObject({ completed: 5, failed: 0, dead: 0 })
      const { outputFileId, errorFileId } = world.view().record
      expect(outputFileId).not.toBe(first.outputFileId)
      expect(errorFileId).toBeNull()
      expect(world.results('output').map(({ custom_id }) => custom_id)).toEqual(world.ids)
      expect(await admin('POST', `batches/${world.id}/redrive`)).toMatchObject({
        body: { redriven: 0 },
      })
      expect((await admin('GET', 'audit')).body).toMatchObject({
        entries: expect.arrayContaining([
          expect.objectContaining({ what: 'redrive', target: `batch:${world.id}` }),
        ]),
      })
    })
  })

  it('whose file is gone stays what it is: it would run without its text', async () => {
    await inBatchWorld(ALL, async (world) => {
      world.poison = 'line-3'
      await world.create()
      await world.toTheEnd()
      world.deleteInput()
      const { status } = await adminOf(world)('POST', `batches/${world.id}/redrive`)
      expect(status).toBe(409)
      expect(world.view().record.status).toBe('completed')
      expect(world.over.at(-1)).toBe(true)
      expect(world.results('error').map(({ custom_id }) => custom_id)).toEqual(['line-3'])
    })
  })

  it('can be sent again for seven days, over any death of the object', async () => {
    await inBatchWorld(ALL, async (world) => {
      world.poison = 'line-3'
      await world.create()
      await world.toTheEnd()
      world.object.evict()
      await world.pass(6 * 24 * 60 * 60_000)
      world.object.evict()
      expect(await world.object.now.redrive()).toBe(1)
      await world.toTheEnd()
      expect(world.view().tally).toMatchObject({ completed: 4, dead: 1 })
      await world.pass(8 * 24 * 60 * 60_000)
      expect(await world.object.now.redrive()).toBe(0)
    })
  })
})

it('an id that is no batch’s has none of its lines sent again', async () => {
  await inBatchWorld(ALL, async (world) => {
    const admin = adminOf(world)
    const other = `batch_${'f'.repeat(32)}`
    for (const id of ['nonsense', other, `${world.id}0`]) {
      expect((await admin('POST', `batches/${id}/redrive`)).status).toBe(404)
    }
  })
})
