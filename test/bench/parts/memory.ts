import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { openConnections } from '../load/connection.ts'
import { runStreams } from '../load/stream-load.ts'
import { requestsOf } from '../mix.ts'
import type { BenchWorker } from '../processes/deployment.ts'
import { peakMemoryMib } from '../processes/process-figures.ts'
import { startBenchWorker, startGateway, type Target } from '../processes/targets.ts'
import { besideReference, decimal, whole } from '../report/figures.ts'
import type { Bench, PartResult } from './part.ts'

interface Figures {
  readonly name: string
  readonly beforeMib: readonly number[]
  readonly peakMib: readonly number[]
}

/** Within which all streams have begun; each takes four seconds. */
const SPREAD_MS = 2_000
const WARM_UP_MS = 300

/** Streams that are open at the same time, in processes that have done nothing else. */
export async function measureMemory(bench: Bench): Promise<PartResult> {
  const { reporter, effort, scope, deployment, upstream } = bench
  const { source } = await bench.bundle()
  const streams = effort.memoryStreams
  const table = reporter.table(`Memory with ${streams} streams at once`, [
    ...['process', 'peak before, MiB', 'peak, MiB', 'KiB per stream', 'peak, of forwarding'],
  ])
  const start = (kind: BenchWorker, name: string = kind) =>
    startBenchWorker(scope, deployment, upstream, kind, `memory ${name}`)
  const reference = await measure(bench, await start('forwarding'))
  const again = await measure(bench, await start('forwarding', 'forwarding again'))
  const watching = await measure(bench, await start('watching'))
  const options = { name: 'memory Switchyard', source }
  const ours = await measure(bench, await startGateway(scope, deployment, upstream, options))
  for (const { name, beforeMib, peakMib } of [reference, again, watching, ours]) {
    const [before = Number.NaN] = beforeMib
    const [peak = Number.NaN] = peakMib
    table.row(
      name,
      whole(before),
      whole(peak),
      decimal(((peak - before) * 1024) / streams, 0),
      besideReference({ ours: peakMib, reference: reference.peakMib, again: again.peakMib }),
    )
  }
  return { tables: [table.table], data: [reference, again, watching, ours] }
}

async function measure({ reporter, effort }: Bench, target: Target): Promise<Figures> {
  const { port, host, to, pid } = target
  const name = target.name.replace('memory ', '')
  reporter.progress(`memory: ${name}`)
  const peak = () => [pid === null ? Number.NaN : peakMemoryMib(pid)]
  const connections = await openConnections(port, effort.memoryStreams, host)
  const small = new RequestCycle(requestsOf(to, { model: 'small', promptBytes: 1024 }))
  await runClosedLoop(connections.slice(0, 4), small, WARM_UP_MS)
  const beforeMib = peak()
  const slow = new RequestCycle(requestsOf(to, { model: 'slowStream', promptBytes: 1024 }))
  await runStreams(connections, slow, SPREAD_MS)
  const peakMib = peak()
  for (const connection of connections) connection.close()
  await target.stop()
  return { name, beforeMib, peakMib }
}
