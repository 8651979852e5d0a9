import { parseArgs } from 'node:util'
import { type BatchProgress, batchResultText, runBatchDemo } from './demo-batch.ts'
import { type DemoOptions, type DemoProgress, runDemo } from './demo-run.ts'
import { progressBar, progressLine, resultText } from './demo-text.ts'
import { faultyStart, localBindings, localFaults } from './local-configuration.ts'
import { DEMO_TOKEN, simulatedEnvironment } from './stack.ts'
import { repositoryPath } from './wrangler-dev.ts'

const USAGE = `usage: npm run demo -- [options]

Sends requests through a gateway while the simulator behind it revokes, spends, limits and cuts.
Without --url and --control it starts both itself, and stops them in the end.

  --url <url>         a running gateway; npm start prints it
  --control <url>     the control API of the simulator behind it; npm start prints it too
  --token <token>     a client key of that gateway (default: the one that npm start gives it)
  --requests <n>      how many, from 40 to 1000 (default: 300)
  --concurrency <n>   how many at a time, from 1 to 50 (default: 12)
  --batch             sends batches of four API shapes instead (docs/batches.md)
  --lines <n>         how many lines they have together, from 100 to 50000 (default: 1000)`

/** Without a terminal, progress is one line after so many requests. */
const LINE_EVERY = 50

const clearLine = process.stdout.isTTY ? '\r\x1b[K' : ''

async function main(): Promise<void> {
  const options = readOptions()
  if (options === null) {
    console.error(USAGE)
    process.exitCode = 2
    return
  }
  if (options.target === undefined) {
    const faults = await localFaults(localBindings(repositoryPath, simulatedEnvironment()))
    if (faults.length > 0) {
      console.error(faultyStart(faults))
      process.exitCode = 1
      return
    }
    console.log('Starting the simulator and a gateway.')
  }
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interruption.abort())
  }
  try {
    process.exitCode = (await play(options, interruption.signal)) ? 0 : 1
  } catch (error) {
    console.error(
      interruption.signal.aborted ? `${clearLine}Interrupted.` : clearLine + described(error),
    )
    process.exitCode = interruption.signal.aborted ? 130 : 1
  }
}

/** @returns whether all went as it should */
async function play(options: Options, signal: AbortSignal): Promise<boolean> {
  if (options.isBatch) {
    const target = options.target === undefined ? {} : { target: options.target }
    const result = await runBatchDemo({
      ...{ ...target, lines: options.lines, signal },
      onProgress: showBatch,
    })
    console.log(`${clearLine}\n${batchResultText(result)}`)
    return result.surprises.length === 0
  }
  const result = await runDemo({ ...options, onProgress: show, signal })
  console.log(`${clearLine}\n${resultText(result)}`)
  return result.surprises.length === 0
}

interface Options extends DemoOptions {
  readonly isBatch: boolean
  /** Of all batches. */
  readonly lines: number
}

function readOptions(): Options | null {
  const string = { type: 'string' } as const
  try {
    const { values } = parseArgs({
      options: {
        url: string,
        control: string,
        token: string,
        requests: { ...string, default: '300' },
        concurrency: { ...string, default: '12' },
        batch: { type: 'boolean', default: false },
        lines: { ...string, default: '1000' },
      },
    })
    const requests = wholeNumber(values.requests, 40, 1000)
    const concurrency = wholeNumber(values.concurrency, 1, 50)
    const lines = wholeNumber(values.lines, 100, 50_000)
    if (requests === null || concurrency === null || lines === null) return null
    const { url, control, token = DEMO_TOKEN, batch: isBatch } = values
    if (url === undefined && control === undefined) return { requests, concurrency, isBatch, lines }
    if (url === undefined || control === undefined) return null
    const target = { gatewayUrl: new URL(url).origin, controlUrl: new URL(control).origin, token }
    return { target, requests, concurrency, isBatch, lines }
  } catch {
    return null
  }
}

/** One sentence. If a fetch failed, only the cause says why. */
function described(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const reason = error.cause instanceof Error ? error.cause.message || error.cause.name : ''
  return error.message === 'fetch failed' ? `${error.message}: ${reason}` : error.message
}

function wholeNumber(text: string, min: number, max: number): number | null {
  const number = Number(text)
  return Number.isInteger(number) && number >= min && number <= max ? number : null
}

function show(progress: DemoProgress): void {
  const done = progress.answered + progress.failed
  if (process.stdout.isTTY) {
    process.stdout.write(`${clearLine}${progressLine(progress, process.stdout.columns)}`)
  } else if (progress.isNew) {
    console.log(`${String(done).padStart(4)} done  the simulator ${progress.trouble}`)
  } else if (done % LINE_EVERY === 0) {
    console.log(`${String(done).padStart(4)} done  ${progress.failed} failed`)
  }
}

let printed = 0

function showBatch({ total, completed, failed }: BatchProgress): void {
  const done = completed + failed
  const line = `${progressBar(done, total)} ${done}/${total} lines, ${failed} failed`
  if (process.stdout.isTTY) return void process.stdout.write(`${clearLine}${line}`)
  if (done - printed < LINE_EVERY && done < total) return
  printed = done
  console.log(line)
}

await main()
