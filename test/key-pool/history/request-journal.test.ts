import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RequestNote, RequestRow } from '../../../src/balancing/accounting/request-row.ts'
import { createArchive } from '../../../src/key-pool/history/archive.ts'
import { RequestJournal } from '../../../src/key-pool/history/request-journal.ts'
import { PART_LENGTH, REQUESTS_KEPT } from '../../../src/key-pool/history/request-ring.ts'
import { createInMemoryRows } from '../../gateway/in-memory-rows.ts'

const ROW: Omit<RequestRow, 'startedAtMs' | 'endedAtMs'> = {
  ...{ id: 'x', clientId: 'app', groupId: null, path: 'chat/completions', route: 0 },
  ...{ asked: 'm', sent: 'm', outcome: 'answered', status: 200, reason: null, reasons: {} },
  ...{
    cache: null,
    streamed: false,
    degraded: false,
    attempts: [],
    attemptsLeftOut: 0,
    usage: null,
  },
  timingsMs: { auth: 0, acquire: 0, wait: 0 },
}

function noteOf(number: number, id: string): RequestNote {
  const row: RequestRow = { ...ROW, id, startedAtMs: number, endedAtMs: number }
  return { id, mark: `isolate:${number}`, text: JSON.stringify(row) }
}

function journal() {
  const rows = createInMemoryRows()
  const counted: string[] = []
  const comeUp = () =>
    new RequestJournal(createArchive(rows.archive), ({ mark }) => void counted.push(mark))
  let object = comeUp()
  return {
    rows,
    counted,
    note: (...notes: readonly unknown[]) => object.note(notes),
    write: () => object.write(),
    restart() {
      object = comeUp()
    },
    read: (query: Partial<Parameters<RequestJournal['read']>[0]> = {}) =>
      object.read({ limit: REQUESTS_KEPT, ...query }),
    parts: () => rows.archive.between('requests', '', '~').map((text) => JSON.parse(text).length),
  }
}

const numbers = (rows: readonly RequestRow[]) => rows.map(({ endedAtMs }) => endedAtMs)

type Step = 'restart' | 'read' | 'again' | { readonly notes: number }

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ notes: fc.integer({ min: 1, max: 150 }) }) },
  { weight: 3, arbitrary: fc.constantFrom<Step[]>('restart', 'read', 'again') },
)

/** A journal with a history, and all that was noted in it. @param ids how many there are, by fifty */
function lived(steps: readonly Step[], ids: number) {
  const kept = journal()
  const all: RequestNote[] = []
  const act = {
    restart() {
      kept.write()
      kept.restart()
    },
    read: () => void kept.read({ limit: 3 }),
    again: () => kept.note(...all.slice(-10)),
  }
  for (const step of steps) {
    if (typeof step === 'string') {
      act[step]()
      continue
    }
    const numbered = Array.from({ length: step.notes }, (_, i) => all.length + i)
    const fresh = numbered.map((number) => noteOf(number, `id-${(number * 7) % (ids * 50 + 1)}`))
    all.push(...fresh)
    kept.note(...fresh)
  }
  return { kept, all }
}

describe('the journal of requests', () => {
  it('holds the last thousand, by id too, across any ends of the object', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 40 }), fc.nat({ max: 20 }), (steps, ids) => {
        const { kept, all } = lived(steps, ids)
        const last = all.map(({ id }, number) => ({ id, number })).slice(-REQUESTS_KEPT)
        kept.write()
        expect(kept.counted).toEqual(all.map(({ mark }) => mark))
        const latestFirst = (of: typeof last) => of.map(({ number }) => number).toReversed()
        expect(numbers(kept.read())).toEqual(latestFirst(last))
        for (const id of new Set(last.slice(0, 5).map((note) => note.id))) {
          expect(numbers(kept.read({ id }))).toEqual(
            latestFirst(last.filter((one) => one.id === id)),
          )
        }
      }),
      { numRuns: 40 },
    )
  })

  it('writes the part that has changed, all four at most, and nothing where nothing has', () => {
    const kept = journal()
    kept.note(noteOf(0, 'a'))
    kept.write()
    kept.write()
    expect([kept.rows.written(), kept.parts()]).toEqual([1, [1]])
    for (let n = 1; n < 3 * REQUESTS_KEPT; n += 100) {
      kept.note(...Array.from({ length: 100 }, (_, i) => noteOf(n + i, `id-${n + i}`)))
    }
    kept.write()
    expect(kept.rows.written()).toBe(5)
    expect(kept.parts()).toEqual([PART_LENGTH, PART_LENGTH, PART_LENGTH, PART_LENGTH])
  })

  it('passes over what is malformed: it costs itself', () => {
    const kept = journal()
    const good = noteOf(1, 'good')
    kept.note(
      ...[null, 7, {}, { ...good, id: '' }, { ...good, id: 'x'.repeat(256) }, { ...good, mark: 3 }],
      ...[
        { ...good, text: 'x'.repeat(5_000) },
        { ...good, text: 'no json', mark: 'a' },
      ],
      ...[{ ...good, text: '{"id":7}', mark: 'b' }, good],
    )
    expect(numbers(kept.read())).toEqual([1])
    kept.write()
    kept.note(noteOf(2, 'later'))
    kept.write()
    const [part] = kept.rows.archive.between('requests', '0', '0')
    const broken = [...JSON.parse(part ?? '[]'), ['not', 'a', 'note'], 9]
    kept.rows.archive.put('requests', '0', JSON.stringify(broken))
    kept.rows.archive.put('requests', '1', '{"of": "another release"}')
    kept.restart()
    expect(numbers(kept.read())).toEqual([2, 1])
  })

  it('reads a row of a release that knows fewer fields, and one that knows more', () => {
    const kept = journal()
    const few = { id: 'few', clientId: 'app', outcome: 'answered', startedAtMs: 1, endedAtMs: 1 }
    const more = { ...JSON.parse(noteOf(2, 'more').text), mood: 'fine', attempts: [{ key: 'a' }] }
    kept.note({ id: 'few', mark: '1', text: JSON.stringify(few) })
    kept.note({ id: 'more', mark: '2', text: JSON.stringify(more) })
    expect(kept.read()).toMatchObject([
      { id: 'more', attempts: [] },
      { id: 'few', attempts: [], streamed: false, usage: null, sent: null },
    ])
  })

  it('counts those that nobody will ever read, when more come between two checkpoints than it holds', () => {
    const kept = journal()
    for (let n = 0; n < 25; n += 1) {
      kept.note(...Array.from({ length: 200 }, (_, i) => noteOf(n * 200 + i, `id-${n}-${i}`)))
    }
    kept.write()
    expect(new Set(kept.counted).size).toBe(5_000)
    expect(kept.counted).toHaveLength(5_000)
  })

  it('takes no more of one exchange than an isolate keeps', () => {
    const kept = journal()
    kept.note(...Array.from({ length: 900 }, (_, i) => noteOf(i, `id-${i}`)))
    expect(kept.read()).toHaveLength(200)
  })
})
