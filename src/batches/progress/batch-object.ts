import { DurableObject } from 'cloudflare:workers'
import { logBatchEnd, logBug } from '../../http/log.ts'
import { createPoolClient, type PoolClient } from '../../key-pool/pool-client.ts'
import { placeOf, poolStub } from '../../key-pool/pool-stub.ts'
import { bucketPort, readBytes } from '../files/bucket.ts'
import type { FileList, FileListBindings } from '../files/file-list-object.ts'
import type { LineRange } from '../files/line-ranges.ts'
import { batchObjectName, fileKey, fileListName } from '../files/stored-file.ts'
import { BatchHost, type BatchView, type ClaimReply } from './batch-host.ts'
import type { BatchRecord, Tally } from './batch-record.ts'
import { BatchRows, type LineResult } from './batch-rows.ts'
import type { DeadLine, RangeMessage } from './range-message.ts'

/** What it needs of `docs/batches.toml`. */
export interface BatchObjectBindings extends FileListBindings {
  readonly BATCH_LINES: Queue<RangeMessage>
  readonly DEAD_LINES: Queue<DeadLine>
  readonly KEY_POOL: Env['KEY_POOL']
  readonly FILE_LISTS: DurableObjectNamespace<FileList>
}

/** An alarm that is so late does not come any more. */
const OVERDUE_MS = 30_000

/** What has not answered by then is asked again: a look that waits for ever would be the last one. */
const ANSWER_MS = 60_000

async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error('The queue does not answer')), ANSWER_MS)
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

/** The Durable Object of one batch. What it does is in its host. */
export class Batch extends DurableObject<BatchObjectBindings> {
  readonly #host: BatchHost
  /** The alarm that is set, as far as this object knows. */
  #wakesAtMs = Number.POSITIVE_INFINITY

  constructor(ctx: DurableObjectState, env: BatchObjectBindings) {
    super(ctx, env)
    const { sql } = ctx.storage
    const batchId = () => ctx.id.name?.slice(batchObjectName('').length) ?? ''
    this.#host = new BatchHost({
      nowMs: () => Date.now(),
      rows: new BatchRows({ exec: (query, ...values) => sql.exec(query, ...values) }),
      wakeAt: (atMs) => this.#wakeAt(atMs),
      async send(rangeIds) {
        const messages = rangeIds.map((rangeId) => ({
          body: { version: 1 as const, batchId: batchId(), rangeId },
        }))
        await inTime(env.BATCH_LINES.sendBatch(messages))
      },
      async sendDead(line) {
        await inTime(env.DEAD_LINES.send({ version: 1, batchId: batchId(), line }))
      },
      async readRange({ clientId, inputFileId }, range) {
        return await readBytes(env.FILES, fileKey(clientId, inputFileId), range)
      },
      files: bucketPort(env.FILES),
      async keepFile(clientId, file) {
        await env.FILE_LISTS.getByName(fileListName(clientId)).keep(file, null)
      },
      async enlist({ clientId, id, inputFileId }) {
        const list = env.FILE_LISTS.getByName(fileListName(clientId))
        return await list.addBatch(id, inputFileId)
      },
      async setOver({ clientId, id }, isOver) {
        await env.FILE_LISTS.getByName(fileListName(clientId)).setOver(id, isOver)
      },
      tellEnd: async (batch, tally) =>
        await tellEnd(createPoolClient(env.KEY_POOL, placeOf(env)), batch, tally),
      tellProgress(progress, hasEnded) {
        const told = (async () => {
          await poolStub(env.KEY_POOL, placeOf(env)).noteBatch(progress, hasEnded)
        })()
        // A pool that does not answer is told again soon.
        ctx.waitUntil(told.catch(() => undefined))
      },
      logBug: (bug) => logBug(undefined, bug),
      logEnd: logBatchEnd,
    })
  }

  async create(record: BatchRecord, ranges: readonly LineRange[]): Promise<BatchView | null> {
    return await this.#host.create(record, ranges)
  }

  isReading(): boolean {
    return this.#host.isReading()
  }

  view(): BatchView | null {
    // Whoever waits for the batch asks for it, and so sets a lost alarm again.
    const nowMs = Date.now()
    if (nowMs - this.#wakesAtMs >= OVERDUE_MS) this.#wakeAt(nowMs)
    return this.#host.view()
  }

  claim(rangeId: number, token: string): ClaimReply | null {
    return this.#host.claim(rangeId, token)
  }

  renew(rangeId: number, token: string): boolean {
    return this.#host.renew(rangeId, token)
  }

  record(rangeId: number, line: number, result: LineResult, token: string): boolean {
    return this.#host.record(rangeId, line, result, token)
  }

  giveBack(
    rangeId: number,
    token: string,
    after: { readonly tries: ReadonlyMap<number, number>; readonly delayMs: number },
  ): void {
    this.#host.giveBack(rangeId, token, after)
  }

  cancel() {
    return this.#host.cancel()
  }

  async redrive(): Promise<number | 'gone' | null> {
    return await this.#host.redrive()
  }

  override async alarm(): Promise<void> {
    this.#wakesAtMs = Number.POSITIVE_INFINITY
    await this.#host.look()
  }

  /** The alarm is a row, and each change of it is one written: an earlier one stays. */
  #wakeAt(atMs: number): void {
    const nowMs = Date.now()
    // One that is overdue is lost, for whatever reason.
    if (this.#wakesAtMs <= atMs && nowMs - this.#wakesAtMs < OVERDUE_MS) return
    this.#wakesAtMs = Math.max(atMs, nowMs)
    // An object that is evicted has its alarm all the same.
    this.ctx.waitUntil(this.ctx.storage.setAlarm(this.#wakesAtMs))
  }
}

/** The pool tells operators, once. A batch whose dead lines were sent again ends once more. */
async function tellEnd(
  pool: Pick<PoolClient, 'alerts'>,
  { id, clientId, status, total, redrives }: BatchRecord,
  { completed, failed, costUsd }: Tally,
): Promise<void> {
  const counts = { total, completed, failed, cost_usd: costUsd }
  const answer = await pool.alerts({
    kind: 'batch_ended',
    subject: redrives === 0 ? id : `${id} again ${redrives}`,
    facts: { batch: id, client: clientId, status, ...counts },
  })
  if (answer.kind === 'unavailable') throw new Error(`Nobody was told of the end of ${id}`)
}
