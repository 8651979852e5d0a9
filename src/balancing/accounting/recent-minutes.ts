import type { KeyId } from '../ids.ts'
import type { Fault, Settlement } from '../settlement.ts'

/** What was booked within one minute. */
export interface MinuteCounters {
  attempts: number
  successes: number
  /** Attempts that failed, by whose fault it was. */
  faults: Partial<Record<Fault, number>>
  /** How many attempts told the time to their first output, and the sum of these times. */
  firstOutputs: number
  firstOutputMs: number
  /** The same of the whole time of good answers. */
  answers: number
  answerMs: number
  promptTokens: number
  completionTokens: number
  costUsd: number
}

/** One minute of the pool, in plain data. */
export interface Minute {
  /** Minutes since 1970-01-01. */
  readonly minute: number
  readonly all: MinuteCounters
  /** Only keys with attempts. */
  readonly keys: Map<KeyId, MinuteCounters>
}

/**
 * The minute that runs, and those that have ended since the last checkpoint. Older ones are on disk: a
 * thousand keys have sixty thousand of these counters in an hour, which nobody reads who does not look
 * at the hour.
 */
export interface RecentMinutes {
  running: Minute | null
  ended: Minute[]
}

/** A minute as it is stored and told. */
export interface MinuteRecord {
  readonly minute: number
  readonly all: MinuteCounters
  readonly keys: readonly (readonly [KeyId, MinuteCounters])[]
}

export function minuteRecord({ keys, ...minute }: Minute): MinuteRecord {
  return { ...minute, keys: [...keys] }
}

/** How many minutes are told of, the running one among them. */
export const MINUTES_KEPT = 60

const MINUTE_MS = 60_000

export function createRecentMinutes(): RecentMinutes {
  return { running: null, ended: [] }
}

export function minuteOf(nowMs: number): number {
  return Math.floor(nowMs / MINUTE_MS)
}

/** Counters at zero. */
export function noMinuteCounters(): MinuteCounters {
  return {
    attempts: 0,
    successes: 0,
    faults: {},
    firstOutputs: 0,
    firstOutputMs: 0,
    answers: 0,
    answerMs: 0,
    promptTokens: 0,
    completionTokens: 0,
    costUsd: 0,
  }
}

/**
 * Books an attempt for the minute in which its settlement came.
 * @param keyId null for a key that is no longer configured
 */
export function bookInMinute(
  minutes: RecentMinutes,
  keyId: KeyId | null,
  settlement: Settlement,
  nowMs: number,
): void {
  const running = runningMinute(minutes, nowMs)
  add(running.all, settlement)
  if (keyId === null) return
  const known = running.keys.get(keyId)
  const counters = known ?? noMinuteCounters()
  if (known === undefined) running.keys.set(keyId, counters)
  add(counters, settlement)
}

/** Goes on with the minute that ran at a checkpoint. */
export function restoreMinute(minutes: RecentMinutes, { keys, ...minute }: MinuteRecord): void {
  minutes.running = { ...minute, keys: new Map(keys) }
}

function runningMinute(minutes: RecentMinutes, nowMs: number): Minute {
  const minute = minuteOf(nowMs)
  const { running } = minutes
  if (running?.minute === minute) return running
  if (running !== null) {
    // Checkpoints that fail must not fill the memory.
    minutes.ended = [...minutes.ended, running].slice(-MINUTES_KEPT)
  }
  const next: Minute = { minute, all: noMinuteCounters(), keys: new Map() }
  minutes.running = next
  return next
}

function add(counters: MinuteCounters, settlement: Settlement): void {
  const { outcome, fault, firstOutputMs, tookMs, usage } = settlement
  counters.attempts += 1
  if (outcome === 'success') counters.successes += 1
  if (fault !== undefined) counters.faults[fault] = (counters.faults[fault] ?? 0) + 1
  if (firstOutputMs !== undefined) {
    counters.firstOutputs += 1
    counters.firstOutputMs += firstOutputMs
  }
  if (tookMs !== undefined && outcome === 'success') {
    counters.answers += 1
    counters.answerMs += tookMs
  }
  if (usage === undefined) return
  counters.promptTokens += usage.promptTokens
  counters.completionTokens += usage.completionTokens
  counters.costUsd += usage.costUsd
}
