import { runInDurableObject } from 'cloudflare:test'
import { expect, it } from 'vitest'
import type { FilePort } from '../../../src/batches/files/part-writer.ts'
import { BatchHost } from '../../../src/batches/progress/batch-host.ts'
import { BatchRows } from '../../../src/batches/progress/batch-rows.ts'
import { NO_USAGE } from '../../../src/batches/progress/result-line.ts'
import { newPool } from '../../key-pool/object-driver.ts'
import { newBatch } from './unbegun-batch.ts'

const MEGABYTE = 1024 * 1024

/** Results of so many bytes: a part and a rest. */
const TEXTS = [1, 2, 3].map((line) => new Uint8Array(2 * MEGABYTE).fill(line))

/** A bucket, before or after one of whose calls the batch's object dies. */
class DeadlyBucket implements FilePort {
  readonly files = new Map<string, Uint8Array>()
  /** What this life of the object has passed. */
  points: string[] = []
  #diesAt = 0

  /** The next life lasts for one point more. */
  revive(): void {
    this.points = []
    this.#diesAt += 1
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#call('put', () => void this.files.set(key, new Uint8Array(bytes)))
  }

  async begin(key: string) {
    const parts: Uint8Array<ArrayBuffer>[] = []
    return await this.#call('begin', () => ({
      part: async (number: number, bytes: Uint8Array) =>
        await this.#call(`part ${number}`, () => void parts.push(new Uint8Array(bytes))),
      complete: async () => {
        const whole = new Uint8Array(await new Blob(parts).arrayBuffer())
        await this.#call('complete', () => void this.files.set(key, whole))
      },
      abort: nothing,
    }))
  }

  async #call<T>(name: string, work: () => T): Promise<T> {
    this.#pass(`before ${name}`)
    const value = work()
    this.#pass(`after ${name}`)
    return value
  }

  #pass(point: string): void {
    this.points.push(point)
    if (this.points.length > this.#diesAt) throw new Error(`The object dies ${point}`)
  }
}

const nothing = async () => undefined
const silent = () => undefined

it('a file of several parts is whole, though its object dies at each of them', async () => {
  const bucket = new DeadlyBucket()
  const kept: number[] = []
  const deaths: (string | undefined)[] = []
  await runInDurableObject(newPool(), async (_, { storage: { sql } }) => {
    const live = () =>
      new BatchHost({
        ...{ nowMs: () => 1_000, files: bucket, enlist: async () => true },
        rows: new BatchRows({ exec: (query, ...values) => sql.exec(query, ...values) }),
        ...{ send: nothing, sendDead: nothing, setOver: nothing, tellEnd: nothing },
        keepFile: async (_client, { bytes }) => void kept.push(bytes),
        readRange: async () => null,
        ...{ wakeAt: silent, tellProgress: silent, logBug: silent, logEnd: silent },
      })
    let host = live()
    const { record, ranges } = newBatch(TEXTS.length)
    await host.create(
      record,
      ranges.map(({ range }) => range),
    )
    host.claim(0, 'token')
    for (const [i, text] of TEXTS.entries()) {
      host.record(0, i + 1, { outcome: 'completed', text, usage: NO_USAGE }, 'token')
    }
    for (; deaths.length < 20; bucket.revive()) {
      await host.look()
      if (host.view()?.record.status === 'completed') break
      deaths.push(bucket.points.at(-1))
      // Nobody is told of half a file.
      expect(kept).toEqual([])
      host = live()
    }
    expect(host.view()).toMatchObject({ record: { status: 'completed' }, tally: { completed: 3 } })
  })
  const calls = ['begin', 'part 1', 'part 2', 'complete']
  expect(deaths).toEqual(calls.flatMap((call) => [`before ${call}`, `after ${call}`]))
  expect(kept).toEqual([6 * MEGABYTE])
  const [[, whole] = []] = bucket.files
  const expected = new Uint8Array(await new Blob(TEXTS).arrayBuffer())
  expect(whole?.length).toBe(expected.length)
  expect(whole && crypto.subtle.timingSafeEqual(whole, expected)).toBe(true)
})
