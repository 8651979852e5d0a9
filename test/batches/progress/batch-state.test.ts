import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type BatchState,
  begin,
  CLAIM_MS,
  cancel,
  claim,
  dueRanges,
  finalize,
  finish,
  giveBack,
  isEnded,
  isReady,
  MAX_UNDER_WAY,
  markSent,
  nextLookMs,
  nextUnrun,
  record,
  redrive,
  renew,
  sweep,
} from '../../../src/batches/progress/batch-state.ts'
import { DAY_MS, newBatch } from './unbegun-batch.ts'

function begun(total: number, perRange = 4): BatchState {
  const state = newBatch(total, perRange)
  begin(state, 0)
  markSent(state, dueRanges(state, 0), 0)
  return state
}

const linesOf = (given: ReturnType<typeof claim>) => given?.lines.map(({ line }) => line)

describe('a claim', () => {
  it('gives a range to one consumer, whichever message comes twice', () => {
    const state = begun(8)
    expect(linesOf(claim(state, 0, 'a', 10))).toEqual([1, 2, 3, 4])
    expect(claim(state, 0, 'b', 11)).toBe(null)
    expect(linesOf(claim(state, 1, 'b', 12))).toEqual([5, 6, 7, 8])
  })

  it('ends if its consumer says no word, and the range goes on to another', () => {
    const state = begun(4)
    claim(state, 0, 'a', 0)
    expect(record(state, { rangeId: 0, line: 2 }, 'completed')).toBe('recorded')
    expect(renew(state, 0, 'a', CLAIM_MS - 1)).toBe(true)
    sweep(state, CLAIM_MS + 1)
    expect(claim(state, 0, 'b', CLAIM_MS + 1)).toBe(null)
    sweep(state, 2 * CLAIM_MS)
    expect(dueRanges(state, 2 * CLAIM_MS)).toEqual([0])
    expect(linesOf(claim(state, 0, 'b', 2 * CLAIM_MS))).toEqual([1, 3, 4])
    expect(renew(state, 0, 'a', 2 * CLAIM_MS)).toBe(false)
  })

  it('counts the first answer of a line, whoever brings it, and the other as repeated', () => {
    const state = begun(1)
    claim(state, 0, 'a', 0)
    claim(state, 0, 'b', CLAIM_MS)
    expect(record(state, { rangeId: 0, line: 1 }, 'completed')).toBe('recorded')
    expect(record(state, { rangeId: 0, line: 1 }, 'failed')).toBe('repeated')
    expect(state.tally).toMatchObject({ completed: 1, failed: 0 })
    expect(state.record.repeated).toBe(1)
  })

  it('that is given back waits for its time, and remembers the tries', () => {
    const state = begun(4)
    claim(state, 0, 'a', 0)
    giveBack(state, { rangeId: 0, token: 'b' }, { tries: new Map(), delayMs: 0 }, 5)
    expect(dueRanges(state, 5)).toEqual([])
    giveBack(state, { rangeId: 0, token: 'a' }, { tries: new Map([[3, 2]]), delayMs: 50 }, 5)
    expect(dueRanges(state, 54)).toEqual([])
    // A message that comes twice comes too early.
    expect(claim(state, 0, 'x', 54)).toBe(null)
    expect(dueRanges(state, 55)).toEqual([0])
    expect(claim(state, 0, 'c', 60)?.lines).toContainEqual({ line: 3, tries: 2 })
  })
})

describe('messages', () => {
  it('that are lost are sent again, each time later', () => {
    const state = begun(4)
    const sentAtMs = [0]
    for (let nowMs = 0; nowMs < 2 * 60 * 60_000; nowMs += 60_000) {
      sweep(state, nowMs)
      const due = dueRanges(state, nowMs)
      if (due.length > 0) sentAtMs.push(nowMs)
      markSent(state, due, nowMs)
    }
    expect(sentAtMs.map((ms) => ms / 60_000)).toEqual([0, 5, 15, 35, 75])
  })

  it('are as many as may be under way', () => {
    const state = begun(3000, 10)
    expect(state.ranges.filter(({ phase }) => phase.kind === 'sent').length).toBe(MAX_UNDER_WAY)
    expect(dueRanges(state, 1)).toEqual([])
    claim(state, 7, 'a', 1)
    for (let line = 71; line <= 80; line += 1) record(state, { rangeId: 7, line }, 'completed')
    expect(dueRanges(state, 2)).toEqual([MAX_UNDER_WAY])
  })
})

describe('a line that ends its Worker each time', () => {
  it('is found among the others, and is dead', () => {
    const state = begun(4)
    const runs: (number[] | undefined)[] = []
    let nowMs = 0
    const poison = 3
    while (!isReady(state) && runs.length < 50) {
      sweep(state, nowMs)
      const dead = nextUnrun(state)
      if (dead !== null) {
        expect(dead).toMatchObject({ lines: [poison], why: 'dead' })
        record(state, { rangeId: 0, line: poison }, 'dead')
        continue
      }
      const given = linesOf(claim(state, 0, `${nowMs}`, nowMs))
      runs.push(given)
      // The poison takes the others with it.
      if (given?.includes(poison)) nowMs += CLAIM_MS
      else for (const line of given ?? []) record(state, { rangeId: 0, line }, 'completed')
    }
    expect(runs).toEqual([[1, 2, 3, 4], [1, 2, 3, 4], [1], [2], [3], [3], [4]])
    expect(state.tally).toMatchObject({ completed: 3, failed: 1, dead: 1 })
  })

  it('runs once more if an operator says so, also after the end', () => {
    const state = begun(2)
    record(state, { rangeId: 0, line: 1 }, 'completed')
    record(state, { rangeId: 0, line: 2 }, 'dead')
    finalize(state, 5)
    finish(state, { outputFileId: 'o', errorFileId: 'e' }, 6)
    redrive(state, [2], DAY_MS, 7)
    expect(state.record).toMatchObject({
      status: 'in_progress',
      ending: null,
      expiresAtMs: DAY_MS + 7,
    })
    expect(dueRanges(state, 7)).toEqual([0])
    expect(linesOf(claim(state, 0, 'a', 8))).toEqual([2])
    record(state, { rangeId: 0, line: 2 }, 'completed')
    expect(isReady(state)).toBe(true)
    expect(state.tally).toMatchObject({ completed: 2, failed: 0, dead: 0 })
  })
})

describe('the end', () => {
  it.each(['cancelled', 'expired'] as const)(
    'by which a batch is %s starts nothing, and keeps what runs',
    (ending) => {
      const state = begun(12)
      claim(state, 0, 'a', 0)
      const nowMs = ending === 'expired' ? DAY_MS : 10
      renew(state, 0, 'a', nowMs - 1)
      if (ending === 'cancelled') expect(cancel(state, nowMs)).toBe(true)
      sweep(state, nowMs)
      expect(state.record.ending).toBe(ending)
      expect(claim(state, 1, 'b', nowMs)).toBe(null)
      expect(renew(state, 0, 'a', nowMs)).toBe(false)
      expect(dueRanges(state, nowMs + DAY_MS)).toEqual([])
      for (let unrun = nextUnrun(state); unrun !== null; unrun = nextUnrun(state)) {
        expect(unrun.why).toBe(ending)
        expect(unrun.rangeId).not.toBe(0)
        for (const line of unrun.lines) record(state, { rangeId: unrun.rangeId, line }, 'failed')
      }
      expect(isReady(state)).toBe(false)
      expect(record(state, { rangeId: 0, line: 1 }, 'completed')).toBe('recorded')
      giveBack(state, { rangeId: 0, token: 'a' }, { tries: new Map(), delayMs: 0 }, nowMs)
      expect(nextUnrun(state)).toMatchObject({ lines: [2, 3, 4] })
      for (const line of [2, 3, 4]) record(state, { rangeId: 0, line }, 'failed')
      expect(isReady(state)).toBe(true)
      finalize(state, nowMs)
      finish(state, { outputFileId: 'o', errorFileId: 'e' }, nowMs)
      expect(state.record.status).toBe(ending)
      expect(state.tally).toMatchObject({ completed: 1, failed: 11 })
      expect(cancel(state, nowMs)).toBe(false)
      expect(nextLookMs(state)).toBe(null)
    },
  )
})

/** What may happen to a batch, in any order, with consumers that die, are late or come twice. */
const happening = fc.oneof(
  fc.record({
    kind: fc.constant('pass' as const),
    ms: fc.constantFrom(1, 1000, CLAIM_MS, 600_000),
  }),
  fc.record({ kind: fc.constant('look' as const), loses: fc.boolean() }),
  fc.record({ kind: fc.constant('claim' as const), range: fc.nat(3), who: fc.nat(3) }),
  fc.record({ kind: fc.constant('record' as const), who: fc.nat(3), good: fc.boolean() }),
  fc.record({ kind: fc.constant('renew' as const), who: fc.nat(3) }),
  fc.record({ kind: fc.constant('back' as const), who: fc.nat(3) }),
  fc.record({ kind: fc.constant('cancel' as const) }),
)

type Happening = typeof happening extends fc.Arbitrary<infer Each> ? Each : never

/** Plays what happens, and counts the records of each line. */
class History {
  readonly state = newBatch(14)
  readonly recorded = new Map<number, number>()
  readonly #holds = new Map<number, { rangeId: number; token: string; lines: number[] }>()
  #nowMs = 0
  #claims = 0

  constructor() {
    begin(this.state, 0)
  }

  happen(each: Happening): void {
    switch (each.kind) {
      case 'pass':
        this.#nowMs += each.ms
        break
      case 'look':
        this.#look(each.loses)
        break
      case 'cancel':
        cancel(this.state, this.#nowMs)
        break
      case 'claim':
        this.#claim(each.range, each.who)
        break
      case 'renew':
      case 'back':
      case 'record':
        this.#say(each)
    }
  }

  /** Now consumers are well, and come when the batch's object sends for them. */
  goOnToTheEnd(): void {
    for (let turn = 0; !isReady(this.state); turn += 1) {
      expect(turn).toBeLessThan(200)
      this.#nowMs = Math.max(this.#nowMs, nextLookMs(this.state) ?? 0)
      this.#look(false)
      for (const { id } of this.state.ranges) {
        this.#claim(id, 0)
        const hold = this.#holds.get(0)
        for (const line of hold?.lines ?? []) this.#keep(id, line, 'completed')
        this.happen({ kind: 'back', who: 0 })
        this.#holds.delete(0)
      }
    }
  }

  #say({ kind, who, ...rest }: Extract<Happening, { who: number }>): void {
    const hold = this.#holds.get(who)
    if (hold === undefined) return
    if (kind === 'renew') renew(this.state, hold.rangeId, hold.token, this.#nowMs)
    if (kind === 'back') {
      giveBack(this.state, hold, { tries: new Map(), delayMs: 10 }, this.#nowMs)
    }
    const line = kind === 'record' ? hold.lines.shift() : undefined
    // A consumer that lost its claim long ago records all the same.
    if (line !== undefined)
      this.#keep(hold.rangeId, line, 'good' in rest && rest.good ? 'completed' : 'failed')
  }

  #claim(rangeId: number, who: number): void {
    this.#claims += 1
    const token = `${this.#claims}`
    const given = claim(this.state, rangeId, token, this.#nowMs)
    const lines = given?.lines.map(({ line }) => line) ?? []
    if (given !== null) this.#holds.set(who, { rangeId, token, lines })
  }

  #look(loses: boolean): void {
    sweep(this.state, this.#nowMs)
    for (let unrun = nextUnrun(this.state); unrun !== null; unrun = nextUnrun(this.state)) {
      const { rangeId, lines, why } = unrun
      for (const line of lines) this.#keep(rangeId, line, why === 'dead' ? 'dead' : 'failed')
    }
    if (!loses) markSent(this.state, dueRanges(this.state, this.#nowMs), this.#nowMs)
  }

  #keep(rangeId: number, line: number, outcome: 'completed' | 'failed' | 'dead'): void {
    if (record(this.state, { rangeId, line }, outcome) === 'repeated') return
    this.recorded.set(line, (this.recorded.get(line) ?? 0) + 1)
  }
}

describe('any history', () => {
  it('ends with one record for each line, and never has two', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 120 }), (happenings) => {
        const history = new History()
        // A cancel in each would end them all early.
        for (const [i, each] of happenings.entries()) {
          if (each.kind !== 'cancel' || i % 7 === 0) history.happen(each)
        }
        history.goOnToTheEnd()
        const { state, recorded } = history
        expect([...recorded.values()]).toEqual(Array.from({ length: 14 }, () => 1))
        expect(state.tally.completed + state.tally.failed).toBe(14)
        expect(isEnded(state.record)).toBe(false)
      }),
      { numRuns: 500 },
    )
  })
})
