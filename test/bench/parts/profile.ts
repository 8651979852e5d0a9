import { writeFileSync } from 'node:fs'
import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { openConnections } from '../load/connection.ts'
import { runStreams } from '../load/stream-load.ts'
import { requestsOf } from '../mix.ts'
import { bundleForDeployment } from '../processes/deployment.ts'
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

interface Inspector {
  ask(method: string, params?: object): Promise<unknown>
  close(): void
}

/** workerd's inspector speaks the Chrome DevTools Protocol. */
async function openInspector(port: number): Promise<Inspector> {
  const response = await fetch(`http://127.0.0.1:${port}/json`)
  const pages = (await response.json()) as readonly {
    readonly id: string
    readonly title: string
    readonly webSocketDebuggerUrl: string
  }[]
  const page = pages.find(({ id, title }) => `${id} ${title}`.includes('main'))
  if (page === undefined) throw new Error(`No Worker to inspect: ${JSON.stringify(pages)}`)
  const socket = new WebSocket(page.webSocketDebuggerUrl)
  const pending = new Map<number, (result: unknown) => void>()
  socket.addEventListener('message', ({ data }) => {
    const message: { readonly id?: number; readonly result?: unknown } = JSON.parse(String(data))
    if (message.id !== undefined) pending.get(message.id)?.(message.result)
  })
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error('The inspector does not answer.')))
  })
  let asked = 0
  return {
    ask(method, params = {}) {
      asked += 1
      const id = asked
      socket.send(JSON.stringify({ id, method, params }))
      return new Promise((resolve) => pending.set(id, resolve))
    },
    close: () => socket.close(),
  }
}
