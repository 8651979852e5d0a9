import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, it } from 'vitest'
import { type FilePort, PartWriter } from '../../src/batches/files/part-writer.ts'
import { takeUpload } from '../../src/batches/files/upload-file.ts'
import { BatchHost } from '../../src/batches/progress/batch-host.ts'
import type { BatchRecord } from '../../src/batches/progress/batch-record.ts'
import { BatchRows } from '../../src/batches/progress/batch-rows.ts'
import { NO_USAGE } from '../../src/batches/progress/result-line.ts'

const MEGABYTE = 1024 * 1024
const LINES = 50_000
const LINE_BYTES = 2_000
const RESULT_BYTES = 500

/** Counts what has come and is not yet with the bucket: that is held. */
class CountingPort implements FilePort {
  stored = 0
  most = 0
  #come = 0

  come(bytes: number): void {
    this.#come += bytes
    this.most = Math.max(this.most, this.#come - this.stored)
  }

  async put(_: string, bytes: Uint8Array): Promise<void> {
    this.stored += bytes.length
  }

  async begin() {
    return {
      part: async (_: number, bytes: Uint8Array) => {
        await Promise.resolve()
        this.stored += bytes.length
      },
      complete: async () => undefined,
      abort: async () => undefined,
    }
  }
}

it('a file of 50,000 lines and 100 MB comes in, and little of it is held', async () => {
  const encoder = new TextEncoder()
  const padding = 'x'.repeat(LINE_BYTES)
  const boundary = 'limit'
  const heads = ['purpose"\r\n\r\nbatch', 'file"; filename="a.jsonl"\r\n\r\n'].map(
    (rest) => `--${boundary}\r\ncontent-disposition: form-data; name="${rest}`,
  )
  const port = new CountingPort()
  let sent = -1
  const read = async () => {
    sent += 1
    if (sent === 0) return encoder.encode(heads.join('\r\n'))
    if (sent > LINES / 100) {
      return sent === LINES / 100 + 1 ? encoder.encode(`\r\n--${boundary}--\r\n`) : null
    }
    let text = ''
    for (let i = 0; i < 100; i += 1) {
      text += `{"custom_id":"${sent}-${i}","method":"POST","url":"/v1/embeddings","body":{"model":"vendor/model","input":"${padding}"}}\n`
    }
    port.come(text.length)
    return encoder.encode(text)
  }
  const writer = new PartWriter(port, 'a')
  const type = `multipart/form-data; boundary=${boundary}`
  const taken = await takeUpload(read, type, {
    ...{ writer, maxBytes: 200 * MEGABYTE, estimate: null },
  })
  await writer.end()
  expect(taken).toMatchObject({ kind: 'file', checked: { requests: LINES, faultCount: 0 } })
  expect(port.stored).toBeGreaterThan(LINES * LINE_BYTES)
  expect(port.most).toBeLessThan(8 * MEGABYTE)
})

it('50,000 results go out, and little of them is held', async () => {
  await runInDurableObject(env.KEY_POOL.getByName('many/results'), async (_, { storage }) => {
    const { sql } = storage
    const port = new CountingPort()
    const rows = new BatchRows({
      exec(query, ...values) {
        const found = [...sql.exec(query, ...values)]
        for (const { piece } of found) if (piece instanceof ArrayBuffer) port.come(piece.byteLength)
        return found
      },
    })
    sql.exec(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LINES})
       INSERT INTO results SELECT i * 64, 'completed', ?, zeroblob(${RESULT_BYTES}) FROM n`,
      JSON.stringify(NO_USAGE),
    )
    const progress = { phase: { kind: 'done' }, tries: [], sends: 0, deaths: 0 }
    const range = { firstRequest: 1, requests: LINES, offset: 0, bytes: 1 }
    sql.exec('INSERT INTO ranges VALUES (0, ?, ?)', JSON.stringify(range), JSON.stringify(progress))
    sql.exec('INSERT INTO batch VALUES (1, ?)', JSON.stringify(RECORD))
    const host = new BatchHost({
      ...{ nowMs: () => 0, rows, files: port, wakeAt: () => undefined },
      ...{
        send: nothing,
        sendDead: nothing,
        keepFile: nothing,
        enlist: async () => true,
        setOver: nothing,
        tellEnd: nothing,
      },
      readRange: async () => null,
      ...{ tellProgress: () => undefined, logBug: fail, logEnd: () => undefined },
    })
    await host.look()
    expect(host.view()).toMatchObject({
      record: { status: 'completed' },
      tally: { completed: LINES },
    })
    expect(port.stored).toBe(LINES * RESULT_BYTES)
    expect(port.most).toBeLessThan(8 * MEGABYTE)
  })
})

const nothing = async () => undefined

function fail(bug: unknown): never {
  throw bug
}

const RECORD: BatchRecord = {
  ...{ id: 'batch_1', clientId: 'tester', endpoint: '/v1/embeddings', inputFileId: 'file-1' },
  ...{ createdAtMs: 0, metadata: null, outputKeptMs: 1000, faults: [], total: LINES },
  ...{ expiresAtMs: 1000, status: 'in_progress', ending: null, times: {}, redrives: 0 },
  ...{ outputFileId: null, errorFileId: null, repeated: 0, tally: null },
}
