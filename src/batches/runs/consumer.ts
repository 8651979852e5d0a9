import { createTurns } from '../../gateway/leases/turns.ts'
import type { Ports } from '../../gateway/ports.ts'
import { type Gateway, gatewayOf } from '../../http/composition-root.ts'
import { logBug } from '../../http/log.ts'
import { API_SHAPES } from '../../openrouter/shapes/shape-registry.ts'
import { type BatchBindings, batchBindingsOf } from '../bindings.ts'
import { shapePath } from '../files/batch-endpoint.ts'
import { linesOf } from '../files/batch-lines.ts'
import { readBytes } from '../files/bucket.ts'
import { batchObjectName, fileKey } from '../files/stored-file.ts'
import { type ClaimReply, requestIdOf } from '../progress/batch-host.ts'
import type { RangeMessage } from '../progress/range-message.ts'
import { runLine } from './line-run.ts'
import { type Job, type RangePorts, RangeRun } from './range-run.ts'

/**
 * An invocation may have six connections that wait for headers. Four of them are for OpenRouter: a line's
 * call, and the lookups and lists of prices that come with it. The others are for the pool, the batch's
 * object and KV.
 */
export const MAX_CALLS = 4

/** A message that could not be dealt with comes again after this time, in seconds. */
const AGAIN_S = 30

/** What carries the lines of one invocation. */
interface Carrier {
  readonly bindings: BatchBindings
  readonly gateway: Gateway
  readonly ports: Ports
  readonly background: (work: Promise<unknown>) => void
}

/**
 * The queue's consumer. A message only says where to look: what may run, the batch's object says. So a
 * message that is late, doubled or out of order does nothing, and one that is lost is sent again.
 */
export async function consumeRanges(
  batch: MessageBatch<RangeMessage>,
  env: Env,
  context: ExecutionContext,
  ports: Ports,
): Promise<void> {
  const bindings = batchBindingsOf(env)
  const result = gatewayOf(env, ports)
  if (bindings === null || !result.ok) return batch.retryAll({ delaySeconds: AGAIN_S })
  const background = (work: Promise<unknown>) => context.waitUntil(work)
  const carrier = { bindings, background, ...withFewCalls(result.gateway) }
  for (const message of batch.messages) {
    try {
      await runRange(message.body, carrier)
      message.ack()
    } catch (error) {
      logBug(undefined, error)
      message.retry({ delaySeconds: AGAIN_S })
    }
  }
}

/** The gateway and the ports of its journeys, whose lookups and upstream calls share a few places. */
function withFewCalls(gateway: Gateway): Pick<Carrier, 'gateway' | 'ports'> {
  const inTurn = createTurns(MAX_CALLS)
  const { ports } = gateway
  const fetchInTurn: Ports['fetch'] = (url, init) => inTurn(() => ports.fetch(url, init))
  return {
    gateway: { ...gateway, ports: { ...ports, fetch: fetchInTurn } },
    // An upstream call takes its turn itself: the clock of its headers begins with it.
    ports: { ...ports, inTurn },
  }
}

async function runRange({ batchId, rangeId }: RangeMessage, carrier: Carrier): Promise<void> {
  const { bindings, gateway, ports, background } = carrier
  const object = () => bindings.BATCHES.getByName(batchObjectName(batchId))
  const token = ports.uniqueId()
  const claim = await object().claim(rangeId, token)
  const shape = claim && API_SHAPES.find(({ path }) => path === shapePath(claim.endpoint))
  if (!claim || !shape) return
  const client = claim.clientId
  const context = {
    ...{ gateway, ports, shape, client, background },
    requestIdOf: (line: number) => requestIdOf({ id: batchId }, line),
  }
  const giveBack: RangePorts['giveBack'] = async (after) =>
    await object().giveBack(rangeId, token, after)
  let jobs: readonly Job[]
  try {
    jobs = await jobsOf(bindings, claim)
  } catch (trouble) {
    // No line is to blame. A claim that is left to die would count against them.
    await giveBack({ tries: new Map(), delayMs: AGAIN_S * 1000 })
    throw trouble
  }
  const run = new RangeRun(jobs, {
    nowMs: ports.nowMs,
    random: ports.random,
    wait: (ms) => new Promise((resolve) => void ports.timer(ms, resolve)),
    runLine: (line) => runLine(context, line),
    renew: async () => await object().renew(rangeId, token),
    record: async (line, lineResult) => await object().record(rangeId, line, lineResult, token),
    giveBack,
  })
  await run.run()
}

/** The lines of a claim that have no result yet. */
async function jobsOf({ FILES }: BatchBindings, claim: ClaimReply) {
  const { range, lines, clientId, inputFileId } = claim
  const bytes = await readBytes(FILES, fileKey(clientId, inputFileId), range)
  // A file that a batch reads is kept, so this is the bucket's trouble.
  if (bytes === null) throw new Error('The input file is not there')
  const tries = new Map(lines.map(({ line, tries: count }) => [line, count]))
  return linesOf(bytes, range.firstRequest).flatMap((line) => {
    const count = tries.get(line.line)
    return count === undefined ? [] : [{ line, tries: count }]
  })
}
