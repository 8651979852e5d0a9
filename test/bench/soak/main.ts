import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { PoolSnapshot } from '../../../src/balancing/snapshot.ts'
import { type SimulatorControl, simulatorControl } from '../../simulator/client.ts'
import { RequestCycle } from '../load/closed-loop.ts'
import { type Connection, openConnections } from '../load/connection.ts'
import { bundleForDeployment, readDeployment } from '../processes/deployment.ts'
import { memoryMib } from '../processes/process-figures.ts'
import { createRunScope, type RunScope } from '../processes/run-scope.ts'
import { startGateway } from '../processes/targets.ts'
import { BUG, type Sample, slopeMibPerMinute } from './verdict.ts'
import { bindingsOf, RULES, rawRequests, SOAK_REQUESTS, SOAK_TOKEN, WORLD } from './world.ts'

/**
 * Mixed load at the highest rate that the machine bears, with faults by chance and clients that leave.
 * Afterwards memory is flat, every lease is back, the ledger is the simulator's, and no exception was
 * left alone.
 */

const CONNECTIONS = 8
const LEAVERS = 2
const SAMPLE_EVERY_MS = 10_000
/** More in a minute is a leak, and not the engine's way of collecting. */
const MAX_SLOPE_MIB = 4
const SETTLE_MS = 30_000
const MINUTE_MS = 60_000

const say = (text: string) => process.stdout.write(`${text}\n`)

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } })
const durationMs = Number(values.minutes) * MINUTE_MS
if (!(durationMs > 0 && durationMs <= 24 * 60 * MINUTE_MS)) {
  console.error('usage: npm run soak -- [--minutes 10]')
  process.exit(2)
}

async function startSimulator(scope: RunScope): Promise<string> {
  const path = fileURLToPath(new URL('./simulator-process.ts', import.meta.url))
  const child = scope.spawn(process.execPath, [path], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [origin] = await once(child, 'message')
  return String(origin)
}

interface Load {
  requests: number
  /** Answers by their status. */
  readonly statuses: Record<string, number>
  /** Connections that the gateway closed under a request. A client would send it again. */
  broken: number
}

/** Keeps each connection busy, and opens it again where it broke. */
async function drive(
  connections: readonly Connection[],
  requests: RequestCycle,
  untilMs: number,
): Promise<Load> {
  const load: Load = { requests: 0, statuses: {}, broken: 0 }
  const work = async (connection: Connection): Promise<void> => {
    while (performance.now() < untilMs) {
      load.requests += 1
      const answer = await connection.send(requests.next()).catch(() => null)
      if (answer === null) load.broken += 1
      else load.statuses[answer.status] = (load.statuses[answer.status] ?? 0) + 1
    }
  }
  await Promise.all(connections.map(work))
  return load
}

/** A client that goes before its answer is whole, again and again. Returns how many times it did. */
async function leave(origin: string, untilMs: number): Promise<number> {
  let left = 0
  for (let i = 0; performance.now() < untilMs; i += 1) {
    const { path, body } = SOAK_REQUESTS[i % SOAK_REQUESTS.length] ?? { path: '', body: '' }
    const headers = { authorization: `Bearer ${SOAK_TOKEN}`, 'content-type': 'application/json' }
    const signal = AbortSignal.timeout(1 + Math.floor(Math.random() * 150))
    const request = { method: 'POST', headers, body, signal }
    const isLeft = await fetch(`${origin}/api/v1${path}`, request)
      .then((response) => response.arrayBuffer())
      .then(
        () => false,
        () => true,
      )
    left += Number(isLeft)
  }
  return left
}

/** Notes the memory of a process while something goes on. */
function sampling(pid: number): { readonly samples: Sample[]; stop(): void } {
  const samples: Sample[] = []
  const beganMs = performance.now()
  const timer = setInterval(() => {
    const sample = { minute: (performance.now() - beganMs) / MINUTE_MS, mib: memoryMib(pid) }
    samples.push(sample)
    const isMinute = samples.length % (MINUTE_MS / SAMPLE_EVERY_MS) === 0
    if (isMinute) say(`minute ${sample.minute.toFixed(0)}: ${sample.mib.toFixed(0)} MiB`)
  }, SAMPLE_EVERY_MS)
  return { samples, stop: () => clearInterval(timer) }
}

/** The pool once every lease is back, or after so long. */
async function settled(snapshot: () => Promise<PoolSnapshot>): Promise<PoolSnapshot> {
  const deadlineMs = performance.now() + SETTLE_MS
  for (;;) {
    const pool = await snapshot()
    const running = pool.keys.reduce((sum, { inFlight }) => sum + inFlight, 0)
    if (running === 0 || performance.now() > deadlineMs) return pool
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

/** What is wrong with the ledger, in sentences. Who left may have left before upstream heard of it. */
async function ledgerFaults(
  pool: PoolSnapshot,
  control: SimulatorControl,
  left: number,
): Promise<string[]> {
  const { perKey } = await control.stats()
  return pool.keys.flatMap(({ id, inFlight, total }) => {
    const upstream = perKey[id]
    const requests = upstream?.requests ?? 0
    const sum = total.successes + total.failures + total.ignored
    const usd = upstream?.costUsd ?? 0
    say(
      `${id}: ${total.attempts} attempts, upstream ${requests}; ` +
        `${total.costUsd.toFixed(6)} USD, upstream ${usd.toFixed(6)}`,
    )
    return [
      ...(inFlight === 0 ? [] : [`${id} has ${inFlight} leases left`]),
      ...(Math.abs(total.attempts - requests) <= left ? [] : [`${id}: attempts differ`]),
      ...(sum === total.attempts ? [] : [`${id}: ${total.attempts} attempts, ${sum} outcomes`]),
      ...(Math.abs(total.costUsd - usd) <= 0.02 * usd + 1e-6 ? [] : [`${id}: costs differ`]),
    ]
  })
}

async function main(): Promise<number> {
  const scope = createRunScope(durationMs + 5 * MINUTE_MS)
  const bundling = bundleForDeployment(scope, { entry: 'test/bench/workers/watched.ts' })
  const [deployment, { source }, simulator] = await Promise.all([
    readDeployment(scope),
    bundling,
    startSimulator(scope),
  ])
  const control = simulatorControl(simulator)
  await control.reset(WORLD)
  for (const rule of RULES) await control.rule(rule)
  const bugs: string[] = []
  const { port, pid, workerd } = await startGateway(
    scope,
    deployment,
    { port: 0 },
    {
      name: 'soak',
      source,
      counting: true,
      bindings: bindingsOf(`${simulator}/api/v1`),
      onLog: (text) => void bugs.push(...text.split('\n').filter((line) => BUG.test(line))),
    },
  )
  const snapshot = async (): Promise<PoolSnapshot> => {
    const response = await fetch(`http://127.0.0.1:${workerd.port('counter')}/`)
    return JSON.parse(await response.text())
  }
  const memory = sampling(pid ?? 0)
  const connections = await openConnections(port, CONNECTIONS, '127.0.0.1')
  const requests = new RequestCycle(rawRequests(`127.0.0.1:${port}`))
  const untilMs = performance.now() + durationMs
  const [load, ...leavers] = await Promise.all([
    drive(connections, requests, untilMs),
    ...Array.from({ length: LEAVERS }, () => leave(`http://127.0.0.1:${port}`, untilMs)),
  ])
  memory.stop()
  for (const connection of connections) connection.close()
  const left = leavers.reduce((sum, count) => sum + count, 0)
  say(
    `${load.requests} requests, ${((load.requests * 1000) / durationMs).toFixed(0)} a second, ` +
      `by status ${JSON.stringify(load.statuses)}, ${load.broken} broken; ${left} clients left`,
  )
  const slope = slopeMibPerMinute(memory.samples)
  say(`memory: ${slope.toFixed(2)} MiB a minute in the second half`)
  const faults = [
    ...(await ledgerFaults(await settled(snapshot), control, left + load.broken)),
    ...(durationMs >= 5 * MINUTE_MS && slope > MAX_SLOPE_MIB ? ['memory grows'] : []),
    ...[...new Set(bugs)].slice(0, 5).map((line) => `log: ${line.slice(0, 500)}`),
  ]
  for (const fault of faults) say(`FAULT ${fault}`)
  say(faults.length === 0 ? 'sound' : `${faults.length} faults`)
  return faults.length === 0 ? 0 : 1
}

// Children and sockets would keep it alive; leaving ends and removes them all.
process.exit(await main())
