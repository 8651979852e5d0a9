import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { type Connection, openConnections } from '../load/connection.ts'
import { type Load, requestsOf } from '../mix.ts'
import { cpuMs } from '../processes/process-figures.ts'
import type { Target } from '../processes/targets.ts'
import { besideReference, decimal, whole } from '../report/figures.ts'
import type { GrowingTable } from '../report/reporter.ts'
import { median, percentile } from '../statistics.ts'
import {
  type Bench,
  type Effort,
  inTurn,
  type Line,
  type PartResult,
  WITH_BUDGETS,
} from './part.ts'

interface Cell {
  readonly label: string
  readonly load: Load
  readonly connections: number
  /** Whether the gateway whose clients have budgets is measured too: what that costs does not grow with an answer. */
  readonly hasBudgets: boolean
}

const KIB = 1024
const MIB = 1024 * KIB

const CELLS: readonly Cell[] = [
  ...(['small', 'large'] as const).flatMap((model) =>
    [1, 16, 64].map((connections) => ({
      label: `${model === 'small' ? '1 KB' : '100 KB'} answers, ${connections} at once`,
      load: { model, promptBytes: KIB },
      connections,
      hasBudgets: model === 'small',
    })),
  ),
  {
    label: '1 MB prompts, 4 at once',
    load: { model: 'small', promptBytes: MIB },
    connections: 4,
    hasBudgets: false,
  },
]

const COLUMNS = [
  ...['load', 'requests/s', 'of forwarding', 'CPU µs per request', 'of forwarding'],
  ...['p50 ms', 'p99 ms'],
]

/** Work that goes on after an answer, like the settlement, has ended by then and is counted in. */
const AFTERMATH_MS = 30

/** What the rounds of one target found. */
interface Figures {
  readonly name: string
  readonly requestsPerS: number[]
  readonly cpuUs: number[]
  readonly latenciesMs: number[]
}

/** Whole answers: how many in a second, what each costs and how long it takes. */
export async function measureRequests(bench: Bench, line: Line): Promise<PartResult> {
  const { reporter, effort } = bench
  reporter.progress('requests, warming up')
  const table = reporter.table('Requests', COLUMNS)
  // What watches streams has nothing to do with whole answers.
  const measured = without(line, 'watching')
  for (const target of measured.targets) await warmUp(target, effort)
  const data: object[] = []
  for (const cell of CELLS) {
    const ofCell = cell.hasBudgets ? measured : without(measured, WITH_BUDGETS)
    const figures = await measureCell(bench, ofCell, cell)
    addRows(table, ofCell, cell, figures)
    data.push({ load: cell.label, targets: figures.map(summary) })
  }
  return { tables: [table.table], data }
}

function without(line: Line, left: string): Line {
  return { ...line, targets: line.targets.filter(({ name }) => name !== left) }
}

async function warmUp({ port, host, to }: Target, effort: Effort): Promise<void> {
  const connections = await openConnections(port, 16, host)
  const requests = new RequestCycle(requestsOf(to, { model: 'small', promptBytes: KIB }))
  await runClosedLoop(connections, requests, effort.warmUpMs)
  for (const connection of connections) connection.close()
}

interface Lane {
  readonly target: Target
  readonly connections: readonly Connection[]
  readonly requests: RequestCycle
  readonly figures: Figures
}

async function measureCell(bench: Bench, line: Line, cell: Cell): Promise<Figures[]> {
  const { reporter, effort } = bench
  const lanes = await Promise.all(line.targets.map((target) => laneOf(target, cell)))
  // A slot has to hold many requests, and these take longer.
  const slotMs = cell.load.promptBytes >= MIB ? effort.slotMs * 3 : effort.slotMs
  for (const lane of lanes) {
    await runClosedLoop(lane.connections, lane.requests, effort.slotMs)
  }
  for (let round = 0; round < effort.rounds; round++) {
    for (const lane of inTurn(lanes, round)) {
      const at = `round ${round + 1} of ${effort.rounds}, ${lane.target.name}`
      reporter.progress(`requests, ${cell.label}: ${at}`)
      await measureSlot(lane, slotMs, effort.leadInMs)
    }
  }
  for (const { connections } of lanes) for (const connection of connections) connection.close()
  return lanes.map(({ figures }) => figures)
}

async function laneOf(target: Target, { load, connections }: Cell): Promise<Lane> {
  return {
    target,
    connections: await openConnections(target.port, connections, target.host),
    requests: new RequestCycle(requestsOf(target.to, load)),
    figures: { name: target.name, requestsPerS: [], cpuUs: [], latenciesMs: [] },
  }
}

/**
 * Measures one round of one target. While the others have had their turn it stood idle: its caches are
 * cold, and a gateway that holds leases ahead has given them back. The figures are for a busy one, so
 * the load begins somewhat earlier than the measurement.
 */
async function measureSlot(lane: Lane, slotMs: number, leadInMs: number): Promise<void> {
  const { target, connections, requests, figures } = lane
  await runClosedLoop(connections, requests, leadInMs)
  const cpuBeforeMs = target.pid === null ? Number.NaN : cpuMs(target.pid)
  const result = await runClosedLoop(connections, requests, slotMs)
  await new Promise((resolve) => setTimeout(resolve, AFTERMATH_MS))
  const cpuAfterMs = target.pid === null ? Number.NaN : cpuMs(target.pid)
  if (result.failures > 0) {
    throw new Error(
      `${target.name} failed ${result.failures} of ${result.requests} requests: ${result.failure}`,
    )
  }
  figures.requestsPerS.push((result.requests / result.elapsedMs) * 1000)
  figures.cpuUs.push(((cpuAfterMs - cpuBeforeMs) / result.requests) * 1000)
  figures.latenciesMs.push(...result.latenciesMs)
}

function addRows(table: GrowingTable, line: Line, cell: Cell, figures: readonly Figures[]): void {
  const of = ({ name }: Target) => figures.find((one) => one.name === name)
  const reference = of(line.reference)
  const again = of(line.again)
  if (reference === undefined || again === undefined) throw new Error('There is no reference')
  const beside = (one: Figures, pick: (figures: Figures) => number[]) =>
    besideReference({ ours: pick(one), reference: pick(reference), again: pick(again) })
  for (const one of figures) {
    table.row(
      `${cell.label}: ${one.name}`,
      whole(median(one.requestsPerS)),
      beside(one, ({ requestsPerS }) => requestsPerS),
      whole(median(one.cpuUs)),
      beside(one, ({ cpuUs }) => cpuUs),
      decimal(percentile(one.latenciesMs, 0.5), 2),
      decimal(percentile(one.latenciesMs, 0.99), 2),
    )
  }
}

function summary({ latenciesMs, ...figures }: Figures): object {
  return {
    ...figures,
    p50Ms: percentile(latenciesMs, 0.5),
    p99Ms: percentile(latenciesMs, 0.99),
  }
}
