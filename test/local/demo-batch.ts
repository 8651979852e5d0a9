import OpenAI, { toFile } from 'openai'
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
const MISTAKES = ['400', '422', 'moderation-403'] as const
const MISTAKES_EACH = 2
/** The others are tried again, with another key or later. */
const TROUBLES = ['plain-500', 'plain-502', 'cut-before-headers', 'provider-429', '408', '529']
const TROUBLES_EACH = 10

const LOOK_EVERY_MS = 500

/**
 * Sends one batch through a gateway whose upstream makes trouble, and compares what came of it with the
 * simulator's own books.
 *
 * @throws if the stack does not start, if the target's upstream is not that simulator, or if `signal`
 *   ends the run early
 */
export async function runBatchDemo(options: BatchDemoOptions): Promise<BatchDemoResult> {
  return await withTarget(options.target, (stage) => run(stage, options))
}

async function run(
  { target, simulator }: Stage,
  { lines, onProgress, signal }: BatchDemoOptions,
): Promise<BatchDemoResult> {
  await simulator.patchSettings({ tokensPerSecond: null })
  const { totalNanos: paidBefore } = await simulator.charges()
  for (const fault of MISTAKES) await simulator.rule({ fault, times: MISTAKES_EACH })
  for (const fault of TROUBLES) await simulator.rule({ fault, times: TROUBLES_EACH })
  const client = new OpenAI({ baseURL: `${target.gatewayUrl}/api/v1`, apiKey: target.token })
  const beganMs = Date.now()
  const file = await client.files.create({ purpose: 'batch', file: await toFile(input(lines)) })
  let batch = await client.batches.create({
    input_file_id: file.id,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
  })
  for (;;) {
    const { total = 0, completed = 0, failed = 0 } = batch.request_counts ?? {}
    onProgress?.({ total, completed, failed })
    if (batch.completed_at !== undefined || batch.status === 'failed') break
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    signal?.throwIfAborted()
    batch = await client.batches.retrieve(batch.id)
  }
  const durationMs = Date.now() - beganMs
  const results = [
    ...(await resultsOf(client, batch.output_file_id)),
    ...(await resultsOf(client, batch.error_file_id)),
  ]
  const { totalNanos } = await simulator.charges()
  const log = await simulator.log()
  const good = results.filter(({ status }) => status === 200)
  const told = (batch as { switchyard?: { cost_usd?: number } }).switchyard?.cost_usd ?? Number.NaN
  return {
    ...{ lines, durationMs, completed: good.length, costUsd: told },
    failures: results.flatMap(({ status }) => (status === 200 ? [] : [status])),
    faults: log.filter(({ status }) => status !== 200).length,
    surprises: surprises(lines, results, {
      toldNanos: Math.round(told * 1e9),
      paidNanos: totalNanos - paidBefore,
    }),
  }
}

function input(lines: number): Buffer {
  const requests = Array.from({ length: lines }, (_, i) => ({
    custom_id: `city-${i + 1}`,
    method: 'POST',
    url: '/v1/chat/completions',
    body: {
      model: 'openai/gpt-4o-mini',
      max_tokens: 10,
      messages: [{ role: 'user', content: `What is city ${i + 1} known for?` }],
    },
  }))
  return Buffer.from(requests.map((request) => JSON.stringify(request)).join('\n'))
}

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
  { toldNanos, paidNanos }: { readonly toldNanos: number; readonly paidNanos: number },
): readonly string[] {
  const ids = new Set(results.map(({ id }) => id)).size
  const failed = results.filter(({ status }) => status !== 200).length
  const mistakes = MISTAKES.length * MISTAKES_EACH
  return [
    ...(ids === lines && results.length === lines
      ? []
      : [`${lines} lines have ${results.length} results, of ${ids} lines`]),
    ...(failed === mistakes ? [] : [`${failed} lines failed, and ${mistakes} had to`]),
    ...(toldNanos === paidNanos
      ? []
      : [`the batch tells a cost of ${toldNanos / 1e9} USD, and upstream took ${paidNanos / 1e9}`]),
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
