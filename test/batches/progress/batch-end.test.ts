import { runInDurableObject } from 'cloudflare:test'
import { expect, it } from 'vitest'
import { BatchHost, type BatchPorts } from '../../../src/batches/progress/batch-host.ts'
import type { BatchRecord } from '../../../src/batches/progress/batch-record.ts'
import { BatchRows } from '../../../src/batches/progress/batch-rows.ts'
import { NO_USAGE } from '../../../src/batches/progress/result-line.ts'
import { newPool } from '../../key-pool/object-driver.ts'

const BATCH: BatchRecord = {
  ...{ id: 'batch_7', clientId: 'app', endpoint: '/v1/embeddings' as const, inputFileId: 'file-1' },
  ...{ createdAtMs: 0, metadata: null, outputKeptMs: 1, faults: [], total: 1 },
  ...{ expiresAtMs: 86_400_000, status: 'validating', ending: null, times: {} },
  ...{ outputFileId: null, errorFileId: null, repeated: 0, redrives: 0, tally: null },
}
const RANGES = [{ offset: 0, bytes: 10, firstRequest: 1, requests: 1 }]

/** A batch's object, its lives one after another, and what operators have heard of it. */
function batch(sql: SqlStorage) {
  const heard: string[] = []
  const pool = { isUp: true }
  const wakes: number[] = []
  const nothing = async () => undefined
  const ports: BatchPorts = {
    nowMs: () => 1_000,
    rows: new BatchRows({ exec: (query, ...values) => sql.exec(query, ...values) }),
    wakeAt: (atMs) => void wakes.push(atMs),
    ...{ send: nothing, sendDead: nothing, keepFile: nothing, setOver: nothing },
    enlist: async () => true,
    readRange: async () => new Uint8Array(),
    files: {
      put: nothing,
      begin: async () => ({ part: nothing, complete: nothing, abort: nothing }),
    },
    logBug: () => undefined,
    logEnd: () => undefined,
    tellProgress: () => undefined,
    async tellEnd({ id, status, redrives }, { completed, failed }) {
      if (!pool.isUp) throw new Error('The pool does not answer')
      heard.push(`${id} ${status} ${completed} ${failed} ${redrives}`)
    },
  }
  let host = new BatchHost(ports)
  const end = (outcome: 'completed' | 'dead') => {
    host.claim(0, 'token')
    host.record(0, 1, { outcome, text: new TextEncoder().encode('{}\n'), usage: NO_USAGE }, 'token')
  }
  return {
    ...{ heard, pool, wakes, end },
    get host() {
      return host
    },
    restart() {
      host = new BatchHost(ports)
    },
  }
}

const withBatch = async (test: (of: ReturnType<typeof batch>) => Promise<void>) =>
  await runInDurableObject(newPool(), async (_, { storage }) => await test(batch(storage.sql)))

it('the end of a batch is told once, by whichever life can tell it, and holds nothing up', async () => {
  await withBatch(async (of) => {
    await of.host.create(structuredClone(BATCH), RANGES)
    of.end('completed')
    of.pool.isUp = false
    await of.host.look()
    expect(of.host.view()?.record.status).toBe('completed')
    expect(of.heard).toEqual([])
    expect(of.wakes.at(-1)).toBe(11_000)
    of.restart()
    of.pool.isUp = true
    for (let look = 0; look < 3; look += 1) await of.host.look()
    of.restart()
    await of.host.look()
    expect(of.heard).toEqual(['batch_7 completed 1 0 0'])
  })
})

it('so is that of a batch that fails before any of its lines runs', async () => {
  await withBatch(async (of) => {
    const fault = { code: 'invalid_json_line', message: 'No JSON', line: 1, param: null }
    const failed = {
      ...structuredClone(BATCH),
      status: 'failed',
      times: { failed: 1_000 },
    } as const
    await of.host.create({ ...failed, faults: [fault] }, [])
    expect(of.wakes).toEqual([1_000])
    await of.host.look()
    expect(of.heard).toEqual(['batch_7 failed 0 0 0'])
  })
})

it('and that of dead lines that were sent again', async () => {
  await withBatch(async (of) => {
    await of.host.create(structuredClone(BATCH), RANGES)
    of.end('dead')
    await of.host.look()
    expect(await of.host.redrive()).toBe(1)
    of.end('completed')
    await of.host.look()
    expect(of.heard).toEqual(['batch_7 completed 0 1 0', 'batch_7 completed 1 0 1'])
  })
})
