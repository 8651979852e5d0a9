import type { DemoKey, DemoRefusal, DemoResult } from './demo-result.ts'
import type { DemoProgress } from './demo-run.ts'

const BAR_WIDTH = 24

export function progressBar(done: number, all: number): string {
  return `[${'#'.repeat(Math.round((done / all) * BAR_WIDTH)).padEnd(BAR_WIDTH, '.')}]`
}

/** The progress as one line, cut to the width of the terminal, which overwrites it each time. */
export function progressLine(progress: DemoProgress, columns: number): string {
  const { requests, sent, answered, failed, trouble } = progress
  const done = answered + failed
  const line = `${progressBar(done, requests)} ${done}/${requests}, ${sent - done} in flight, ${failed} failed; the simulator ${trouble}`
  return line.slice(0, columns - 1)
}

/** The report of a finished run. */
export function resultText(result: DemoResult): string {
  const { requests, streamed, answered, attempts, rescued, failures, acquireMs } = result
  const seconds = (result.durationMs / 1000).toFixed(1)
  const facts: [string, string][] = [
    ['requests', `${requests}, ${streamed} of them streamed, in ${seconds} s`],
    ['answered', `${answered}, of which ${rescued} only after a failed attempt that no client saw`],
    ['failed', failures.length === 0 ? 'none' : `${failures.length}: ${failureText(result)}`],
    ['upstream attempts', String(attempts)],
    [
      'choosing keys',
      `p50 ${acquireMs.p50} ms, p95 ${acquireMs.p95} ms per request (server-timing)`,
    ],
  ]
  const width = Math.max(...facts.map(([name]) => name.length))
  const lines = facts.map(([name, text]) => `${name.padEnd(width)}  ${text}`)
  return [...lines, '', ...keyTable(result.keys), '', ...verdict(result)].join('\n')
}

function failureText({ failures }: DemoResult): string {
  const cut = failures.filter(({ unavoidable }) => unavoidable)
  const cutText = `cut after their first output, which nothing can hide: one error event each (${cut[0]?.reason})`
  const others = failures
    .filter(({ unavoidable }) => !unavoidable)
    .map(({ number, reason }) => `request ${number} ${reason}`)
  return [...(cut.length > 0 ? [`${cut.length} ${cutText}`] : []), ...others].join('; ')
}

function keyTable(keys: readonly DemoKey[]): string[] {
  const rows = [HEADER, ...keys.flatMap(keyRows)]
  const widths = HEADER.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

const HEADER = [
  ...['key', 'account', 'served', 'refused or cut', "fault, by the gateway's log"],
  'then passed over for',
]

/** One row for each kind of refusal of the key, or one row if there was none. */
function keyRows({ key, account, served, refusals, passedOver }: DemoKey): string[][] {
  const [first, ...others] = refusals.map(refusalCells)
  const rest = passedOver > 0 ? `${passedOver} attempt${passedOver === 1 ? '' : 's'}` : ''

  return [
    [key, account, String(served), ...(first ?? ['none', '']), rest],
    ...others.map((cells) => ['', '', '', ...cells]),
  ]
}

function refusalCells({ times, status, error, blamed }: DemoRefusal): string[] {
  const words = new Set([status === null ? 'no answer' : String(status), error])
  return [`${times} x ${[...words].join(' ')}`, blamed ?? '(not read)']
}

function verdict({ surprises }: DemoResult): string[] {
  if (surprises.length === 0)
    return ['Nothing reached a client that the gateway should have hidden.']
  return ['What should not have happened:', ...surprises.map((surprise) => `- ${surprise}`)]
}
