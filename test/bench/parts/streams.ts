import { RequestCycle } from '../load/closed-loop.ts'
import { type Connection, openConnections } from '../load/connection.ts'
import { runStreams } from '../load/stream-load.ts'
import { requestsOf } from '../mix.ts'
import { cpuMs } from '../processes/process-figures.ts'
import type { Target } from '../processes/targets.ts'
import { besideReference, beyondReference, decimal } from '../report/figures.ts'
import type { GrowingTable } from '../report/reporter.ts'
import { median, percentile } from '../statistics.ts'
import { type Bench, inTurn, type Line, type PartResult, WITH_BUDGETS } from './part.ts'

const AT_ONCE = [8, 64]

const COLUMNS = [
  ...['streams of 200 events, 10 ms apart', 'first token ms', 'beyond forwarding'],
  ...['event late by ms, p50', 'p99', 'beyond forwarding', 'CPU ms per stream', 'of forwarding'],
]

/** Within which all have begun. */
const SPREAD_MS = 800
/** A round of these takes seconds, so there are fewer. */
const MAX_ROUNDS = 3

interface Figures {
  readonly name: string
  /** Medians of the rounds. */
  readonly firstTokenMs: number[]
  readonly delayMs: number[]
  readonly cpuMs: number[]
  /** Of all rounds. */
  readonly delaysMs: number[]
}

interface Lane {
  readonly target: Target
  readonly connections: readonly Connection[]
  readonly requests: RequestCycle
  readonly figures: Figures
}

/** Streams: how late the first token and each later event come, and what a stream costs. */
export async function measureStreams(bench: Bench, line: Line): Promise<PartResult> {
  const table = bench.reporter.table('Streams', COLUMNS)
  const data: object[] = []
  // What parses whole answers has nothing to do with streams, nor have budgets.
  const targets = line.targets.filter(({ name }) => name !== 'parsing' && name !== WITH_BUDGETS)
  for (const atOnce of AT_ONCE) {
    const figures = await measureCell(bench, targets, atOnce)
    addRows(table, line, atOnce, figures)
    data.push({ atOnce, targets: figures.map(summary) })
  }
  return { tables: [table.table], data }
}

async function measureCell(
  bench: Bench,
  targets: readonly Target[],
  atOnce: number,
): Promise<Figures[]> {
  const { reporter, effort } = bench
  const rounds = Math.min(MAX_ROUNDS, effort.rounds)
  const lanes = await Promise.all(targets.map((target) => laneOf(target, atOnce)))
  for (let round = 0; round < rounds; round++) {
    for (const lane of inTurn(lanes, round)) {
      const at = `round ${round + 1} of ${rounds}, ${lane.target.name}`
      reporter.progress(`streams, ${atOnce} at once: ${at}`)
      await measureSlot(lane)
    }
  }
  for (const { connections } of lanes) for (const connection of connections) connection.close()
  return lanes.map(({ figures }) => figures)
}

async function laneOf(target: Target, atOnce: number): Promise<Lane> {
  return {
    target,
    connections: await openConnections(target.port, atOnce, target.host),
    requests: new RequestCycle(requestsOf(target.to, { model: 'stream', promptBytes: 1024 })),
    figures: { name: target.name, firstTokenMs: [], delayMs: [], cpuMs: [], delaysMs: [] },
  }
}

async function measureSlot({ target, connections, requests, figures }: Lane): Promise<void> {
  const cpuBeforeMs = target.pid === null ? Number.NaN : cpuMs(target.pid)
  const result = await runStreams(connections, requests, SPREAD_MS)
  const usedMs = (target.pid === null ? Number.NaN : cpuMs(target.pid)) - cpuBeforeMs
  figures.firstTokenMs.push(median(result.firstEventsMs))
  figures.delayMs.push(median(result.delaysMs))
  figures.cpuMs.push(usedMs / result.streams)
  for (const delayMs of result.delaysMs) figures.delaysMs.push(delayMs)
}

function addRows(
  table: GrowingTable,
  line: Line,
  atOnce: number,
  figures: readonly Figures[],
): void {
  const of = ({ name }: Target) => figures.find((one) => one.name === name)
  const reference = of(line.reference)
  const again = of(line.again)
  if (reference === undefined || again === undefined) throw new Error('There is no reference')
  const rounds = (one: Figures, pick: (figures: Figures) => number[]) => ({
    ours: pick(one),
    reference: pick(reference),
    again: pick(again),
  })
  for (const one of figures) {
    const firstTokens = rounds(one, ({ firstTokenMs }) => firstTokenMs)
    const delays = rounds(one, ({ delayMs }) => delayMs)
    const costs = rounds(one, ({ cpuMs }) => cpuMs)
    table.row(
      `${atOnce} at once: ${one.name}`,
      decimal(median(one.firstTokenMs), 2),
      beyondReference(firstTokens, 2),
      decimal(median(one.delayMs), 2),
      decimal(percentile(one.delaysMs, 0.99), 2),
      beyondReference(delays, 2),
      decimal(median(one.cpuMs), 2),
      besideReference(costs),
    )
  }
}

function summary({ delaysMs, ...figures }: Figures): object {
  return { ...figures, delayP99Ms: percentile(delaysMs, 0.99) }
}
