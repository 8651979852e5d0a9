import type { BatchProgress } from '../../balancing/batches/batch-progress.ts'
import { linesOf } from '../files/batch-lines.ts'
import type { LineRange } from '../files/line-ranges.ts'
import { type FilePort, PartWriter } from '../files/part-writer.ts'
import { fileKey, type StoredFile } from '../files/stored-file.ts'
import type { BatchRecord, Tally } from './batch-record.ts'
import { addUsage, type BatchRows, type LineResult } from './batch-rows.ts'
import {
  type BatchState,
  begin,
  type Claim,
  cancel,
  claim,
  createBatchState,
  dueRanges,
  finalize,
  finish,
  giveBack,
  isEnded,
  isReady,
  linesClaimed,
  markSent,
  mayGoOn,
  nextLookMs,
  nextUnrun,
  record,
  redrive,
  renew,
  sweep,
  type Unrun,
} from './batch-state.ts'
import { NO_USAGE, resultLine, UNRUN } from './result-line.ts'

/** Clock, queues, files and alarm, as parameters. Tests run the host on virtual time. */
export interface BatchPorts {
  nowMs(): number
  readonly rows: BatchRows
  /** Has `look` called at that time, also if the object has been evicted meanwhile. */
  wakeAt(atMs: number): void
  send(rangeIds: readonly number[]): Promise<void>
  /** Tells the operator's queue of a line that ended its Worker each time. */
  sendDead(line: number): Promise<void>
  /** The bytes of a range of the input file; null if the file is gone. */
  readRange(batch: BatchRecord, range: LineRange): Promise<Uint8Array | null>
  readonly files: FilePort
  /** Puts a file that is written on its client's list. */
  keepFile(clientId: string, file: StoredFile): Promise<void>
  /** Puts the batch on its client's list. @returns false if the file is gone that it has to read */
  enlist(batch: BatchRecord): Promise<boolean>
  /** Tells the client's list whether the batch still reads its input. */
  setOver(batch: BatchRecord, isOver: boolean): Promise<void>
  /** Tells operators that the batch has ended. Rejects if nobody heard it. */
  tellEnd(batch: BatchRecord, tally: Tally): Promise<void>
  /** Tells the pool how far the batch is, for operators. Nothing waits for it, and it may be lost. */
  tellProgress(progress: BatchProgress, hasEnded: boolean): void
  logBug(bug: unknown): void
  logEnd(batch: BatchRecord, tally: Tally): void
}

/** What anybody may see of a batch. */
export interface BatchView {
  readonly record: BatchRecord
  readonly tally: Tally
}

/** What a consumer needs to run the lines of a range. */
export interface ClaimReply extends Claim {
  readonly token: string
  readonly clientId: string
  readonly endpoint: BatchRecord['endpoint']
  readonly inputFileId: string
}

/** A batch's lines have so long, and as long again when an operator sends dead ones again. */
export const WINDOW_MS = 24 * 60 * 60_000

/** While dead lines may be sent again, the results stay. */
const REDRIVE_MS = 7 * 24 * 60 * 60_000

/** When something outside has failed, it is tried again after this time. */
const AGAIN_MS = 10_000

/** How often operators are told how far a batch is. A new status is told at once. */
const TELL_EVERY_MS = 2_000

/**
 * One batch. Each step decides, writes down what has changed, and sees to the alarm. What waits for
 * something outside (messages, files) runs in `look` alone, and is done again if it dies half-way.
 */
export class BatchHost {
  readonly #ports: BatchPorts
  #state: BatchState | null
  #isLooking = false
  /** How many calls are about to make it read its input. */
  #holds = 0
  /** What the pool was told last. */
  #told: { readonly status: string; readonly atMs: number } | null = null

  constructor(ports: BatchPorts) {
    this.#ports = ports
    this.#state = ports.rows.read()
  }

  /**
   * Begins a batch. Safe to call twice. A batch with faults has failed from its beginning.
   * @returns null if the file is gone that it has to read
   */
  async create(batch: BatchRecord, ranges: readonly LineRange[]): Promise<BatchView | null> {
    // On the list first: a batch that nobody knows of would run all the same.
    const isListed = this.#state !== null || (await this.#hold(() => this.#ports.enlist(batch)))
    if (!isListed) return null
    const state = this.#state ?? createBatchState(batch, ranges)
    this.#state = state
    if (state.record.status === 'validating') begin(state, this.#ports.nowMs())
    this.#done(state)
    return this.#viewOf(state)
  }

  /**
   * Whether its input has to stay: its client's list asks that where it has not heard of an end. A batch
   * that died before it began reads nothing.
   */
  isReading(): boolean {
    return this.#holds > 0 || (this.#state !== null && !isEnded(this.#state.record))
  }

  async #hold<T>(work: () => Promise<T>): Promise<T> {
    this.#holds += 1
    try {
      return await work()
    } finally {
      this.#holds -= 1
    }
  }

  view(): BatchView | null {
    return this.#state === null ? null : this.#viewOf(this.#state)
  }

  claim(rangeId: number, token: string): ClaimReply | null {
    const state = this.#state
    const given = state && claim(state, rangeId, token, this.#ports.nowMs())
    if (state === null || given === null) return null
    this.#done(state)
    const { clientId, endpoint, inputFileId } = state.record
    return { ...given, token, clientId, endpoint, inputFileId }
  }

  /** A word of a consumer. @returns whether it may begin further lines */
  renew(rangeId: number, token: string): boolean {
    const state = this.#state
    if (state === null) return false
    const mayGoOn = renew(state, rangeId, token, this.#ports.nowMs())
    this.#done(state)
    return mayGoOn
  }

  /**
   * Keeps a line's result, unless it has one already.
   * @returns whether the consumer that holds the range by `token` may begin further lines
   */
  record(rangeId: number, line: number, result: LineResult, token: string): boolean {
    const state = this.#state
    if (state === null) return false
    this.#keep(state, rangeId, line, result)
    this.#done(state)
    return mayGoOn(state, { rangeId, token }, this.#ports.nowMs())
  }

  giveBack(
    rangeId: number,
    token: string,
    after: { readonly tries: ReadonlyMap<number, number>; readonly delayMs: number },
  ): void {
    const state = this.#state
    if (state === null) return
    giveBack(state, { rangeId, token }, after, this.#ports.nowMs())
    this.#done(state)
  }

  /** @returns null if there is no batch here; else the batch, and whether it was not over yet */
  cancel(): (BatchView & { readonly isCancelled: boolean }) | null {
    const state = this.#state
    if (state === null) return null
    const isCancelled = cancel(state, this.#ports.nowMs())
    this.#done(state)
    return { ...this.#viewOf(state), isCancelled }
  }

  /**
   * Sends the dead lines again.
   * @returns how many; null if there is no batch here, `gone` if its client has deleted what they say
   */
  async redrive(): Promise<number | 'gone' | null> {
    return await this.#hold(() => this.#redrive())
  }

  async #redrive(): Promise<number | 'gone' | null> {
    const state = this.#state
    if (state === null) return null
    const { rows, setOver, readRange } = this.#ports
    const [range] = state.ranges
    // The lines' results are gone, or there is nothing to do.
    if (range === undefined || rows.deadLines().length === 0) return 0
    // First, so that the file cannot go between a look at it and its lines.
    await setOver(state.record, false)
    if ((await readRange(state.record, range.range)) === null) {
      await setOver(state.record, true)
      return 'gone'
    }
    // Meanwhile its files may have begun to be written, and another call may have done the same.
    const lines = state.record.status === 'finalizing' ? [] : rows.deadLines()
    if (lines.length === 0) return 0
    rows.forgetDeadLines()
    redrive(state, lines, WINDOW_MS, this.#ports.nowMs())
    this.#done(state)
    return lines.length
  }

  /** Does what is due. The alarm calls it, and nothing else needs to. */
  async look(): Promise<void> {
    const state = this.#state
    if (state === null || this.#isLooking) return
    this.#isLooking = true
    try {
      await this.#carryOut(state)
      this.#done(state)
    } catch (bug) {
      this.#ports.logBug(bug)
      this.#ports.wakeAt(this.#ports.nowMs() + AGAIN_MS)
    } finally {
      this.#isLooking = false
    }
  }

  async #carryOut(state: BatchState): Promise<void> {
    if (isEnded(state.record)) return await this.#leave(state)
    sweep(state, this.#ports.nowMs())
    this.#write(state)
    for (let unrun = nextUnrun(state); unrun !== null; unrun = nextUnrun(state)) {
      await this.#recordUnrun(state, unrun)
    }
    if (isReady(state)) return await this.#writeFiles(state)
    const due = dueRanges(state, this.#ports.nowMs())
    if (due.length === 0) return
    await this.#ports.send(due)
    markSent(state, due, this.#ports.nowMs())
  }

  /** Records lines that nobody will run. The names that they need stand in the input file. */
  async #recordUnrun(state: BatchState, { rangeId, range, lines, why }: Unrun): Promise<void> {
    const bytes = await this.#ports.readRange(state.record, range)
    const requests = bytes === null ? [] : linesOf(bytes, range.firstRequest)
    for (const line of lines) {
      if (why === 'dead') await this.#ports.sendDead(line)
      // Meanwhile a late answer may have come.
      if (!state.ranges[rangeId]?.open.has(line)) continue
      const customId = requests.find((each) => each.line === line)?.customId ?? ''
      const text = resultLine({ requestId: requestIdOf(state.record, line), customId }, UNRUN[why])
      const outcome = why === 'dead' ? 'dead' : 'failed'
      this.#keep(state, rangeId, line, { outcome, text, usage: NO_USAGE })
      this.#done(state)
    }
  }

  #keep(state: BatchState, rangeId: number, line: number, result: LineResult): void {
    if (record(state, { rangeId, line }, result.outcome) === 'repeated') return
    this.#ports.rows.keep(line, result)
    addUsage(state.tally, result.usage)
  }

  /** Whatever it has written before, it begins anew: a file is there when its last part is. */
  async #writeFiles(state: BatchState): Promise<void> {
    finalize(state, this.#ports.nowMs())
    this.#write(state)
    const { record: batch } = state
    const outputFileId = await this.#writeFile(batch, 'output')
    const errorFileId = await this.#writeFile(batch, 'error')
    finish(state, { outputFileId, errorFileId }, this.#ports.nowMs())
    this.#write(state)
    this.#ports.logEnd(batch, state.tally)
    await this.#leave(state)
  }

  /** Tells what has to be told of an end. It is done again until everybody has heard it. */
  async #leave(state: BatchState): Promise<void> {
    const { record: batch, tally } = state
    if (!batch.isEndTold) {
      await this.#ports.setOver(batch, true)
      await this.#ports.tellEnd(batch, tally)
      batch.isEndTold = true
      state.changed.record = true
      this.#ports.rows.write(state)
    }
    this.#forgetLines(state)
  }

  /** After dead lines were sent again, a file has another id: the earlier one may be on its way out. */
  async #writeFile(batch: BatchRecord, kind: 'output' | 'error'): Promise<string | null> {
    const { clientId, id: batchId, redrives } = batch
    const id = `file-${batchId.slice('batch_'.length)}${redrives === 0 ? '' : redrives}${kind[0]}`
    const writer = new PartWriter(this.#ports.files, fileKey(clientId, id))
    for (const piece of this.#ports.rows.texts(kind)) await writer.write(piece)
    if (writer.bytes === 0) return null
    await writer.end()
    const createdAtMs = this.#ports.nowMs()
    await this.#ports.keepFile(clientId, {
      ...{ id, purpose: 'batch_output', filename: `${batchId}_${kind}.jsonl`, bytes: writer.bytes },
      ...{ createdAtMs, expiresAtMs: createdAtMs + batch.outputKeptMs },
    })
    return id
  }

  /** The results lie in files now. While dead lines may be sent again, they are needed once more. */
  #forgetLines(state: BatchState): void {
    const endedAtMs = endOf(state.record)
    if (state.ranges.length === 0 || endedAtMs === null) return
    const keptUntilMs = state.tally.dead === 0 ? endedAtMs : endedAtMs + REDRIVE_MS
    if (this.#ports.nowMs() < keptUntilMs) {
      this.#ports.wakeAt(keptUntilMs)
    } else {
      this.#ports.rows.purge()
      this.#state = { ...state, ranges: [] }
    }
  }

  #write(state: BatchState): void {
    this.#ports.rows.write(state)
    const { record: batch, tally } = state
    const { status, id, clientId, total, expiresAtMs } = batch
    const nowMs = this.#ports.nowMs()
    const isNews = this.#told?.status !== status
    if (!isNews && nowMs - (this.#told?.atMs ?? 0) < TELL_EVERY_MS) return
    // Of a batch that ended before this object began to live nobody has to hear.
    if (this.#told === null && isEnded(batch)) return
    this.#told = { status, atMs: nowMs }
    const { completed, failed } = tally
    const counts = { total, completed, failed, claimed: linesClaimed(state) }
    this.#ports.tellProgress({ id, clientId, status, ...counts, expiresAtMs }, isEnded(batch))
  }

  #done(state: BatchState): void {
    this.#write(state)
    const atMs = nextLookMs(state)
    const isUntold = isEnded(state.record) && !state.record.isEndTold
    const isDue = isReady(state) || nextUnrun(state) !== null || isUntold
    if (isDue) this.#ports.wakeAt(this.#ports.nowMs())
    else if (atMs !== null) this.#ports.wakeAt(atMs)
  }

  #viewOf({ record: batch, tally }: BatchState): BatchView {
    return { record: structuredClone(batch), tally: { ...tally } }
  }
}

/** What a line's request is called, in the files and in the log. */
export function requestIdOf({ id }: Pick<BatchRecord, 'id'>, line: number): string {
  return `batch_req_${id.slice('batch_'.length)}_${line}`
}

function endOf({ times }: BatchRecord): number | null {
  const { completed, failed, expired, cancelled } = times
  return completed ?? failed ?? expired ?? cancelled ?? null
}
