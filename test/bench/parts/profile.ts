import { writeFileSync } from 'node:fs'
import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { openConnections } from '../load/connection.ts'
import { runStreams } from '../load/stream-load.ts'
import { requestsOf } from '../mix.ts'
import { bundleForDeployment } from '../processes/deployment.ts'
import { openInspector } from '../processes/inspector.ts'
import { startGateway } from '../processes/targets.ts'
import { decimal } from '../report/figures.ts'
import type { Bench } from './part.ts'

const CONNECTIONS = 16
const SAMPLE_EVERY_US = 200
const TOP = 20

interface ProfileNode {
  readonly id: number
  readonly callFrame: {
    readonly functionName: string
    readonly url: string
    readonly lineNumber: number
  }
}

interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/**
 * Writes a CPU profile of the gateway under load, for a browser's developer tools or an editor, and
 * prints the functions that took most. What workerd itself does between them stands under
 * `(program)`.
 */
export async function writeProfile(
  { scope, deployment, upstream, reporter }: Bench,
  path: string,
  load: 'requests' | 'streams',
): Promise<void> {
  // Names of functions are what a profile is read by.
  const { source } = await bundleForDeployment(scope, { readable: true })
  const name = `profiled ${load}`
  const gateway = await startGateway(scope, deployment, upstream, { name, source, inspect: true })
  const inspector = await openInspector(gateway.workerd.port('inspector'))
  const connections = await openConnections(gateway.port, CONNECTIONS, gateway.host)
  const model = load === 'streams' ? 'stream' : 'small'
  const requests = new RequestCycle(requestsOf(gateway.to, { model, promptBytes: 1024 }))
  const run = (durationMs: number) =>
    load === 'streams'
      ? runStreams(connections, requests, 200)
      : runClosedLoop(connections, requests, durationMs)
  reporter.progress(`profile of ${load}`)
  await run(2_000)
  await inspector.ask('Profiler.enable')
  await inspector.ask('Profiler.setSamplingInterval', { interval: SAMPLE_EVERY_US })
  await inspector.ask('Profiler.start')
  await run(5_000)
  const { profile } = (await inspector.ask('Profiler.stop')) as { readonly profile: CpuProfile }
  inspector.close()
  for (const connection of connections) connection.close()
  await gateway.stop()
  writeFileSync(path, JSON.stringify(profile))
  printTop(reporter, path, profile)
}

/** Time in each function itself, in milliseconds, most first. */
export function selfTimesMs(profile: CpuProfile): [string, number][] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const place = url === '' ? '' : ` (line ${lineNumber + 1})`
      return [id, `${functionName || '(anonymous)'}${place}`]
    }),
  )
  const timesMs = new Map<string, number>()
  for (const [i, sample] of profile.samples.entries()) {
    const name = names.get(sample) ?? '(unknown)'
    timesMs.set(name, (timesMs.get(name) ?? 0) + (profile.timeDeltas[i] ?? 0) / 1000)
  }
  return [...timesMs].sort(([, a], [, b]) => b - a)
}

function printTop(reporter: Bench['reporter'], path: string, profile: CpuProfile): void {
  const table = reporter.table(`Profile, written to ${path}`, ['function', 'own time, ms'])
  for (const [name, timeMs] of selfTimesMs(profile).slice(0, TOP)) {
    table.row(name, decimal(timeMs, 0))
  }
}
