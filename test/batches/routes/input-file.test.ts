import { expect, it } from 'vitest'
import { inRouteWorld, line, type RouteWorld } from './route-world.ts'

const DAY_MS = 24 * 60 * 60_000

const remove = async (world: RouteWorld, id: string) =>
  (await world.send(`files/${id}`, { method: 'DELETE' })).status

async function uploaded(world: RouteWorld): Promise<string> {
  const { body } = await world.upload(line('a'))
  return String(body.id)
}

it('a file is in use while a batch reads it, and is its client’s again when the batch is over', async () => {
  await inRouteWorld({}, async (world) => {
    const file = await uploaded(world)
    const { body: batch } = await world.start({ input_file_id: file })
    expect(await remove(world, file)).toBe(409)
    await world.send(`batches/${batch.id}/cancel`, { method: 'POST' })
    expect(await remove(world, file)).toBe(409)
    await world.batch.alarm()
    expect(world.batch.view()?.record.status).toBe('cancelled')
    expect(await remove(world, file)).toBe(200)
  })
})

it('also when its list has not heard of the end', async () => {
  await inRouteWorld({}, async (world) => {
    const file = await uploaded(world)
    const { body: batch } = await world.start({ input_file_id: file })
    await world.send(`batches/${batch.id}/cancel`, { method: 'POST' })
    world.isListDeaf = true
    await world.batch.alarm()
    expect(world.batch.view()?.record.status).toBe('cancelled')
    expect(await remove(world, file)).toBe(200)
  })
})

it('a batch whose beginning died half-way holds no file', async () => {
  await inRouteWorld({}, async (world) => {
    const file = await uploaded(world)
    world.diesHalfWay = true
    expect((await world.start({ input_file_id: file })).status).toBe(500)
    world.diesHalfWay = false
    expect((await world.send('batches')).body.data).toEqual([])
    expect(await remove(world, file)).toBe(200)
    // Nothing runs of it.
    expect((await world.start({ input_file_id: file })).status).toBe(404)
    expect(world.batch.view()).toBeNull()
  })
})

it('nor one that has expired: it goes when its time is over', async () => {
  await inRouteWorld({}, async (world) => {
    const file = await uploaded(world)
    const { body: batch } = await world.start({ input_file_id: file })
    world.later(31 * DAY_MS)
    await world.list.alarm()
    expect(world.bucket.files.size).toBe(1)
    await world.send(`batches/${batch.id}/cancel`, { method: 'POST' })
    world.isListDeaf = true
    await world.batch.alarm()
    world.later(DAY_MS)
    await world.list.alarm()
    expect(world.list.file(file)).toBeNull()
  })
})
