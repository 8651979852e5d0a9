import { RequestCycle, runSteadily } from '../load/closed-loop.ts'
import { openConnections } from '../load/connection.ts'
import { type ModelName, requestsOf, tokenOf, withBudgets } from '../mix.ts'
import { bundleForDeployment } from '../processes/deployment.ts'
import { type GatewayOptions, startGateway } from '../processes/targets.ts'
import type { Workerd } from '../processes/workerd.ts'
import { decimal, whole } from '../report/figures.ts'
import type { Bench, PartResult } from './part.ts'

const ENTRY = 'test/bench/workers/counting.ts'

const REQUESTS_PER_S = 100
const CONNECTIONS = 32
const BUDGETED = 'one client, limits and budgets'

const LOOK_EVERY_MS = 200
/** What happens once, in the beginning, is no part of steady load. */
const SETTLE_IN_LOOKS = 5

/** What was counted until some moment. */
export interface Counts {
  readonly requests: number
  readonly objectCalls: number
  readonly rows: number
}

interface Figures {
  readonly load: string
  readonly requests: number
  readonly failures: number
  readonly objectCallsPerRequest: number
  readonly rowsPer1000Requests: number
}

/** Object calls and rows written, which are what the gateway costs besides its requests. */
export async function countObjectWork(bench: Bench): Promise<PartResult> {
  const { reporter, scope } = bench
  reporter.progress('counts, bundling')
  const { source } = await bundleForDeployment(scope, { entry: ENTRY })
  reporter.progress('counts')
  // Counted, not timed: they may run beside each other.
  const figures = await Promise.all([
    count(bench, source, { model: 'small', load: 'no faults' }),
    count(bench, source, { model: 'faulty', load: '1 % upstream faults' }),
    count(bench, source, { model: 'small', load: BUDGETED, bindings: withBudgets() }),
  ])
  const table = reporter.table(`Object calls and rows at ${REQUESTS_PER_S} requests/s`, [
    ...[
      'load',
      'requests',
      'failed',
      'object calls per request',
      'rows written per 1,000 requests',
    ],
  ])
  for (const one of figures) {
    table.row(
      one.load,
      whole(one.requests),
      whole(one.failures),
      decimal(one.objectCallsPerRequest, 2),
      decimal(one.rowsPer1000Requests, 1),
    )
  }
  return { tables: [table.table], data: figures }
}

interface Counted {
  readonly model: ModelName
  readonly load: string
  /** In place of the mix's. */
  readonly bindings?: GatewayOptions['bindings']
}

async function count(
  bench: Bench,
  source: string,
  { model, load, bindings = {} }: Counted,
): Promise<Figures> {
  const { scope, deployment, upstream, effort } = bench
  const gateway = await startGateway(scope, deployment, upstream, {
    name: `counting ${load}`,
    ...{ source, bindings, counting: true },
  })
  const connections = await openConnections(gateway.port, CONNECTIONS, gateway.host)
  // Leases are ordered ahead for a client of its own as soon as it has some requests a second.
  const to = load === BUDGETED ? { ...gateway.to, token: tokenOf(0) } : gateway.to
  const requests = new RequestCycle(requestsOf(to, { model, promptBytes: 1024 }))
  const looks: Counts[] = []
  let sent = 0
  const timer = setInterval(() => {
    const requests = sent
    void countsOf(gateway.workerd).then((received) => looks.push({ requests, ...received }))
  }, LOOK_EVERY_MS)
  const onSend = () => {
    sent += 1
  }
  const everyMs = 1000 / REQUESTS_PER_S
  const { failures } = await runSteadily(connections, requests, everyMs, effort.countMs, onSend)
  clearInterval(timer)
  for (const connection of connections) connection.close()
  await gateway.stop()
  const { first, last } = betweenWrites(looks.slice(SETTLE_IN_LOOKS))
  const counted = last.requests - first.requests
  return {
    load,
    requests: counted,
    failures,
    objectCallsPerRequest: (last.objectCalls - first.objectCalls) / counted,
    rowsPer1000Requests: ((last.rows - first.rows) / counted) * 1000,
  }
}

async function countsOf(workerd: Workerd): Promise<Omit<Counts, 'requests'>> {
  const response = await fetch(`http://127.0.0.1:${workerd.port('counter')}/`)
  return (await response.json()) as Omit<Counts, 'requests'>
}

/**
 * Rows are written in bursts, some seconds apart. From one burst to another lies a whole number of
 * them; any other stretch would hold one more or one less by chance.
 */
export function betweenWrites(looks: readonly Counts[]): { first: Counts; last: Counts } {
  const bursts = looks.filter(({ rows }, i) => i > 0 && rows > (looks[i - 1]?.rows ?? rows))
  const [first, last] = bursts.length > 1 ? [bursts[0], bursts.at(-1)] : [looks[0], looks.at(-1)]
  if (first === undefined || last === undefined) throw new Error('Nothing was counted')
  return { first, last }
}
