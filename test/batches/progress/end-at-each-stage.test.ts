import { describe, expect, it } from 'vitest'
import type { BatchStatus } from '../../../src/batches/progress/batch-record.ts'
import {
  type BatchState,
  begin,
  cancel,
  claim,
  dueRanges,
  finalize,
  finish,
  giveBack,
  isEnded,
  isReady,
  markSent,
  nextLookMs,
  nextUnrun,
  record,
  sweep,
} from '../../../src/batches/progress/batch-state.ts'
import { DAY_MS, newBatch } from './unbegun-batch.ts'

const NO_FILES = { outputFileId: null, errorFileId: null }
const LINES = 8

/** What a batch of two ranges has come to when its end is called for, just before the day is over. */
const STAGES = {
  validating: () => undefined,
  'in_progress, nothing sent': (state) => begin(state, 0),
  'in_progress, messages under way': inProgress,
  'in_progress, a line in hand'(state) {
    inProgress(state)
    claim(state, 0, 'a', DAY_MS - 2)
    record(state, { rangeId: 0, line: 1 }, 'completed')
  },
  'in_progress, lines that wait for another try'(state) {
    inProgress(state)
    claim(state, 0, 'a', 1)
    giveBack(state, { rangeId: 0, token: 'a' }, { tries: new Map([[2, 1]]), delayMs: DAY_MS }, 2)
  },
  'in_progress, all lines recorded'(state) {
    inProgress(state)
    recordAll(state)
  },
  cancelling(state) {
    inProgress(state)
    claim(state, 0, 'a', DAY_MS - 2)
    cancel(state, DAY_MS - 2)
  },
  finalizing(state) {
    inProgress(state)
    recordAll(state)
    finalize(state, 4)
  },
  completed(state) {
    inProgress(state)
    recordAll(state)
    finalize(state, 4)
    finish(state, NO_FILES, 5)
  },
  failed: (state) => Object.assign(state.record, { status: 'failed', times: { failed: 0 } }),
} satisfies Readonly<Record<string, (state: BatchState) => unknown>>

function inProgress(state: BatchState): void {
  begin(state, 0)
  markSent(state, dueRanges(state, 0), 0)
}

function recordAll(state: BatchState): void {
  for (let line = 1; line <= LINES; line += 1) {
    record(state, { rangeId: line <= 4 ? 0 : 1, line }, 'completed')
  }
}

type Stage = keyof typeof STAGES

/** How a batch ends that is cancelled there, and one whose day is over there. */
const ENDS: Readonly<Record<Stage, readonly [cancelled: BatchStatus, expired: BatchStatus]>> = {
  validating: ['cancelled', 'expired'],
  'in_progress, nothing sent': ['cancelled', 'expired'],
  'in_progress, messages under way': ['cancelled', 'expired'],
  'in_progress, a line in hand': ['cancelled', 'expired'],
  'in_progress, lines that wait for another try': ['cancelled', 'expired'],
  'in_progress, all lines recorded': ['cancelled', 'expired'],
  cancelling: ['cancelled', 'cancelled'],
  // Too late: its results are all there.
  finalizing: ['completed', 'completed'],
  completed: ['completed', 'completed'],
  failed: ['failed', 'failed'],
}

/** Goes on to the end, as the batch's object does: nothing begins, and no line has two records. */
function goOn(state: BatchState, nowMs: number): void {
  if (isEnded(state.record)) return
  begin(state, nowMs)
  sweep(state, nowMs)
  expect(dueRanges(state, nowMs + 10 * DAY_MS)).toEqual([])
  for (const rangeId of [0, 1]) expect(claim(state, rangeId, 'late', nowMs)).toBeNull()
  // What runs is waited for, and its answer counts.
  if (state.ranges[0]?.phase.kind === 'claimed') {
    const [line = 0] = state.ranges[0].open
    expect(record(state, { rangeId: 0, line }, 'completed')).toBe('recorded')
    giveBack(state, { rangeId: 0, token: 'a' }, { tries: new Map(), delayMs: 0 }, nowMs)
  }
  for (let unrun = nextUnrun(state); unrun !== null; unrun = nextUnrun(state)) {
    const { rangeId, lines } = unrun
    for (const line of lines) expect(record(state, { rangeId, line }, 'failed')).toBe('recorded')
  }
  expect(isReady(state)).toBe(true)
  finalize(state, nowMs)
  finish(state, NO_FILES, nowMs)
}

function atStage(stage: Stage): BatchState {
  const state = newBatch(LINES)
  STAGES[stage](state)
  return state
}

/** That nothing follows, every line has its record, and what was done before still counts. */
function expectOver(state: BatchState, done: number): void {
  expect(nextLookMs(state)).toBeNull()
  if (state.record.status === 'failed') return
  const { completed, failed } = state.tally
  expect(completed + failed).toBe(LINES)
  expect(completed).toBeGreaterThanOrEqual(done)
}

describe.each(Object.keys(STAGES) as Stage[])('a batch that is %s', (stage) => {
  const [cancelled, expired] = ENDS[stage]

  it(`and is cancelled ends as ${cancelled}, with a record for each line`, () => {
    const state = atStage(stage)
    const { completed } = state.tally
    expect(cancel(state, DAY_MS - 1)).toBe(cancelled === 'cancelled' && stage !== 'cancelling')
    goOn(state, DAY_MS - 1)
    expect(state.record.status).toBe(cancelled)
    expectOver(state, completed)
    expect(cancel(state, DAY_MS)).toBe(false)
  })

  it(`and whose day is over ends as ${expired}, with a record for each line`, () => {
    const state = atStage(stage)
    const { completed } = state.tally
    sweep(state, DAY_MS)
    goOn(state, DAY_MS)
    expect(state.record.status).toBe(expired)
    expectOver(state, completed)
  })
})
