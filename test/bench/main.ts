import { type BenchOptions, type PartName, readArguments, USAGE } from './arguments.ts'
import { MIX_DESCRIPTION, withBudgets } from './mix.ts'
import { countObjectWork } from './parts/counts.ts'
import { measureShared } from './parts/flights.ts'
import { measureHostileBodies } from './parts/hostile.ts'
import { measureMemory } from './parts/memory.ts'
import { type Bench, FULL, type Line, type PartResult, QUICK, WITH_BUDGETS } from './parts/part.ts'
import { writeProfile } from './parts/profile.ts'
import { measureRequests } from './parts/requests.ts'
import { measureStartUp } from './parts/start-up.ts'
import { measureStreams } from './parts/streams.ts'
import {
  type BenchWorker,
  type Bundle,
  bundleForDeployment,
  readDeployment,
} from './processes/deployment.ts'
import { createRunScope } from './processes/run-scope.ts'
import {
  foreignTarget,
  startBenchWorker,
  startGateway,
  type Target,
  upstreamTarget,
} from './processes/targets.ts'
import { startUpstream } from './processes/upstream.ts'
import { machineText, writeMarkdown, writeReport } from './report/documents.ts'
import { Reporter } from './report/reporter.ts'

const LIMIT_MS = 5 * 60_000
/** A part that began later would not be done in time on a machine that has been so slow. */
const LATEST_START_MS = 245_000

async function main(): Promise<void> {
  const options = readArguments(process.argv.slice(2))
  if (options === null) {
    console.error(USAGE)
    process.exit(2)
  }
  const bench = await prepare(options)
  const { reporter } = bench
  reporter.print(machineText())
  reporter.print(`Mix: ${MIX_DESCRIPTION}`)
  if (options.profile !== null) {
    const load = options.parts.includes('requests') ? 'requests' : 'streams'
    await writeProfile(bench, options.profile, load)
    return
  }
  reporter.print(
    'Each "forwarding again" is forwarding against itself: ± is how far apart the two were, and ≈ marks what lies within that and is no difference.',
  )
  const results = await measureAll(bench, options.parts)
  if (options.markdown !== null) {
    const tables = new Map([...results].map(([part, { tables }]) => [part, tables]))
    writeMarkdown(options.markdown, tables)
  }
  if (options.json !== null) {
    const parts = Object.fromEntries([...results].map(([part, { data }]) => [part, data]))
    writeReport(options.json, { mix: MIX_DESCRIPTION, quick: options.quick, parts })
  }
}

async function prepare(options: BenchOptions): Promise<Bench> {
  const reporter = new Reporter()
  const scope = createRunScope(LIMIT_MS)
  const [deployment, upstream] = await Promise.all([
    readDeployment(scope),
    startUpstream(scope, options.upstreamPort),
  ])
  let made: Promise<Bundle> | null = null
  const bundle = () => {
    if (made === null) reporter.progress('bundling the Worker')
    made ??= bundleForDeployment(scope)
    return made
  }
  const { against } = options
  const foreign = against === null ? null : foreignTarget(against.url, against.token, against.pid)
  const effort = options.quick ? QUICK : FULL
  return { scope, reporter, effort, deployment, bundle, upstream, foreign }
}

async function measureAll(
  bench: Bench,
  parts: readonly PartName[],
): Promise<Map<PartName, PartResult>> {
  const results = new Map<PartName, PartResult>()
  const timed = { requests: measureRequests, streams: measureStreams } as const
  const others = {
    memory: measureMemory,
    hostile: measureHostileBodies,
    counts: countObjectWork,
    'start-up': measureStartUp,
    shared: measureShared,
  }
  if (parts.includes('requests') || parts.includes('streams')) {
    const line = await startLine(bench)
    for (const part of ['requests', 'streams'] as const) {
      if (parts.includes(part)) results.set(part, await timed[part](bench, line))
    }
    await Promise.all(line.targets.map((target) => target.stop()))
  }
  for (const part of ['memory', 'hostile', 'counts', 'start-up', 'shared'] as const) {
    if (!parts.includes(part)) continue
    if (performance.now() > LATEST_START_MS) {
      bench.reporter.print(`\nLeft out, since this machine was slow: ${part}. Use --only ${part}.`)
    } else results.set(part, await others[part](bench))
  }
  return results
}

/** Everything that is measured in turn, each in a process of its own. */
async function startLine(bench: Bench): Promise<Line> {
  const { scope, deployment, upstream, bundle, foreign } = bench
  const start = (kind: BenchWorker, name: string) =>
    startBenchWorker(scope, deployment, upstream, kind, name)
  const reference = await start('forwarding', 'forwarding')
  const again = await start('forwarding', 'forwarding again')
  const parsing = await start('parsing', 'parsing')
  const watching = await start('watching', 'watching')
  const { source } = await bundle()
  const gateway = await startGateway(scope, deployment, upstream, { name: 'Switchyard', source })
  const counted = await startGateway(scope, deployment, upstream, {
    ...{ name: WITH_BUDGETS, source, bindings: withBudgets() },
  })
  const compared = [reference, again, parsing, watching, gateway, counted]
  const targets: Target[] = [upstreamTarget(upstream), ...compared]
  return { reference, again, targets: foreign === null ? targets : [...targets, foreign] }
}

await main()
// Children and sockets would keep it alive; leaving ends and removes them all.
process.exit(0)
