import { Connection } from '../load/connection.ts'
import { requestsOf } from '../mix.ts'
import { bundleForDeployment } from '../processes/deployment.ts'
import { cpuMs } from '../processes/process-figures.ts'
import { startBenchWorker, startGateway, type Target } from '../processes/targets.ts'
import type { Workerd } from '../processes/workerd.ts'
import { beyondReference, decimal, whole } from '../report/figures.ts'
import type { GrowingTable } from '../report/reporter.ts'
import { median } from '../statistics.ts'
import { type Bench, inTurn, type PartResult } from './part.ts'

const KIB = 1024

interface Figures {
  readonly name: string
  /** From the start of the process until it listens. */
  readonly startMs: number[]
  readonly startCpuMs: number[]
  readonly firstRequestMs: number[]
}

type Start = () => Promise<Target & { readonly workerd: Workerd }>

/** How large the Worker is, how long its module takes to start, and the first request after that. */
export async function measureStartUp(bench: Bench): Promise<PartResult> {
  const { reporter } = bench
  reporter.progress('start-up, bundling')
  const bundles = {
    'as deployed': await bench.bundle(),
    'not minified': await bundleForDeployment(bench.scope, { readable: true }),
  }
  const sizes = reporter.table('Bundle', ['form', 'KiB', 'gzipped, KiB'])
  for (const [form, { bytes, gzippedBytes }] of Object.entries(bundles)) {
    sizes.row(form, decimal(bytes / KIB, 0), decimal(gzippedBytes / KIB, 1))
  }
  const starts: Readonly<Record<string, Start>> = {
    forwarding: () => forwarding(bench, 'start forwarding'),
    'forwarding again': () => forwarding(bench, 'start forwarding again'),
    'Switchyard, as deployed': () => gateway(bench, bundles['as deployed'].source),
    'Switchyard, not minified': () => gateway(bench, bundles['not minified'].source),
  }
  const figures = await measureStarts(bench, starts)
  const table = reporter.table('Start', [
    ...['process', 'start ms', 'beyond forwarding', 'CPU ms of it', 'beyond forwarding'],
    ...['first request ms', 'beyond forwarding'],
  ])
  for (const one of figures) addRow(table, one, figures)
  table.note(
    'A process starts with its modules evaluated; what lies beyond forwarding is this Worker’s module.',
  )
  const { 'as deployed': deployed, 'not minified': readable } = bundles
  const sizesOf = ({ bytes, gzippedBytes }: typeof deployed) => ({ bytes, gzippedBytes })
  return {
    tables: [sizes.table, table.table],
    data: { deployed: sizesOf(deployed), readable: sizesOf(readable), starts: figures },
  }
}

function forwarding({ scope, deployment, upstream }: Bench, name: string) {
  return startBenchWorker(scope, deployment, upstream, 'forwarding', name)
}

let folders = 0

/** Each with storage of its own, so that every start is a first one. */
function gateway({ scope, deployment, upstream }: Bench, source: string) {
  folders += 1
  return startGateway(scope, deployment, upstream, { name: `start Switchyard ${folders}`, source })
}

async function measureStarts(
  { reporter, effort }: Bench,
  starts: Readonly<Record<string, Start>>,
): Promise<Figures[]> {
  const lanes = Object.entries(starts).map(([name, start]) => ({
    start,
    figures: { name, startMs: [], startCpuMs: [], firstRequestMs: [] } as Figures,
  }))
  for (let round = 0; round < effort.starts; round++) {
    for (const { start, figures } of inTurn(lanes, round)) {
      reporter.progress(`start-up: round ${round + 1} of ${effort.starts}, ${figures.name}`)
      await measureStart(start, figures)
    }
  }
  return lanes.map(({ figures }) => figures)
}

async function measureStart(start: Start, figures: Figures): Promise<void> {
  const target = await start()
  figures.startMs.push(target.workerd.startedMs)
  figures.startCpuMs.push(cpuMs(target.workerd.pid))
  const [request = []] = requestsOf(target.to, { model: 'small', promptBytes: KIB })
  const connection = await Connection.open(target.port, target.host)
  const beganMs = performance.now()
  const { status, excerpt } = await connection.send(request)
  figures.firstRequestMs.push(performance.now() - beganMs)
  connection.close()
  await target.stop()
  if (status !== 200) throw new Error(`The first request of ${figures.name}: ${status} ${excerpt}`)
}

function addRow(table: GrowingTable, one: Figures, [reference, again]: readonly Figures[]): void {
  if (reference === undefined || again === undefined) throw new Error('There is no reference')
  const beyond = (pick: (figures: Figures) => number[]) => {
    const rounds = { ours: pick(one), reference: pick(reference), again: pick(again) }
    return beyondReference(rounds, 1)
  }
  table.row(
    one.name,
    whole(median(one.startMs)),
    beyond(({ startMs }) => startMs),
    whole(median(one.startCpuMs)),
    beyond(({ startCpuMs }) => startCpuMs),
    decimal(median(one.firstRequestMs), 1),
    beyond(({ firstRequestMs }) => firstRequestMs),
  )
}
