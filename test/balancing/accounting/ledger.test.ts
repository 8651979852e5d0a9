import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  book,
  type Counters,
  createLedger,
  type Entry,
  OTHER_MODELS,
  spentToday,
  type Tally,
  tallyOf,
} from '../../../src/balancing/accounting/ledger.ts'
import { clientId, keyId, modelId } from '../../../src/balancing/ids.ts'
import type { Outcome } from '../../../src/balancing/settlement.ts'
import { START_MS, usageOf } from '../pool-driver.ts'

const DAY_MS = 86_400_000

function entry(over: Partial<Entry> = {}): Entry {
  return {
    keyId: keyId('k'),
    model: modelId('m'),
    clientId: clientId('c'),
    outcome: 'success',
    fault: undefined,
    usage: undefined,
    ...over,
  }
}

const sum = (tallies: Iterable<Tally>, count: (counters: Counters) => number) =>
  [...tallies].reduce((total, tally) => total + count(tally.total), 0)

const anyEntry = fc.record({
  keyId: fc.constantFrom('k1', 'k2', 'k3').map(keyId),
  model: fc.constantFrom('m1', 'm2').map(modelId),
  clientId: fc.constantFrom('c1', 'c2').map(clientId),
  outcome: fc.constantFrom<Outcome[]>('success', 'failure', 'ignorable'),
  fault: fc.constantFrom<Entry['fault'][]>(undefined, 'upstream', 'caller', 'key'),
  // Eighths of a dollar are exact as doubles, so they add up without rounding.
  usage: fc.option(
    fc
      .tuple(fc.nat({ max: 10_000 }), fc.nat({ max: 10_000 }), fc.nat({ max: 800 }))
      .map(([prompt, completion, eighths]) => usageOf(prompt, completion, eighths / 8)),
    { nil: undefined },
  ),
})

describe('the ledger', () => {
  it('agrees with itself: totals by key, by model, by client and in all are the same', () => {
    const counts: ((counters: Counters) => number)[] = [
      (c) => c.attempts,
      (c) => c.successes,
      (c) => c.failures,
      (c) => c.ignored,
      (c) => c.promptTokens,
      (c) => c.completionTokens,
      (c) => c.costUsd,
      (c) => c.faults.upstream ?? 0,
      (c) => c.faults.caller ?? 0,
      (c) => c.attempts - c.successes - c.failures - c.ignored,
    ]
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 60 }), (entries) => {
        const ledger = createLedger()
        for (const [i, booked] of entries.entries()) book(ledger, booked, START_MS + i * 10_000_000)
        for (const count of counts) {
          const total = sum(ledger.byKey.values(), count)
          expect(sum(ledger.byModel.values(), count)).toBe(total)
          expect(sum(ledger.byClient.values(), count)).toBe(total)
          expect(sum([ledger.all], count)).toBe(total)
        }
        expect(sum(ledger.byKey.values(), (c) => c.attempts)).toBe(entries.length)
        const spent = entries.reduce((usd, { usage }) => usd + (usage?.costUsd ?? 0), 0)
        expect(sum(ledger.byKey.values(), (c) => c.costUsd)).toBe(spent)
      }),
    )
  })

  it('counts every kind of token, the money, the outcome and the fault', () => {
    const ledger = createLedger()
    const usage = { ...usageOf(100, 20, 0.5), cachedTokens: 60, reasoningTokens: 7 }
    book(ledger, entry({ usage }), START_MS)
    book(ledger, entry({ outcome: 'failure', fault: 'upstream' }), START_MS)
    book(ledger, entry({ outcome: 'ignorable', fault: 'caller' }), START_MS)
    expect(ledger.byKey.get(keyId('k'))?.total).toEqual({
      attempts: 3,
      successes: 1,
      failures: 1,
      ignored: 1,
      faults: { upstream: 1, caller: 1 },
      promptTokens: 100,
      completionTokens: 20,
      cachedTokens: 60,
      reasoningTokens: 7,
      costUsd: 0.5,
      estimated: 0,
      estimatedUsd: 0,
      estimatedPromptTokens: 0,
      estimatedCompletionTokens: 0,
    })
  })

  it('counts an attempt of unknown model and client under its key and in all', () => {
    const ledger = createLedger()
    book(ledger, entry({ model: null, clientId: null }), START_MS)
    expect(ledger.byKey.get(keyId('k'))?.total.attempts).toBe(1)
    expect(ledger.all.total.attempts).toBe(1)
    expect([ledger.byModel.size, ledger.byClient.size]).toEqual([0, 0])
  })

  it('begins a new day at midnight UTC and keeps the total', () => {
    const ledger = createLedger()
    const midnightMs = Math.ceil(START_MS / DAY_MS) * DAY_MS
    const today = () => ledger.byKey.get(keyId('k'))?.today.attempts
    book(ledger, entry(), midnightMs - 2)
    book(ledger, entry(), midnightMs - 1)
    expect(today()).toBe(2)
    book(ledger, entry(), midnightMs)
    expect(today()).toBe(1)
    book(ledger, entry(), midnightMs + 3 * DAY_MS)
    expect(today()).toBe(1)
    expect(ledger.byKey.get(keyId('k'))?.total.attempts).toBe(4)
  })

  it('says which day its day is, so that yesterday is not shown as today', () => {
    const ledger = createLedger()
    book(ledger, entry(), START_MS)
    expect(ledger.byKey.get(keyId('k'))?.day).toBe(Math.floor(START_MS / DAY_MS))
  })

  it('knows what was spent today, and forgets it at midnight although nothing was booked since', () => {
    const ledger = createLedger()
    const midnightMs = Math.ceil(START_MS / DAY_MS) * DAY_MS
    book(ledger, entry({ usage: usageOf(1, 1, 0.5) }), midnightMs - 2)
    book(ledger, entry({ usage: usageOf(1, 1, 0.25) }), midnightMs - 1)
    expect(spentToday(ledger.all, midnightMs - 1)).toBe(0.75)
    expect(spentToday(ledger.all, midnightMs)).toBe(0)
    book(ledger, entry({ usage: usageOf(1, 1, 0.125) }), midnightMs)
    expect(spentToday(ledger.all, midnightMs)).toBe(0.125)
  })

  it('hands out one and the same tally for an id, whatever is booked and whatever day it is', () => {
    const ledger = createLedger()
    const tally = tallyOf(ledger.byKey, keyId('k'), START_MS)
    book(ledger, entry({ usage: usageOf(1, 1, 0.5) }), START_MS)
    expect(spentToday(tally, START_MS)).toBe(0.5)
    book(ledger, entry({ usage: usageOf(1, 1, 0.25) }), START_MS + DAY_MS)
    expect(spentToday(tally, START_MS + DAY_MS)).toBe(0.25)
    expect(tally.total.costUsd).toBe(0.75)
  })

  it('does not grow with the models that callers make up, and loses none of their tokens', () => {
    const ledger = createLedger()
    for (let i = 0; i < 2_000; i++) {
      book(ledger, entry({ model: modelId(`made/up-${i}`), usage: usageOf(1, 0, 0) }), START_MS)
    }
    expect(ledger.byModel.size).toBeLessThanOrEqual(501)
    expect(sum(ledger.byModel.values(), (c) => c.promptTokens)).toBe(2_000)
    expect(ledger.byModel.get(OTHER_MODELS)?.total.attempts).toBe(1_500)
  })

  it('goes on counting a model that it knew before the bound was reached', () => {
    const ledger = createLedger()
    for (let i = 0; i < 600; i++) book(ledger, entry({ model: modelId(`m/${i}`) }), START_MS)
    book(ledger, entry({ model: modelId('m/0') }), START_MS)
    expect(ledger.byModel.get('m/0')?.total.attempts).toBe(2)
  })
})
