import OpenAI, { toFile } from 'openai'
import type { Batch, BatchCreateParams } from 'openai/resources/batches'
import { type DemoTarget, type Stage, withTarget } from './demo-run.ts'

export interface BatchDemoOptions {
  /** Without one, the run starts a stack of its own. */
  readonly target?: DemoTarget
  readonly lines: number
  readonly onProgress?: (progress: BatchProgress) => void
  readonly signal?: AbortSignal
}

export interface BatchProgress {
  readonly total: number
  readonly completed: number
  readonly failed: number
}

export interface BatchDemoResult {
  readonly lines: number
  readonly durationMs: number
  readonly completed: number
  /** The statuses of the lines that failed. */
  readonly failures: readonly number[]
  /** How many calls upstream has answered with a fault. */
  readonly faults: number
  readonly costUsd: number
  /** What should not have happened. */
  readonly surprises: readonly string[]
}

/** No retry helps against these, so their lines fail. */
const MISTAKES = ['400', '413', '422', 'moderation-403'] as const
const MISTAKES_EACH = 2
/** The others are tried again, with another key or later. */
const TROUBLES = [
  ...['plain-500', 'plain-502', 'plain-503', 'cut-before-headers', 'provider-429', 'provider-502'],
  ...['408', '529'],
]
const TROUBLES_EACH = 10
/** So that they strike lines here and there, and not one line until its tries are used up. */
const TROUBLE_PROBABILITY = 0.02

const LOOK_EVERY_MS = 500

/**
 * Sends a batch of each API shape through a gateway whose upstream makes trouble, and compares what came of it with the
 * simulator's own books.
 *
 * @throws if the stack does not start, if the target's upstream is not that simulator, or if `signal`
 *   ends the run early
 */
export async function runBatchDemo(options: BatchDemoOptions): Promise<BatchDemoResult> {
  return await withTarget(options.target, (stage) => run(stage, options))
}

/** The API shapes, each with a line that asks something. */
const SHAPES = [
  ['/v1/chat/completions', (text: string) => ({ ...CHAT, max_tokens: 10, messages: asked(text) })],
  ['/v1/responses', (text: string) => ({ ...CHAT, max_output_tokens: 10, input: text })],
  ['/v1/embeddings', (text: string) => ({ model: 'openai/text-embedding-3-small', input: text })],
  ['/v1/messages', (text: string) => ({ ...CHAT, max_tokens: 10, messages: asked(text) })],
] as const
const CHAT = { model: 'openai/gpt-4o-mini' }
const asked = (text: string) => [{ role: 'user', content: text }]

async function run(
  { target, simulator }: Stage,
  { lines, onProgress, signal }: BatchDemoOptions,
): Promise<BatchDemoResult> {
  await simulator.patchSettings({ tokensPerSecond: null })
  const { totalNanos: paidBefore } = await simulator.charges()
  for (const fault of MISTAKES) await simulator.rule({ fault, times: MISTAKES_EACH })
  for (const fault of TROUBLES) {
    await simulator.rule({ fault, times: TROUBLES_EACH, probability: TROUBLE_PROBABILITY })
  }
  const client = new OpenAI({ baseURL: `${target.gatewayUrl}/api/v1`, apiKey: target.token })
  const beganMs = Date.now()
  let batches = await startAll(client, lines)
  for (;;) {
    onProgress?.(progressOf(batches))
    if (batches.every(({ status }) => ENDED.includes(status))) break
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    signal?.throwIfAborted()
    batches = await Promise.all(batches.map(({ id }) => client.batches.retrieve(id)))
  }
  const durationMs = Date.now() - beganMs
  const files = batches.flatMap((batch) => [batch.output_file_id, batch.error_file_id])
  const results = (await Promise.all(files.map((id) => resultsOf(client, id)))).flat()
  const { totalNanos } = await simulator.charges()
  const log = await simulator.log()
  const good = results.filter(({ status }) => status === 200)
  const told = batches.reduce((sum, batch) => sum + costOf(batch), 0)
  return {
    ...{ lines, durationMs, completed: good.length, costUsd: told },
    failures: results.flatMap(({ status }) => (status === 200 ? [] : [status])),
    faults: log.filter(({ status }) => status !== 200).length,
    surprises: surprises(lines, results, {
      counted: progressOf(batches),
      toldNanos: Math.round(told * 1e9),
      paidNanos: totalNanos - paidBefore,
    }),
  }
}

const ENDED: readonly Batch['status'][] = ['completed', 'failed', 'expired', 'cancelled']

/** A batch for each shape, as long as each other. */
async function startAll(client: OpenAI, lines: number): Promise<readonly Batch[]> {
  return await Promise.all(
    SHAPES.map(async ([endpoint, bodyOf], nth) => {
      const requests = Array.from({ length: lines }, (_, i) => i + 1)
        .filter((number) => number % SHAPES.length === nth)
        .map((number) => ({
          ...{ custom_id: `city-${number}`, method: 'POST', url: endpoint },
          body: bodyOf(`What is city ${number} known for?`),
        }))
      const text = requests.map((request) => JSON.stringify(request)).join('\n')
      const file = await toFile(Buffer.from(text))
      const { id } = await client.files.create({ purpose: 'batch', file })
      return await client.batches.create({
        input_file_id: id,
        // `/v1/messages` is not one of OpenAI's.
        endpoint: endpoint as BatchCreateParams['endpoint'],
        completion_window: '24h',
      })
    }),
  )
}

function progressOf(batches: readonly Batch[]): BatchProgress {
  const sum = { total: 0, completed: 0, failed: 0 }
  for (const { request_counts: counts } of batches) {
    sum.total += counts?.total ?? 0
    sum.completed += counts?.completed ?? 0
    sum.failed += counts?.failed ?? 0
  }
  return sum
}

const costOf = (batch: Batch): number =>
  (batch as { switchyard?: { cost_usd?: number } }).switchyard?.cost_usd ?? Number.NaN

interface Result {
  readonly id: string
  /** 0 for a line without an answer. */
  readonly status: number
}

async function resultsOf(client: OpenAI, fileId: string | undefined): Promise<Result[]> {
  if (fileId === undefined) return []
  const text = await (await client.files.content(fileId)).text()
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map(({ custom_id, response }) => ({ id: custom_id, status: response?.status_code ?? 0 }))
}

function surprises(
  lines: number,
  results: readonly Result[],
  {
    counted,
    toldNanos,
    paidNanos,
  }: {
    readonly counted: BatchProgress
    readonly toldNanos: number
    readonly paidNanos: number
  },
): readonly string[] {
  const ids = new Set(results.map(({ id }) => id)).size
  const failed = results.filter(({ status }) => status !== 200).length
  const mistakes = MISTAKES.length * MISTAKES_EACH
  return [
    ...(ids === lines && results.length === lines
      ? []
      : [`${lines} lines have ${results.length} results, of ${ids} lines`]),
    ...(counted.completed + counted.failed === lines && counted.failed === failed
      ? []
      : [`the batches count ${counted.completed} and ${counted.failed} of ${counted.total} lines`]),
    ...(failed === mistakes ? [] : [`${failed} lines failed, and ${mistakes} had to`]),
    ...(toldNanos === paidNanos
      ? []
      : [
          `the batches tell a cost of ${toldNanos / 1e9} USD, and upstream took ${paidNanos / 1e9}`,
        ]),
  ]
}

/** The report of a finished run. */
export function batchResultText(result: BatchDemoResult): string {
  const { lines, durationMs, completed, failures, faults, costUsd } = result
  const counts = Map.groupBy(failures, (status) => status)
  const failed = [...counts].map(([status, each]) => `${each.length} x ${status}`).join(', ')
  const facts = [
    ['lines', `${lines}, in ${(durationMs / 1000).toFixed(1)} s`],
    ['completed', String(completed)],
    ['failed', failed === '' ? 'none' : `${failures.length}: ${failed}, which no retry helps`],
    ['upstream', `answered ${faults} calls with a fault`],
    ['cost', `${costUsd.toFixed(6)} USD, as the simulator’s books have it`],
  ].map(([name = '', text = '']) => `${name.padEnd(9)}  ${text}`)
  const verdict =
    result.surprises.length === 0
      ? ['Each line has one result.']
      : ['What should not have happened:', ...result.surprises.map((each) => `- ${each}`)]
  return [...facts, '', ...verdict].join('\n')
}
