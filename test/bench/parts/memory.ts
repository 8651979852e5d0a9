import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { openConnections } from '../load/connection.ts'
import { runStreams } from '../load/streams.ts'
import { requestsOf } from '../mix.ts'
import { peakMemoryMib } from '../processes/process-figures.ts'
import { startBenchWorker, startGateway, type Target } from '../processes/targets.ts'
import { decimal, noise, ratio, whole } from '../report/figures.ts'
import { compare, noiseOf } from '../statistics.ts'
import type { Bench, PartResult } from './part.ts'

interface Figures {
  readonly name: string
  readonly idleMib: number
  readonly peakMib: number
}

/** Within which all streams have begun; each takes four seconds. */
const SPREAD_MS = 2_000
const WARM_UP_MS = 300

/** Streams that are open at the same time, in processes that have done nothing else. */
export async function measureMemory(bench: Bench): Promise<PartResult> {
  const { reporter, effort, scope, deployment, upstream, bundle } = bench
  const streams = effort.memoryStreams
  const table = reporter.table(`Memory with ${streams} streams at once`, [
    ...['process', 'peak before, MiB', 'peak, MiB', 'KiB per stream', 'peak, of forwarding'],
  ])
  const forward = (name: string) =>
    startBenchWorker(scope, deployment, upstream, 'forwarding', name)
  const reference = await measure(bench, await forward('memory forwarding'))
  const again = await measure(bench, await forward('memory forwarding again'))
  const gateway = await startGateway(scope, deployment, upstream, {
    name: 'memory Switchyard',
    source: bundle.source,
  })
  const ours = await measure(bench, gateway)
  const peakNoise = noiseOf([again.peakMib], [reference.peakMib])
  const row = ({ name, idleMib, peakMib }: Figures, beside: string) =>
    table.row(
      name,
      whole(idleMib),
      whole(peakMib),
      decimal(((peakMib - idleMib) * 1024) / streams, 0),
      beside,
    )
  row(reference, '1')
  row(again, noise(peakNoise))
  row(ours, ratio(compare([ours.peakMib], [reference.peakMib], peakNoise)))
  return { tables: [table.table], data: [reference, again, ours] }
}

async function measure({ reporter, effort }: Bench, target: Target): Promise<Figures> {
  const { port, host, to, pid } = target
  const name = target.name.replace('memory ', '')
  reporter.progress(`memory: ${name}`)
  const connections = await openConnections(port, effort.memoryStreams, host)
  const small = new RequestCycle(requestsOf(to, { model: 'small', promptBytes: 1024 }))
  await runClosedLoop(connections.slice(0, 4), small, WARM_UP_MS)
  const idleMib = pid === null ? Number.NaN : peakMemoryMib(pid)
  const slow = new RequestCycle(requestsOf(to, { model: 'slowStream', promptBytes: 1024 }))
  await runStreams(connections, slow, SPREAD_MS)
  const peakMib = pid === null ? Number.NaN : peakMemoryMib(pid)
  for (const connection of connections) connection.close()
  await target.stop()
  return { name, idleMib, peakMib }
}
