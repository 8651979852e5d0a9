import type { NonEmpty } from '../../../src/balancing/non-empty.ts'
import { finish, post } from '../load/plain-requests.ts'
import { MODELS } from '../mix.ts'
import { peakMemoryMib } from '../processes/process-figures.ts'
import { startBenchWorker, startGateway, type Target } from '../processes/targets.ts'
import { decimal, whole } from '../report/figures.ts'
import { measureCrowds } from './crowds.ts'
import type { Bench, PartResult } from './part.ts'

/** Just below what the gateway takes by default. */
const BODY_BYTES = 25_000_000
const QUICK_BODY_BYTES = 1_000_000
/** How long the other client's stream runs alone before the body comes. */
const ALONE_MS = 300

interface Figures {
  readonly name: string
  readonly longestGapMs: number
  readonly addedMib: number
}

/** Bodies that are cheap to send and, parsed or walked over, dear to read; a flat one first. */
const BODIES: NonEmpty<readonly [string, (bytes: number) => string]> = [
  ['flat', (bytes) => `"${'The quick brown fox. '.repeat(bytes / 21)}"`],
  ['brackets', (bytes) => '['.repeat(bytes / 2) + ']'.repeat(bytes / 2)],
  ['distinct keys', keysOf],
  ['one string', (bytes) => `"${'x'.repeat(bytes)}"`],
  ['escapes', (bytes) => `"${'\\"'.repeat(bytes / 2)}"`],
  ['numbers', (bytes) => `[${'1,'.repeat(bytes / 2)}1]`],
]

function keysOf(bytes: number): string {
  const members: string[] = []
  for (let length = 0; length < bytes; length += members.at(-1)?.length ?? 0) {
    members.push(`"k${members.length}":0,`)
  }
  return `0,${members.join('')}"last":0`
}

/**
 * What one hostile body does to another client's stream, and to the memory of the process; then what
 * crowds do. Each meets a process that has done nothing else.
 */
export async function measureHostileBodies(bench: Bench): Promise<PartResult> {
  const { reporter, effort } = bench
  const bytes = effort.rounds > 2 ? BODY_BYTES : QUICK_BODY_BYTES
  const table = reporter.table(`Bodies of ${bytes / 1e6} MB beside a stream`, [
    ...['body', "longest gap in the other's stream, ms", 'memory, MiB', 'beside flat'],
  ])
  const { scope, deployment, upstream } = bench
  const { source } = await bench.bundle()
  const figures: Figures[] = []
  for (const [name, textOf] of BODIES) {
    const target = await startGateway(scope, deployment, upstream, {
      name: `hostile ${name}`,
      source,
    })
    figures.push(await measure(bench, target, name, textOf(bytes)))
  }
  const [flat] = figures
  const forwarding = await startBenchWorker(
    scope,
    deployment,
    upstream,
    'forwarding',
    'hostile forwarding',
  )
  const [[, flatOf]] = BODIES
  figures.push(await measure(bench, forwarding, 'flat, of forwarding', flatOf(bytes)))
  for (const { name, longestGapMs, addedMib } of figures) {
    const ratio = addedMib / (flat?.addedMib ?? Number.NaN)
    table.row(name, whole(longestGapMs), whole(addedMib), decimal(ratio, 2))
  }
  const crowds = await measureCrowds(bench)
  return { tables: [table.table, ...crowds.tables], data: { bodies: figures, crowds: crowds.data } }
}

async function measure(
  { reporter }: Bench,
  target: Target,
  name: string,
  value: string,
): Promise<Figures> {
  reporter.progress(`hostile bodies: ${name}`)
  const head = (model: string) => `{"model":"${model}","messages":[],`
  const small = Buffer.from(`${head(MODELS.small)}"a":0}`)
  // Made before the stream begins: to make it takes this process longer than any gap.
  const hostile = Buffer.from(`${head(MODELS.small)}"a":${value}}`)
  for (let i = 0; i < 20; i += 1) await finish(await post(target.port, small))
  const stream = await post(target.port, Buffer.from(`${head(MODELS.stream)}"stream":true}`))
  const arrivalsMs: number[] = []
  stream.on('data', () => arrivalsMs.push(performance.now()))
  const streamEnded = new Promise((resolve) => stream.once('end', resolve))
  await new Promise((resolve) => setTimeout(resolve, ALONE_MS))
  const beforeMib = target.pid === null ? Number.NaN : peakMemoryMib(target.pid)
  const answer = await post(target.port, hostile)
  await finish(answer)
  if (answer.statusCode !== 200) throw new Error(`${name} got ${answer.statusCode}`)
  await streamEnded
  const peakMib = target.pid === null ? Number.NaN : peakMemoryMib(target.pid)
  await target.stop()
  const gaps = arrivalsMs.slice(1).map((ms, index) => ms - (arrivalsMs[index] ?? ms))
  return { name, longestGapMs: Math.max(...gaps), addedMib: peakMib - beforeMib }
}
