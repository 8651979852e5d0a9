import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, it } from 'vitest'
import { createAnswerRows } from '../../../src/flight/object/answer-rows.ts'

// The rows in real SQLite, and the alarm that empties the object.

const HEAD = { status: 200, headers: { 'content-type': 'text/event-stream' } }
const PLAIN = { head: HEAD, storedAtMs: 1, bodyKey: null, costUsd: null, cutPath: null }
const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => i % 251)

it.each([0, 1, 1_900_000, 1_900_001, 5_000_000])(
  'reads an answer of %i bytes back, from rows of 1.9 MB at most',
  async (length) => {
    const flight = env.FLIGHT.getByName(`flight/test/${length}`)
    await runInDurableObject(flight, (_, { storage }) => {
      const kept = {
        head: HEAD,
        storedAtMs: 1,
        expiresAtMs: 2,
        bodyKey: 'b',
        costUsd: 0.5,
        cutPath: null,
        bytes: bytesOf(length),
      }
      createAnswerRows(storage).write('one', kept)
      const read = createAnswerRows(storage).read('one')
      expect(read === null ? null : { ...read, bytes: null }).toEqual({ ...kept, bytes: null })
      expect(Buffer.from(read?.bytes ?? []).equals(Buffer.from(kept.bytes))).toBe(true)
      const sizes = storage.sql.exec<{ size: number }>('SELECT length(bytes) AS size FROM answers')
      const most = Math.max(...sizes.toArray().map(({ size }) => size))
      expect(most).toBeLessThanOrEqual(1_900_000)
    })
  },
)

it('drops what is over, and passes over what another version has written', async () => {
  const flight = env.FLIGHT.getByName('flight/test/expiry')
  await runInDurableObject(flight, (_, { storage }) => {
    const rows = createAnswerRows(storage)
    expect([rows.read('a'), rows.dropExpired(1)]).toEqual([null, null])
    const kept = { ...PLAIN, bytes: bytesOf(10) }
    rows.write('a', { ...kept, expiresAtMs: 100 })
    rows.write('b', { ...kept, expiresAtMs: 200 })
    expect(rows.dropExpired(100)).toBe(200)
    expect([rows.read('a'), rows.read('b')?.expiresAtMs]).toEqual([null, 200])
    storage.sql.exec(`UPDATE answers SET record = '{"status":"new"}'`)
    expect(rows.read('b')).toBeNull()
    expect(rows.dropExpired(200)).toBeNull()
  })
})

it('leaves nothing behind when its last answer is over', async () => {
  const flight = env.FLIGHT.getByName('flight/test/alarm')
  await runInDurableObject(flight, async (_, { storage }) => {
    const kept = { ...PLAIN, expiresAtMs: Date.now() - 1 }
    createAnswerRows(storage).write('shared', { ...kept, bytes: bytesOf(10) })
    await storage.setAlarm(Date.now() + 60_000)
  })
  expect(await runDurableObjectAlarm(flight)).toBe(true)
  await runInDurableObject(flight, async (_, { storage }) => {
    const tables = storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'answers'")
    expect(tables.toArray()).toEqual([])
    expect(await storage.getAlarm()).toBeNull()
  })
})
