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
import { BUG, type Booked, ledgerFaults, type Sample, slopeMibPerMinute } from './verdict.ts'
import {
  bindingsOf,
  LEAVERS_KEYS,
  LEAVERS_REQUESTS,
  RULES,
  rawRequests,
  SOAK_TOKEN,
  WORLD,
} from './world.ts'

/**
 * Mixed load at the highest rate that the machine bears, with faults by chance and clients that leave.
 * Afterwards memory is flat, every lease is back, the ledger is the simulator's, and no exception was
 * left alone. The load, the gateway and the simulator are three processes.
 */

const CONNECTIONS = 8
const LEAVERS = 2
const SAMPLE_EVERY_MS = 10_000
/** More in a minute is a leak, and not the engine's way of collecting. */
const MAX_SLOPE_MIB = 4
/** A shorter run says nothing of memory: caches fill. */
const MIN_SLOPE_MINUTES = 5
/** As long as a request may take, and its end to be told. */
const SETTLE_MS = 75_000
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

/** What the clients have seen so far. */
interface Load {
  requests: number
  /** Answers by their status. */
  statuses: Record<string, number>
  /** Connections that the gateway closed under a request. A client would send it again. */
  broken: number
  left: number
}

const noLoad = (): Load => ({ requests: 0, statuses: {}, broken: 0, left: 0 })

const inWords = ({ requests, statuses, broken, left }: Load) =>
  `${requests} requests, by status ${JSON.stringify(statuses)}, ${broken} broken, ${left} clients left`

/** Keeps a connection busy, and opens it again where it broke. */
async function drive(
  connection: Connection,
  requests: RequestCycle,
  untilMs: number,
  load: Load,
): Promise<void> {
  while (performance.now() < untilMs) await ask(connection, requests, load)
}

async function ask(connection: Connection, requests: RequestCycle, load: Load): Promise<void> {
  load.requests += 1
  const answer = await connection.send(requests.next()).catch(() => null)
  if (answer === null) load.broken += 1
  else load.statuses[answer.status] = (load.statuses[answer.status] ?? 0) + 1
}

const MAX_STAY_MS = 150

/**
 * A client that goes before its answer is whole, again and again. In between it waits for a whole
 * answer: a client that only leaves sends faster than a busy machine serves, and everybody else waits.
 */
async function leave(
  origin: string,
  connection: Connection,
  requests: RequestCycle,
  untilMs: number,
  load: Load,
): Promise<void> {
  for (let i = 0; performance.now() < untilMs; i += 1) {
    const { path, body } = LEAVERS_REQUESTS[i % LEAVERS_REQUESTS.length] ?? { path: '', body: '' }
    const headers = { authorization: `Bearer ${SOAK_TOKEN}`, 'content-type': 'application/json' }
    const signal = AbortSignal.timeout(1 + Math.floor(Math.random() * MAX_STAY_MS))
    const request = { method: 'POST', headers, body, signal }
    await fetch(`${origin}/api/v1${path}`, request)
      .then((response) => response.arrayBuffer())
      .catch(() => {
        load.left += 1
      })
    await ask(connection, requests, load)
  }
}

/** Tells of every minute, and notes the memory of a process. */
function watch(pid: number, load: Load): { readonly samples: Sample[]; stop(): void } {
  const samples: Sample[] = []
  const beganMs = performance.now()
  let before = structuredClone(load)
  const timer = setInterval(() => {
    const sample = { minute: (performance.now() - beganMs) / MINUTE_MS, mib: memoryMib(pid) }
    samples.push(sample)
    if (samples.length % (MINUTE_MS / SAMPLE_EVERY_MS) !== 0) return
    const since = difference(load, before)
    before = structuredClone(load)
    say(
      `minute ${sample.minute.toFixed(0)}: ${inWords(since)}; ${sample.mib.toFixed(0)} MiB, ` +
        `${slopeMibPerMinute(samples).toFixed(2)} MiB a minute`,
    )
  }, SAMPLE_EVERY_MS)
  return { samples, stop: () => clearInterval(timer) }
}

function difference(now: Load, before: Load): Load {
  const statuses = Object.entries(now.statuses).map(
    ([status, count]) => [status, count - (before.statuses[status] ?? 0)] as const,
  )
  return {
    requests: now.requests - before.requests,
    statuses: Object.fromEntries(statuses),
    broken: now.broken - before.broken,
    left: now.left - before.left,
  }
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

/** Both ledgers, key by key. */
async function booked(pool: PoolSnapshot, control: SimulatorControl): Promise<Booked[]> {
  const { perKey } = await control.stats()
  return pool.keys.map(({ id, inFlight, total }) => {
    const { requests = 0, costUsd = 0 } = perKey[id] ?? {}
    say(
      `${id}: ${total.attempts} attempts, upstream ${requests}; ` +
        `${total.costUsd.toFixed(6)} USD, upstream ${costUsd.toFixed(6)}`,
    )
    return { id, inFlight, total, upstream: { requests, costUsd } }
  })
}

async function main(): Promise<number> {
  const scope = createRunScope(durationMs + 5 * MINUTE_MS)
  const [deployment, { source }, simulator] = await Promise.all([
    readDeployment(scope),
    bundleForDeployment(scope, { entry: 'test/bench/workers/watched.ts' }),
    startSimulator(scope),
  ])
  const control = simulatorControl(simulator)
  await control.reset(WORLD)
  for (const rule of RULES) await control.rule(rule)
  const bugs = new Set<string>()
  const bindings = bindingsOf(`${simulator}/api/v1`)
  const onLog = (text: string) => {
    for (const line of text.split('\n')) if (BUG.test(line)) bugs.add(line.slice(0, 500))
  }
  const options = { name: 'soak', source, counting: true, bindings, onLog }
  const { port, pid, workerd } = await startGateway(scope, deployment, { port: 0 }, options)
  const connections = await openConnections(port, CONNECTIONS, '127.0.0.1')
  const requests = new RequestCycle(rawRequests(`127.0.0.1:${port}`))
  const untilMs = performance.now() + durationMs
  const load = noLoad()
  const watching = watch(pid ?? 0, load)
  const origin = `http://127.0.0.1:${port}`
  await Promise.all(
    connections.map((connection, i) =>
      i < LEAVERS
        ? leave(origin, connection, requests, untilMs, load)
        : drive(connection, requests, untilMs, load),
    ),
  )
  watching.stop()
  for (const connection of connections) connection.close()
  const slope = slopeMibPerMinute(watching.samples)
  say(`in all: ${inWords(load)}; ${slope.toFixed(2)} MiB a minute in the second half`)
  const pool = await settled(async () => {
    const response = await fetch(`http://127.0.0.1:${workerd.port('counter')}/`)
    return JSON.parse(await response.text())
  })
  const faults = [
    ...ledgerFaults(await booked(pool, control), LEAVERS_KEYS, load),
    ...(durationMs >= MIN_SLOPE_MINUTES * MINUTE_MS && slope > MAX_SLOPE_MIB ? ['memory grows'] : []),
    ...[...bugs].slice(0, 5).map((line) => `log: ${line}`),
  ]
  for (const fault of faults) say(`FAULT ${fault}`)
  say(faults.length === 0 ? 'sound' : `${faults.length} faults`)
  return faults.length === 0 ? 0 : 1
}

// Children and sockets would keep it alive; leaving ends and removes them all.
process.exit(await main())
