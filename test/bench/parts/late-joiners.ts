import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { type Connection, openConnections } from '../load/connection.ts'
import { MODELS, tokenOf } from '../mix.ts'
import { startGateway, type Target } from '../processes/targets.ts'
import { beyondReference, decimal } from '../report/figures.ts'
import type { Table } from '../report/table.ts'
import { percentile } from '../statistics.ts'
import { type Bench, inTurn } from './part.ts'

/** Routes of which one answers all who ask at once with one answer. */
export const SHARING = {
  POLICY: {
    kind: 'json',
    value: {
      routes: [
        { models: [MODELS.small], cache: { ttl_s: 3600, scope: 'pool' } },
        { models: [MODELS.longStream], cache: { share: true, scope: 'pool' } },
      ],
    },
  },
} as const

export function bodyOf(model: string, isStreamed: boolean): Buffer {
  const messages = [{ role: 'user', content: 'The same question of everybody.' }]
  return Buffer.from(JSON.stringify({ model, messages, ...(isStreamed && { stream: true }) }))
}

export function requestOf({ to }: Target, body: Buffer): RequestCycle {
  const head = [
    `POST ${to.path}/chat/completions HTTP/1.1`,
    ...[`host: ${to.host}`, `authorization: Bearer ${tokenOf(0)}`],
    ...['content-type: application/json', `content-length: ${body.length}`],
  ].join('\r\n')
  return new RequestCycle([[Buffer.from(`${head}\r\n\r\n`), body]])
}

/** The answer runs for more than three seconds. */
const LATE_MS = 1_000
const BETWEEN_MS = 40
const LATE_JOINERS = 40

/** When those get their first byte who ask for a stream that has been running for a second and more. */
export async function measureLateJoiners(bench: Bench): Promise<{ table: Table; data: unknown }> {
  const { reporter, effort, scope, deployment, upstream } = bench
  const { source } = await bench.bundle()
  reporter.progress('late joiners')
  const table = reporter.table('The first byte of a late joiner of a stream that runs', [
    ...['others who read it', 'p50 ms', 'p99 ms', 'longest ms'],
  ])
  const data: Record<string, readonly number[]> = {}
  for (const others of [1, effort.memoryStreams - LATE_JOINERS].filter((count) => count > 0)) {
    const options = { name: `late joiners of ${others}`, source, bindings: SHARING }
    const target = await startGateway(scope, deployment, upstream, options)
    const requests = requestOf(target, bodyOf(MODELS.longStream, true))
    const connections = await openConnections(target.port, others + LATE_JOINERS, target.host)
    const early = connections
      .slice(0, others)
      .map((connection) => firstByteMs(connection, requests))
    const late = connections
      .slice(others)
      .map((connection, i) => firstByteMs(connection, requests, LATE_MS + i * BETWEEN_MS))
    const [firstMs] = await Promise.all([Promise.all(late), ...early])
    for (const connection of connections) connection.close()
    await target.stop()
    data[others] = firstMs
    const shares = [0.5, 0.99, 1].map((share) => decimal(percentile(firstMs, share), 1))
    table.row(String(others), ...shares)
  }
  return { table: table.table, data }
}

async function firstByteMs(
  connection: Connection,
  requests: RequestCycle,
  afterMs = 0,
): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, afterMs))
  const sentMs = performance.now()
  let firstMs = Number.NaN
  const { status, excerpt } = await connection.send(requests.next(), () => {
    if (Number.isNaN(firstMs)) firstMs = performance.now() - sentMs
  })
  if (status !== 200) throw new Error(`A stream failed: ${status} ${excerpt}`)
  return firstMs
}

/** A request of a route without a `cache`, where other routes have one and where none has. */
export async function measureUnshared(bench: Bench): Promise<{ table: Table; data: unknown }> {
  const { reporter, effort, scope, deployment, upstream } = bench
  const { source } = await bench.bundle()
  reporter.progress('a route without a cache')
  const other = { models: ['other/*'], cache: { ttl_s: 3600, scope: 'pool' } }
  const POLICY = { kind: 'json', value: { routes: [other] } } as const
  const plain = { name: 'no cache', source }
  const targets = await Promise.all([
    startGateway(scope, deployment, upstream, plain),
    startGateway(scope, deployment, upstream, { ...plain, name: 'no cache again' }),
    startGateway(scope, deployment, upstream, {
      ...{ name: 'cache of others', source, bindings: { POLICY } },
    }),
  ])
  const names = ['no route has a cache', 'the same again', 'another route has one']
  const cases = await Promise.all(
    targets.map(async (target, i) => {
      const requests = requestOf(target, bodyOf(MODELS.small, false))
      const connections = await openConnections(target.port, 1, target.host)
      await runClosedLoop(connections, requests, effort.warmUpMs)
      return { name: names[i] ?? '', connections, requests, medians: [] as number[] }
    }),
  )
  for (let round = 0; round < effort.rounds; round += 1) {
    for (const { connections, requests, medians } of inTurn(cases, round)) {
      const { latenciesMs, failure } = await runClosedLoop(connections, requests, effort.slotMs)
      if (failure !== null) throw new Error(`A request failed: ${failure}`)
      medians.push(percentile(latenciesMs, 0.5))
    }
  }
  for (const { connections } of cases) for (const connection of connections) connection.close()
  for (const target of targets) await target.stop()
  const table = reporter.table('A request of a route without a cache, one after the other', [
    ...['routes', 'p50 ms', 'ms more'],
  ])
  const [reference = [], again = []] = cases.map(({ medians }) => medians)
  for (const { name, medians } of cases) {
    const more = beyondReference({ ours: medians, reference, again }, 2)
    table.row(name, decimal(percentile(medians, 0.5), 2), more)
  }
  return { table: table.table, data: cases.map(({ name, medians }) => [name, medians]) }
}
