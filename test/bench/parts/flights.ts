import { RequestCycle, runClosedLoop } from '../load/closed-loop.ts'
import { type Connection, openConnections } from '../load/connection.ts'
import { finish, post } from '../load/plain-requests.ts'
import { MODELS } from '../mix.ts'
import type { BenchWorker } from '../processes/deployment.ts'
import { peakMemoryMib } from '../processes/process-figures.ts'
import { startBenchWorker, startGateway, type Target } from '../processes/targets.ts'
import { besideReference, beyondReference, decimal, whole } from '../report/figures.ts'
import type { Table } from '../report/table.ts'
import { percentile } from '../statistics.ts'
import { bodyOf, measureLateJoiners, measureUnshared, requestOf, SHARING } from './late-joiners.ts'
import { type Bench, inTurn, type PartResult } from './part.ts'

/**
 * Of shared and kept answers: what a hit takes, what a route without a cache does, when a late joiner gets
 * its first byte, and the memory of those who join one answer.
 */
export async function measureShared(bench: Bench): Promise<PartResult> {
  const hits = await measureHits(bench)
  const unshared = await measureUnshared(bench)
  const late = await measureLateJoiners(bench)
  const joiners = await measureJoiners(bench)
  return {
    tables: [hits, unshared, late, joiners].map(({ table }) => table),
    data: { hits: hits.data, unshared: unshared.data, late: late.data, joiners: joiners.data },
  }
}

/** A kept answer beside `/healthz`, which does next to nothing: one connection, one after the other. */
async function measureHits(bench: Bench): Promise<{ table: Table; data: unknown }> {
  const { reporter, effort, scope, deployment, upstream } = bench
  const { source } = await bench.bundle()
  const options = { name: 'shared hits', source, bindings: SHARING }
  const target = await startGateway(scope, deployment, upstream, options)
  reporter.progress('hits beside healthz')
  const body = bodyOf(MODELS.small, false)
  await untilHit(target, body)
  const healthz = `GET /healthz HTTP/1.1\r\nhost: ${target.to.host}\r\n\r\n`
  const plain = new RequestCycle([[Buffer.from(healthz)]])
  const cases = [
    ['/healthz', plain],
    ['/healthz again', plain],
    ['a hit', requestOf(target, body)],
  ] as const
  const connections = await openConnections(target.port, 1, target.host)
  const medians = new Map<string, number[]>(cases.map(([name]) => [name, []]))
  const highs = new Map<string, number[]>(cases.map(([name]) => [name, []]))
  for (const [, requests] of cases) await runClosedLoop(connections, requests, effort.warmUpMs)
  for (let round = 0; round < effort.rounds; round += 1) {
    for (const [name, requests] of inTurn(cases, round)) {
      const { latenciesMs, failure } = await runClosedLoop(connections, requests, effort.slotMs)
      if (failure !== null) throw new Error(`${name} failed: ${failure}`)
      medians.get(name)?.push(percentile(latenciesMs, 0.5))
      highs.get(name)?.push(percentile(latenciesMs, 0.99))
    }
  }
  for (const connection of connections) connection.close()
  await target.stop()
  const table = reporter.table('A kept answer of 1 KB, one after the other', [
    ...['request', 'p50 ms', 'p99 ms', 'ms more than /healthz'],
  ])
  const of = (name: string) => medians.get(name) ?? []
  for (const [name] of cases) {
    const beside = { ours: of(name), reference: of('/healthz'), again: of('/healthz again') }
    const [p50, p99] = [of(name), highs.get(name) ?? []].map((all) => percentile(all, 0.5))
    table.row(
      name,
      decimal(p50 ?? Number.NaN, 2),
      decimal(p99 ?? Number.NaN, 2),
      beyondReference(beside, 2),
    )
  }
  return { table: table.table, data: Object.fromEntries(medians) }
}

async function untilHit({ port }: Target, body: Buffer): Promise<void> {
  for (let i = 0; i < 50; i += 1) {
    const answer = await post(port, body)
    await finish(answer)
    if (answer.headers['x-switchyard-cache'] === 'hit') return
  }
  throw new Error('No answer was kept.')
}

interface Figures {
  readonly name: string
  readonly beforeMib: readonly number[]
  readonly peakMib: readonly number[]
}

/** Within which all have asked; the answer takes more than three seconds. */
const SPREAD_MS = 500
const WARM_UP_MS = 300

/**
 * Many who get one stream of 1 MB, beside Workers that stream as much to as many, with an upstream call
 * for each. In processes that have done nothing else.
 */
async function measureJoiners(bench: Bench): Promise<{ table: Table; data: unknown }> {
  const { reporter, effort, scope, deployment, upstream } = bench
  const { source } = await bench.bundle()
  const start = (kind: BenchWorker, name: string = kind) =>
    startBenchWorker(scope, deployment, upstream, kind, `joiners ${name}`)
  const ours = { name: 'joiners Switchyard', source, bindings: SHARING }
  const reference = await measure(bench, await start('forwarding'))
  const again = await measure(bench, await start('forwarding', 'forwarding again'))
  const watching = await measure(bench, await start('watching'))
  const joined = await measure(bench, await startGateway(scope, deployment, upstream, ours))
  const count = effort.memoryStreams
  const table = reporter.table(`Memory with ${count} who get 1 MB each, as a stream`, [
    ...['process', 'peak before, MiB', 'peak, MiB', 'KiB per stream', 'peak, of forwarding'],
  ])
  for (const { name, beforeMib, peakMib } of [reference, again, watching, joined]) {
    const [before = Number.NaN] = beforeMib
    const [peak = Number.NaN] = peakMib
    table.row(
      ...[name, whole(before), whole(peak), decimal(((peak - before) * 1024) / count, 0)],
      besideReference({ ours: peakMib, reference: reference.peakMib, again: again.peakMib }),
    )
  }
  return { table: table.table, data: [reference, again, watching, joined] }
}

async function measure({ reporter, effort }: Bench, target: Target): Promise<Figures> {
  const { port, host, pid } = target
  const name = target.name.replace('joiners ', '')
  reporter.progress(`joiners of ${name}`)
  const peak = () => [pid === null ? Number.NaN : peakMemoryMib(pid)]
  const connections = await openConnections(port, effort.memoryStreams, host)
  const small = requestOf(target, bodyOf(MODELS.small, false))
  await runClosedLoop(connections.slice(0, 4), small, WARM_UP_MS)
  const beforeMib = peak()
  const long = requestOf(target, bodyOf(MODELS.longStream, true))
  await Promise.all(
    connections.map((connection, i) =>
      readAll(connection, long, (i * SPREAD_MS) / connections.length),
    ),
  )
  const peakMib = peak()
  for (const connection of connections) connection.close()
  await target.stop()
  return { name, beforeMib, peakMib }
}

async function readAll(
  connection: Connection,
  requests: RequestCycle,
  afterMs: number,
): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, afterMs))
  let length = 0
  const answer = await connection.send(requests.next(), (bytes) => {
    length += bytes.length
  })
  if (answer.status !== 200 || length < 1_000_000) {
    throw new Error(`A stream failed: ${answer.status}, ${length} bytes ${answer.excerpt}`)
  }
}
