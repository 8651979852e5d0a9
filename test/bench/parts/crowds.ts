import { finish, get, post } from '../load/plain-requests.ts'
import { MODELS } from '../mix.ts'
import { peakMemoryMib } from '../processes/process-figures.ts'
import { startBenchWorker, startGateway, type Target } from '../processes/targets.ts'
import { whole } from '../report/figures.ts'
import type { Bench, PartResult } from './part.ts'

const LARGE_REQUESTS = 40
const LARGE_BYTES = 2_000_000
const IDLE_CLIENTS = 60
/** Until what a client does not read has filled whatever it fills. */
const SETTLE_MS = 1_500

/** What a crowd did to a process, and what it got. */
interface Crowd {
  readonly name: string
  readonly served: number
  /** 503 `overloaded`, with a `Retry-After`. */
  readonly putOff: number
  /** Neither: an error, or a broken connection. */
  readonly lost: number
  readonly beforeMib: number
  readonly peakMib: number
}

type Outcome = 'served' | 'putOff' | 'lost'

/** What many clients at once do to the memory: large bodies, and lists that nobody reads. */
export async function measureCrowds(bench: Bench): Promise<PartResult> {
  const title = `${LARGE_REQUESTS} requests of ${LARGE_BYTES / 1e6} MB at once`
  const large = await measureBoth(bench, title, sendLarge)
  const idle = await measureBoth(
    bench,
    `${IDLE_CLIENTS} clients that do not read the catalogue`,
    ignoreLists,
  )
  return { tables: [large.table, idle.table], data: { large: large.crowds, idle: idle.crowds } }
}

async function measureBoth(
  bench: Bench,
  title: string,
  act: (target: Target) => Promise<readonly Outcome[]>,
) {
  const { scope, deployment, upstream, reporter } = bench
  reporter.progress(title)
  const { source } = await bench.bundle()
  const names = ['forwarding', 'Switchyard'].map((name) => `${name}, ${title}`)
  const [forwardingName = '', gatewayName = ''] = names
  const crowds: Crowd[] = []
  for (const start of [
    () => startBenchWorker(scope, deployment, upstream, 'forwarding', forwardingName),
    () => startGateway(scope, deployment, upstream, { name: gatewayName, source }),
  ]) {
    const target = await start()
    crowds.push(await measure(target, act))
    await target.stop()
  }
  const table = reporter.table(title, [
    ...['process', 'served', '503 overloaded', 'lost', 'peak before, MiB', 'peak, MiB'],
  ])
  for (const { name, served, putOff, lost, beforeMib, peakMib } of crowds) {
    const [label = ''] = name.split(',')
    table.row(label, `${served}`, `${putOff}`, `${lost}`, whole(beforeMib), whole(peakMib))
  }
  return { table: table.table, crowds }
}

async function measure(
  target: Target,
  act: (target: Target) => Promise<readonly Outcome[]>,
): Promise<Crowd> {
  const memory = () => (target.pid === null ? Number.NaN : peakMemoryMib(target.pid))
  for (let i = 0; i < 20; i += 1) await finish(await post(target.port, bodyOf(100)))
  const beforeMib = memory()
  const outcomes = await act(target)
  const count = (outcome: Outcome) => outcomes.filter((one) => one === outcome).length
  return {
    name: target.name,
    served: count('served'),
    putOff: count('putOff'),
    lost: count('lost'),
    beforeMib,
    peakMib: memory(),
  }
}

function bodyOf(bytes: number): Buffer {
  const content = 'The quick brown fox. '.repeat(Math.ceil(bytes / 21))
  return Buffer.from(JSON.stringify({ model: MODELS.small, messages: [{ role: 'user', content }] }))
}

async function sendLarge({ port }: Target): Promise<readonly Outcome[]> {
  const body = bodyOf(LARGE_BYTES)
  const one = async (): Promise<Outcome> => {
    try {
      const answer = await post(port, body)
      await finish(answer)
      if (answer.statusCode === 200) return 'served'
      return answer.statusCode === 503 && answer.headers['retry-after'] ? 'putOff' : 'lost'
    } catch {
      return 'lost'
    }
  }
  return await Promise.all(Array.from({ length: LARGE_REQUESTS }, one))
}

async function ignoreLists({ port }: Target): Promise<readonly Outcome[]> {
  const answers = await Promise.all(
    Array.from({ length: IDLE_CLIENTS }, () => get(port, 'models').catch(() => null)),
  )
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  for (const answer of answers) answer?.destroy()
  return answers.map((answer) => (answer?.statusCode === 200 ? 'served' : 'lost'))
}
