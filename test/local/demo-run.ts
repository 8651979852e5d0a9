import { type SimulatorControl, simulatorControl } from '../simulator/client.ts'
import { demoClient, type Sent, send, titleOf } from './demo-request.ts'
import { type DemoResult, demoResult } from './demo-result.ts'
import { PACING, TROUBLES, type Trouble } from './demo-troubles.ts'
import { DEMO_TOKEN, startStack } from './stack.ts'

/** A running gateway with the simulator as its upstream. */
export interface DemoTarget {
  readonly gatewayUrl: string
  /** The simulator's origin, or its control API. */
  readonly controlUrl: string
  /** A client key of the gateway. */
  readonly token: string
}

export interface DemoOptions {
  /** Without a target the run starts its own stack and stops it at the end. */
  readonly target?: DemoTarget
  readonly requests: number
  /** How many requests are in flight at a time. */
  readonly concurrency: number
  readonly onProgress?: (progress: DemoProgress) => void
  /** Ends the run early and restores the simulator's world. */
  readonly signal?: AbortSignal
}

export interface DemoProgress {
  readonly requests: number
  readonly sent: number
  readonly answered: number
  readonly failed: number
  /** The simulator's last trouble. */
  readonly trouble: string
  /** Whether that trouble has just begun. */
  readonly isNew: boolean
}

/**
 * Sends requests through a gateway while the simulator behind it makes trouble, and reports what
 * the clients noticed.
 *
 * @throws if the stack does not start, if the target's upstream is not that simulator, or if
 *   `signal` ends the run early
 */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  return await withTarget(options.target, (stage) => run(stage, options))
}

/** Where a demo plays. */
export interface Stage {
  readonly target: DemoTarget
  readonly simulator: SimulatorControl
  /** The gateway's log; null if somebody else has started it. */
  readonly gatewayLog: (() => string) | null
}

/**
 * Without a target, starts a stack and stops it at the end. Of a running one the simulator has its default
 * world meanwhile, since the troubles name its keys, and then its old one.
 */
export async function withTarget<Result>(
  target: DemoTarget | undefined,
  play: (stage: Stage) => Promise<Result>,
): Promise<Result> {
  if (target !== undefined) {
    const simulator = simulatorControl(target.controlUrl)
    const before = await simulator.world()
    await simulator.reset()
    try {
      await assertTalksToSimulator(target, simulator)
      return await play({ target, simulator, gatewayLog: null })
    } finally {
      await simulator.reset(before)
    }
  }
  const stack = await startStack()
  try {
    const { gatewayUrl, simulatorUrl } = stack
    const own = { gatewayUrl, controlUrl: simulatorUrl, token: DEMO_TOKEN }
    const simulator = simulatorControl(own.controlUrl)
    await assertTalksToSimulator(own, simulator)
    return await play({ target: own, simulator, gatewayLog: () => stack.logs().gateway })
  } finally {
    await stack.stop()
  }
}

async function run(
  { target, simulator, gatewayLog }: Stage,
  options: DemoOptions,
): Promise<DemoResult> {
  await simulator.patchSettings(PACING)
  const beganMs = Date.now()
  const sent = await sendAll(target, simulator, options)
  options.signal?.throwIfAborted()
  const durationMs = Date.now() - beganMs
  const { log } = await simulator.waitFor(({ stats }) => stats.openNow === 0)
  const { keys } = await simulator.world()
  return demoResult({ sent, durationMs, keys, log, gatewayLog: gatewayLog?.() ?? null })
}

/** Asks for a model that only the simulator has, so a gateway with real keys spends nothing. */
async function assertTalksToSimulator(
  { gatewayUrl, token }: DemoTarget,
  simulator: SimulatorControl,
): Promise<void> {
  const client = demoClient(gatewayUrl, token)
  const options = { headers: { 'x-title': titleOf(0) } }
  const messages = [{ role: 'user' as const, content: 'Hello' }]
  const failure = await client.chat.completions
    .create({ model: 'sim/ok', messages, max_tokens: 1 }, options)
    .then(
      () => null,
      (error: unknown) => String(error),
    )
  const log = await simulator.log()
  if (failure === null && log.some(({ headers }) => headers['x-title'] === titleOf(0))) return
  const trouble = failure ?? 'it answered, but not from that simulator'
  throw new Error(`${gatewayUrl} is no gateway in front of that simulator: ${trouble}`)
}

/** Sends all requests, `concurrency` at a time, and begins each trouble at its point of the run. */
async function sendAll(
  { gatewayUrl, token }: DemoTarget,
  simulator: SimulatorControl,
  options: DemoOptions,
): Promise<Sent[]> {
  const { requests, concurrency } = options
  const client = demoClient(gatewayUrl, token)
  const results: Sent[] = []
  let begun = 0
  let trouble = 'leaves everything well'
  const report = (isNew: boolean) => {
    const answered = results.filter(({ outcome }) => outcome === 'answered').length
    const failed = results.length - answered
    options.onProgress?.({ requests, sent: begun, answered, failed, trouble, isNew })
  }
  const due = new Map<number, Trouble>(
    TROUBLES.map((next) => [Math.ceil(next.after * requests), next]),
  )
  const worker = async () => {
    while (begun < requests && !options.signal?.aborted) {
      begun += 1
      const number = begun
      const next = due.get(number)
      if (next !== undefined) {
        await next.begin(simulator)
        trouble = next.what
        report(true)
      }
      const result = await send(client, number, number % 2 === 0, options.signal)
      if (result === null) return
      results.push(result)
      report(false)
    }
  }
  report(true)
  await Promise.all(Array.from({ length: concurrency }, worker))
  return results.toSorted((a, b) => a.number - b.number)
}
