import { describe, expect, test } from 'vitest'
import { useSimulator } from '../harness.ts'
import { type Cell, cellsOf, expectedIn, inWords, STREAMS, useCells } from './cells.ts'
import { AFTER_OUTPUT, BEFORE_OUTPUT, type FaultRow } from './fault-rows.ts'

// Every fault in every API for text, whole and streamed, through the built Worker.

const upstream = useSimulator({ resets: false })

const CELLS = [
  ...cellsOf('before', BEFORE_OUTPUT),
  ...cellsOf(
    'after',
    AFTER_OUTPUT,
    STREAMS.map((path) => ({ path, stream: true })),
  ),
]

const bench = useCells(CELLS, upstream)

const expectedOf = (cell: Cell) => {
  const { client, calls, left } = expectedIn(cell)
  const isHidden = client === 'good answer' && left !== 'success'
  return { client, calls, left, second: isHidden ? 'success' : 'untouched' }
}

const nameOf = (cell: Cell | undefined) => (cell === undefined ? '' : inWords(cell))

/** All cells of a row at once. What is not as expected is shown with its cell. */
async function expectRow(row: FaultRow): Promise<void> {
  const cells = CELLS.filter((cell) => cell.row === row)
  const observed = (await bench.observe(cells)).map((each, i) => [nameOf(cells[i]), each])
  const expected = cells.map((cell) => [nameOf(cell), expectedOf(cell)])
  expect(Object.fromEntries(observed)).toEqual(Object.fromEntries(expected))
}

const LIMIT_MS = 120_000

describe.concurrent('before the first output', () => {
  test.each(BEFORE_OUTPUT.map((row) => [row.fault, row] as const))(
    '%s',
    { timeout: LIMIT_MS },
    async (_, row) => await expectRow(row),
  )
})

describe.concurrent('after the first output', () => {
  test.each(AFTER_OUTPUT.map((row) => [row.fault, row] as const))(
    '%s',
    { timeout: LIMIT_MS },
    async (_, row) => await expectRow(row),
  )
})
