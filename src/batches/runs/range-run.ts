import type { BatchLine } from '../files/batch-lines.ts'
import type { LineResult } from '../progress/batch-rows.ts'
import { CLAIM_MS } from '../progress/batch-state.ts'
import { type LineEnd, verdictOf } from './verdict.ts'

/** What a run needs of the world. */
export interface RangePorts {
  nowMs(): number
  random(): number
  /** Waits. */
  wait(ms: number): Promise<void>
  /** Runs one line: the whole journey of its request. Never rejects. */
  runLine(line: BatchLine): Promise<LineEnd & { readonly result: (isGood: boolean) => LineResult }>
  /**
   * Each of these asks the batch's object, and may reject. The first two say whether further lines may
   * begin.
   */
  renew(): Promise<boolean>
  record(line: number, result: LineResult): Promise<boolean>
  giveBack(after: {
    readonly tries: ReadonlyMap<number, number>
    readonly delayMs: number
  }): Promise<void>
}

export interface Job {
  readonly line: BatchLine
  readonly tries: number
}

/** The platform ends an invocation after fifteen minutes. A request may take ten. */
const BEGIN_WITHIN_MS = 4 * 60_000

/** A line waits so long within the invocation. What takes longer is sent again by the object. */
const MAX_PAUSE_MS = 5_000

/** After so long without room for any line, the range is given back, for so long. */
const PATIENCE_MS = 15_000
const MIN_ABSENCE_MS = 3_000
const MAX_ABSENCE_MS = 10_000

const RECORD_TRIES = 6

/**
 * Runs the lines of a claimed range, one at a time, and records each before the next one begins. So a
 * Worker that dies takes one answer along that is paid for, at most. Width comes from the queue: each
 * message has an invocation of its own, and a range is short. What has not run when it ends is given back.
 */
export class RangeRun {
  readonly #ports: RangePorts
  readonly #waiting: (Job & { notBeforeMs: number })[]
  /** Lines that wait for longer than the invocation may. */
  readonly #left: Job[] = []
  readonly #beginUntilMs: number
  #delayMs = 0
  /** Since when no line had room; null if the last one had. */
  #refusedSinceMs: number | null = null
  #mayBegin = true

  constructor(jobs: readonly Job[], ports: RangePorts) {
    this.#waiting = jobs.map((job) => ({ ...job, notBeforeMs: 0 }))
    this.#ports = ports
    this.#beginUntilMs = ports.nowMs() + BEGIN_WITHIN_MS
  }

  /** @throws if a result could not be recorded: the batch's object does not answer */
  async run(): Promise<void> {
    const heart = this.#beat()
    try {
      for (let job = await this.#next(); job !== null; job = await this.#next()) {
        await this.#serve(job)
      }
    } finally {
      heart.stop()
    }
    const left = [...this.#left, ...this.#waiting]
    if (left.length === 0) return
    const tries = new Map(left.map(({ line, tries: count }) => [line.line, count] as const))
    await this.#ports.giveBack({ tries, delayMs: this.#delayMs })
  }

  /** The first line whose time has come, when it has; null if none may begin any more. */
  async #next(): Promise<Job | null> {
    const { nowMs, wait } = this.#ports
    while (this.#mayBegin && nowMs() < this.#beginUntilMs && this.#waiting.length > 0) {
      const at = this.#waiting.findIndex(({ notBeforeMs }) => notBeforeMs <= nowMs())
      const [job] = at === -1 ? [] : this.#waiting.splice(at, 1)
      if (job !== undefined) return job
      const earliestMs = Math.min(...this.#waiting.map(({ notBeforeMs }) => notBeforeMs))
      await wait(earliestMs - nowMs())
      await this.#ask()
    }
    return null
  }

  async #serve(job: Job): Promise<void> {
    const end = await this.#ports.runLine(job.line)
    const verdict = verdictOf(end, job.tries, this.#ports.random)
    switch (verdict.kind) {
      case 'ended':
        this.#refusedSinceMs = null
        return await this.#record(job.line.line, end.result(verdict.outcome === 'completed'))
      case 'again':
        return this.#later({ ...job, tries: job.tries + 1 }, verdict.afterMs)
      case 'refused':
        return await this.#refused(job, verdict.afterMs)
    }
  }

  /** The other lines do not wait for it. */
  #later(job: Job, afterMs: number): void {
    if (afterMs <= MAX_PAUSE_MS) {
      this.#waiting.push({ ...job, notBeforeMs: this.#ports.nowMs() + afterMs })
      return
    }
    this.#left.push(job)
    this.#delayMs = Math.max(this.#delayMs, afterMs)
  }

  /** No line has room, so all wait. */
  async #refused(job: Job, afterMs: number): Promise<void> {
    const { nowMs, random, wait } = this.#ports
    this.#refusedSinceMs ??= nowMs()
    this.#waiting.unshift({ ...job, notBeforeMs: 0 })
    const patienceMs = this.#refusedSinceMs + PATIENCE_MS - nowMs()
    if (afterMs > patienceMs) {
      // Jitter, so that ranges that were refused together do not come back together.
      const absenceMs = Math.min(MAX_ABSENCE_MS, Math.max(MIN_ABSENCE_MS, afterMs))
      this.#delayMs = Math.max(this.#delayMs, absenceMs * (0.5 + random() / 2))
      this.#mayBegin = false
      return
    }
    await wait(Math.min(MAX_PAUSE_MS, afterMs * (0.75 + random() / 2)))
    await this.#ask()
  }

  /** A line begins only after a word of the batch's object: the batch may have been cancelled. */
  async #ask(): Promise<void> {
    const mayGoOn = await this.#ports.renew().catch(() => true)
    if (!mayGoOn) this.#mayBegin = false
  }

  /** The answer is paid for, so it is not given up at once. */
  async #record(line: number, result: LineResult): Promise<void> {
    for (let failures = 0; ; failures += 1) {
      try {
        if (!(await this.#ports.record(line, result))) this.#mayBegin = false
        return
      } catch (error) {
        if (failures + 1 >= RECORD_TRIES) throw error
        await this.#ports.wait(250 * 2 ** failures)
      }
    }
  }

  /** Says a word to the batch's object now and then, and hears whether the batch still runs. */
  #beat(): { stop(): void } {
    let isOver = false
    const beat = async () => {
      await this.#ports.wait(CLAIM_MS / 3)
      while (!isOver) {
        await this.#ask()
        await this.#ports.wait(CLAIM_MS / 3)
      }
    }
    beat().catch(() => undefined)
    return {
      stop() {
        isOver = true
      },
    }
  }
}
