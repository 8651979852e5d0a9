import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { PoolSnapshot } from '../../../src/balancing/snapshot.ts'
import { type SimulatorControl, simulatorControl } from '../../simulator/client.ts'
import { RequestCycle } from '../load/closed-loop.ts'
import { type Connection, openConnections } from '../load/connection.ts'
import { bundleForDeployment, readDeployment } from '../processes/deployment.ts'
import { liveHeapMib, openInspector } from '../processes/inspector.ts'
import { memoryMib } from '../processes/process-figures.ts'
import { createRunScope, type RunScope } from '../processes/run-scope.ts'
import { startGateway } from '../processes/targets.ts'
import { type Booked, BUG, type Sample, slopeMibPerMinute, soakFaults } from './judgement.ts'
import { inWords, type Load, leave, noLoad, since, stay } from './load.ts'
import { bindingsOf, LEAVERS_KEYS, RULES, rawRequests, WORLD } from './world.ts'

/**
 * Mixed load at the highest rate that the machine bears, with faults by chance and clients that leave.
 * Afterwards memory is flat, every lease is back, the ledger is the simulator's, and no exception was
 * left alone. The load, the gateway and the simulator are three processes.
 */

const CONNECTIONS = 8
/** Of them. */
const LEAVERS = 2
/** As long as a request may take, and its cost to be told: OpenRouter is asked for it up to four times. */
const SETTLE_MS = 200_000
const ASK_EVERY_MS = 2_000
const MINUTE_MS = 60_000
const MAX_BUGS = 5

const say = (text: string) => process.stdout.write(`${text}\n`)

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } })
const minutes = Number(values.minutes)
if (!(minutes > 0 && minutes <= 24 * 60)) {
  console.error('usage: npm run soak -- [--minutes 10]')
  process.exit(2)
}

/** The gateway under load, as the soak sees it. */
interface Soaked {
  readonly port: number
  /** Its memory, when garbage has just been collected. */
  measure(): Promise<Omit<Sample, 'minute'>>
  /** The pool now. With `cron` after a minute's trigger has run. */
  observe(cron?: 'cron'): Promise<{ readonly pool: PoolSnapshot; readonly unhandled: number }>
}

async function startSimulator(scope: RunScope): Promise<string> {
  const path = fileURLToPath(new URL('./simulator-process.ts', import.meta.url))
  const child = scope.spawn(process.execPath, [path], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [origin] = await once(child, 'message')
  return String(origin)
}

async function startSoaked(
  scope: RunScope,
  simulator: string,
  onLog: (text: string) => void,
): Promise<Soaked> {
  const [deployment, { source }] = await Promise.all([
    readDeployment(scope),
    bundleForDeployment(scope, { entry: 'test/bench/workers/watched.ts' }),
  ])
  const bindings = bindingsOf(`${simulator}/api/v1`)
  const options = { name: 'soak', source, counting: true, inspect: true, bindings, onLog }
  const { port, workerd } = await startGateway(scope, deployment, { port: 0 }, options)
  const inspector = await openInspector(workerd.port('inspector'))
  return {
    port,
    async measure() {
      const liveMib = await liveHeapMib(inspector)
      return { liveMib, processMib: memoryMib(workerd.pid) }
    },
    async observe(cron) {
      const response = await fetch(`http://127.0.0.1:${workerd.port('counter')}/${cron ?? ''}`)
      return JSON.parse(await response.text())
    },
  }
}

/** Tells of every minute, and notes the memory of the gateway. */
function watch({ measure, observe }: Soaked, load: Load) {
  const samples: Sample[] = []
  let before = structuredClone(load)
  const tell = async () => {
    const words = inWords(since(load, before))
    before = structuredClone(load)
    const sample = { minute: samples.length + 1, ...(await measure()) }
    samples.push(sample)
    const { minute, liveMib, processMib } = sample
    say(`minute ${minute}: ${words}; ${liveMib.toFixed(1)} MiB alive of ${processMib.toFixed(0)}`)
    await observe('cron')
  }
  const timer = setInterval(() => {
    tell().catch((error: unknown) => say(`a minute was not told: ${error}`))
  }, MINUTE_MS)
  return { samples, stop: () => clearInterval(timer) }
}

function begin(
  connections: readonly Connection[],
  { port }: Soaked,
  load: Load,
): readonly Promise<void>[] {
  const requests = new RequestCycle(rawRequests(`127.0.0.1:${port}`))
  const untilMs = performance.now() + minutes * MINUTE_MS
  const origin = `http://127.0.0.1:${port}`
  return connections.map((connection, i) =>
    i < LEAVERS
      ? leave(origin, connection, requests, untilMs, load)
      : stay(connection, requests, untilMs, load),
  )
}

/** Both ledgers, key by key. */
async function booked({ keys }: PoolSnapshot, control: SimulatorControl): Promise<Booked[]> {
  const { perKey } = await control.stats()
  return keys.map(({ id, inFlight, total }) => {
    const { requests = 0, costUsd = 0 } = perKey[id] ?? {}
    const isOfLeavers = LEAVERS_KEYS.includes(id)
    return { id, inFlight, total, upstream: { requests, costUsd }, isOfLeavers }
  })
}

/** What is left to be told of a soak once nobody sends any more. */
interface Rest {
  readonly keys: readonly Booked[]
  readonly waiting: number
  readonly unhandled: number
}

/** The pool once nothing is wrong with it any more, or after so long. */
async function settled(
  { observe }: Soaked,
  control: SimulatorControl,
  isSound: (rest: Rest) => boolean,
): Promise<Rest> {
  const deadlineMs = performance.now() + SETTLE_MS
  for (;;) {
    const { pool, unhandled } = await observe('cron')
    const rest = { keys: await booked(pool, control), waiting: pool.waiting, unhandled }
    if (isSound(rest) || performance.now() > deadlineMs) return rest
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS))
  }
}

function tellKeys(keys: readonly Booked[]): void {
  for (const { id, total, upstream } of keys) {
    const usd = (amount: number) => amount.toFixed(6)
    say(
      `${id}: ${total.attempts} attempts, ${upstream.requests} upstream; ` +
        `${usd(total.costUsd)} USD booked, ${usd(upstream.costUsd)} USD charged`,
    )
  }
}

async function main(): Promise<number> {
  const scope = createRunScope((minutes + 5) * MINUTE_MS + SETTLE_MS)
  const simulator = await startSimulator(scope)
  const control = simulatorControl(simulator)
  await control.reset(WORLD)
  for (const rule of RULES) await control.rule(rule)
  const bugs = new Set<string>()
  const soaked = await startSoaked(scope, simulator, (text) => {
    for (const line of text.split('\n')) {
      if (bugs.size < MAX_BUGS && BUG.test(line)) bugs.add(line.slice(0, 500))
    }
  })
  const load = noLoad()
  const connections = await openConnections(soaked.port, CONNECTIONS, '127.0.0.1')
  const watching = watch(soaked, load)
  await Promise.all(begin(connections, soaked, load))
  watching.stop()
  for (const connection of connections) connection.close()
  const { samples } = watching
  const slope = (of: 'liveMib' | 'processMib') => slopeMibPerMinute(samples, of).toFixed(2)
  say(
    `in all ${inWords(load)}; in the second half ${slope('liveMib')} MiB a minute on the heap, ` +
      `${slope('processMib')} in the process`,
  )
  const resultOf = (rest: Rest) => ({ minutes, samples, ...load, ...rest, bugs: [...bugs] })
  const nothingNew = soakFaults(resultOf({ keys: [], waiting: 0, unhandled: 0 })).length
  const rest = await settled(
    soaked,
    control,
    (so) => soakFaults(resultOf(so)).length === nothingNew,
  )
  tellKeys(rest.keys)
  const faults = soakFaults(resultOf(rest))
  for (const fault of faults) say(`FAULT ${fault}`)
  say(faults.length === 0 ? 'sound' : `${faults.length} faults`)
  return faults.length === 0 ? 0 : 1
}

// Children and sockets would keep it alive; leaving ends and removes them all.
process.exit(await main())
