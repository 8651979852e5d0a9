import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { afterDayReport, isDrift } from '../../../src/balancing/accounting/drift.ts'
import { book, correct, createLedger } from '../../../src/balancing/accounting/ledger.ts'
import {
  createReconciliations,
  forgetHolds,
  type GenerationReport,
  noteGenerationReport,
  openReconciliation,
  takeFound,
  takeGenerationDuties,
} from '../../../src/balancing/accounting/reconciliation.ts'
import { clientId, type KeyId, keyId, modelId } from '../../../src/balancing/ids.ts'
import type { Usage } from '../../../src/balancing/settlement.ts'

const START_MS = Date.UTC(2026, 0, 15, 12)
const DAY_MS = 24 * 60 * 60_000

const usage = (costUsd: number, more: Partial<Usage> = {}): Usage => ({
  ...{ promptTokens: 10, completionTokens: 5, cachedTokens: 0, reasoningTokens: 0 },
  ...{ costUsd, estimated: false, ...more },
})

const ESTIMATE = usage(0.002, { completionTokens: 2, estimated: true })

const booked = {
  ...{ keyId: keyId('a'), clientId: clientId('c'), model: modelId('m'), bookedAtMs: START_MS },
  ...{ booked: ESTIMATE, keyUsd: 0.002 },
  holds: [
    { owner: 'client:c', period: 'day', nanos: 2_000_000 },
    { owner: 'group:g', period: 'day', nanos: 2_000_000 },
  ] as const,
}

const itself = (id: KeyId) => id

const found = (generationId: string, costUsd = 0.001): GenerationReport => ({
  ...{ generationId, kind: 'found', usage: usage(costUsd) },
})

const notFound = (generationId: string): GenerationReport => ({ generationId, kind: 'not_found' })

function withOne() {
  const state = createReconciliations()
  openReconciliation(state, 'gen-1', booked)
  const due = (atMs: number) => takeGenerationDuties(state, itself, 10, START_MS + atMs).length
  return { state, due }
}

describe('an estimate', () => {
  it('is asked about after 5 s, and by one Worker at a time', () => {
    const { due } = withOne()
    expect([due(4_999), due(5_000), due(5_001), due(64_999), due(65_000)]).toEqual([0, 1, 0, 0, 1])
  })

  it('is asked about 5 s, 15 s, 45 s and 2 min apart, and then stays', () => {
    const { state, due } = withOne()
    let atMs = 0
    const pauses: number[] = []
    while (state.open.size > 0) {
      let pauseMs = 0
      while (due(atMs + pauseMs) === 0) pauseMs += 1_000
      pauses.push(pauseMs)
      atMs += pauseMs
      noteGenerationReport(state, notFound('gen-1'), START_MS + atMs)
    }
    expect(pauses).toEqual([5_000, 15_000, 45_000, 120_000])
    noteGenerationReport(state, found('gen-1'), START_MS + atMs)
    expect(takeFound(state)).toEqual([])
  })

  it('is given up after a quarter of an hour in which OpenRouter could not be asked', () => {
    const { state, due } = withOne()
    const unknown = { generationId: 'gen-1', kind: 'unknown' } as const
    let asked = 0
    for (let atMs = 0; atMs < 60 * 60_000; atMs += 1_000) {
      if (due(atMs) === 0) continue
      asked += 1
      noteGenerationReport(state, unknown, START_MS + atMs)
    }
    expect(state.open.size).toBe(0)
    expect(asked).toBeGreaterThan(100)
  })

  it('is replaced once, whatever is reported again', () => {
    const { state } = withOne()
    for (const _ of [1, 2]) noteGenerationReport(state, found('gen-1'), START_MS)
    noteGenerationReport(state, notFound('gen-1'), START_MS)
    noteGenerationReport(state, found('gen-2'), START_MS)
    expect(takeFound(state).map(({ usage: { costUsd } }) => costUsd)).toEqual([0.001])
    expect(takeFound(state)).toEqual([])
  })

  it('of a key that is gone stays', () => {
    const { state } = withOne()
    expect(takeGenerationDuties(state, () => null, 10, START_MS + 5_000)).toEqual([])
    expect(state.open.size).toBe(0)
  })

  it('is not taken back of a budget that an operator has reset', () => {
    const { state } = withOne()
    openReconciliation(state, 'gen-2', booked)
    noteGenerationReport(state, found('gen-2'), START_MS)
    forgetHolds(state, 'client:c', 'day')
    noteGenerationReport(state, found('gen-1'), START_MS)
    const holds = takeFound(state).flatMap(({ reconciliation }) => reconciliation.holds)
    expect(holds.map(({ owner }) => owner)).toEqual(['group:g', 'group:g'])
  })
})

it('a thousand estimates are open at most, and the oldest of more stay', () => {
  const state = createReconciliations()
  for (let i = 0; i < 1_500; i++) openReconciliation(state, `gen-${i}`, booked)
  openReconciliation(state, 'x'.repeat(81), booked)
  expect([state.open.size, state.open.has('gen-499'), state.open.has('gen-500')]).toEqual([
    ...[1_000, false, true],
  ])
})

describe('a corrected ledger', () => {
  const entry = { keyId: keyId('a'), model: modelId('m'), clientId: clientId('c') }
  const attempt = { outcome: 'success', fault: undefined } as const

  it('is the one that would have been booked without estimates, at any order of days', () => {
    const answer = fc.record({
      atDay: fc.integer({ min: 0, max: 40 }),
      afterDays: fc.integer({ min: 0, max: 3 }),
      real: fc.integer({ min: 0, max: 5_000 }),
      guess: fc.option(fc.integer({ min: 0, max: 5_000 })),
    })
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 20 }), (answers) => {
        const [guessed, exact] = [createLedger(), createLedger()]
        const steps = answers.flatMap(({ atDay, afterDays, real, guess }) => {
          const actual = usage(real / 1_024)
          const bookedAtMs = START_MS + atDay * DAY_MS
          const estimate = guess === null ? null : usage(guess / 1_024, { estimated: true })
          const first = {
            atMs: bookedAtMs,
            run: () => {
              book(guessed, { ...entry, ...attempt, usage: estimate ?? actual }, bookedAtMs)
              book(exact, { ...entry, ...attempt, usage: actual }, bookedAtMs)
            },
          }
          const nowMs = bookedAtMs + afterDays * DAY_MS
          const later = () => {
            if (estimate === null) return
            correct(guessed, { ...entry, bookedAtMs, booked: estimate }, actual, nowMs)
          }
          return [first, { atMs: nowMs, run: later }]
        })
        for (const { run } of steps.toSorted((a, b) => a.atMs - b.atMs)) run()
        const lastMs = Math.max(...steps.map(({ atMs }) => atMs))
        for (const ledger of [guessed, exact]) {
          book(ledger, { ...entry, ...attempt, usage: undefined }, lastMs)
        }
        for (const by of ['byKey', 'byModel', 'byClient'] as const) {
          expect([...guessed[by]]).toEqual([...exact[by]])
        }
        expect(guessed.all).toEqual(exact.all)
      }),
    )
  })

  it('what is certain never falls, whatever becomes of an estimate', () => {
    // Prometheus takes a total that falls for one that began anew, and counts all of it once more.
    const ledger = createLedger()
    const certain = () => {
      const { total } = ledger.all
      return [
        total.costUsd - total.estimatedUsd,
        total.promptTokens - total.estimatedPromptTokens,
        total.completionTokens - total.estimatedCompletionTokens,
      ]
    }
    book(ledger, { ...entry, ...attempt, usage: ESTIMATE }, START_MS)
    expect(certain()).toEqual([0, 0, 0])
    const at = { ...entry, bookedAtMs: START_MS, booked: ESTIMATE }
    const less = { ...usage(0.001), promptTokens: 1, completionTokens: 2 }
    correct(ledger, at, less, START_MS)
    expect(certain()).toEqual([0.001, 1, 2])
  })

  it('says how much of it is an estimate', () => {
    const ledger = createLedger()
    book(ledger, { ...entry, ...attempt, usage: ESTIMATE }, START_MS)
    expect(ledger.all.total).toMatchObject({ estimated: 1, estimatedUsd: 0.002, costUsd: 0.002 })
    const at = { ...entry, bookedAtMs: START_MS, booked: ESTIMATE }
    correct(ledger, at, usage(0.003), START_MS)
    expect(ledger.all.total).toMatchObject({ estimated: 0, estimatedUsd: 0, costUsd: 0.003 })
    expect(ledger.all.total).toMatchObject({ attempts: 1, completionTokens: 5 })
  })
})

describe('the daily audit', () => {
  it.each([
    [1, 1, false],
    [0.001, 0.01, false],
    [0.02, 0, true],
    [0, 0.02, true],
    [1_000, 951, false],
    [1_000, 949, true],
    [951, 1_000, false],
  ])('of %s USD at OpenRouter and %s here: a drift is %s', (upstreamUsd, bookedUsd, is) => {
    expect(isDrift({ day: 1, upstreamUsd, bookedUsd })).toBe(is)
  })

  it('judges the last report of a day once, when the next day has begun', () => {
    const at = (day: number, upstreamUsd: number) => ({ day, upstreamUsd, bookedUsd: 0 })
    const reports = [at(1, 1), at(1, 2), at(2, 0), at(1, 9), at(2, 3), at(5, 0)]
    let known: ReturnType<typeof at> | null = null
    const over = reports.flatMap((reported) => {
      const next = afterDayReport(known, reported)
      known = next.kept
      return next.over === null ? [] : [next.over]
    })
    expect(over).toEqual([at(1, 2), at(2, 3)])
  })
})
