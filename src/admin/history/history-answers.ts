import { dateOf } from '../../balancing/accounting/day-usage.ts'
import type { RequestRow } from '../../balancing/accounting/request-row.ts'
import type { Usage } from '../../balancing/settlement.ts'
import type { UsageRow } from '../../key-pool/history/history-protocol.ts'
import { isoTime } from '../client-answers.ts'
import { countersAnswer } from '../counters-answer.ts'
import type { RequestAnswer, UsageRowAnswer } from './history-answer-schemas.ts'

/** The past in the words of the admin API. */

export function requestAnswer(row: RequestRow): RequestAnswer {
  const { clientId, groupId, attempts, attemptsLeftOut, timingsMs, usage } = row
  const { startedAtMs, endedAtMs, ...rest } = row
  const { id, path, route, asked, sent, outcome, status, reason, reasons, streamed } = rest
  return {
    ...{ id, client: clientId, group: groupId, path, route, asked, sent, outcome, status, reason },
    ...{ reasons: { ...reasons }, streamed, degraded: rest.degraded, cache: rest.cache },
    attempts: attempts.map(({ beganMs, waitedMs, tookMs, firstOutputMs, ...attempt }) => ({
      ...attempt,
      ...{
        began_ms: beganMs,
        waited_ms: waitedMs,
        took_ms: tookMs,
        first_output_ms: firstOutputMs,
      },
    })),
    attempts_left_out: attemptsLeftOut,
    timings_ms: { ...timingsMs },
    usage: usage === null ? null : usageAnswer(usage),
    started_at: isoTime(startedAtMs),
    ended_at: isoTime(endedAtMs),
  }
}

function usageAnswer({ estimated, ...usage }: Usage) {
  const { cachedTokens, reasoningTokens, costUsd } = usage
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    ...{ cached_tokens: cachedTokens, reasoning_tokens: reasoningTokens, cost_usd: costUsd },
    estimated,
  }
}

export function usageRowAnswer({ day, name, counters }: UsageRow): UsageRowAnswer {
  return { date: dateOf(day), name, ...countersAnswer(counters) }
}

const COLUMNS = [
  ...(['date', 'name', 'attempts', 'successes', 'failures', 'ignored', 'prompt_tokens'] as const),
  ...(['completion_tokens', 'cached_tokens', 'reasoning_tokens', 'cost_usd'] as const),
  ...(['estimated', 'estimated_usd'] as const),
]

/** The first line of the CSV. @param by what the names are of */
export function csvHead(by: string): string {
  return `${COLUMNS.map((column) => (column === 'name' ? by : column)).join(',')}\r\n`
}

/** A line of CSV, by RFC 4180. */
export function csvLine(row: UsageRowAnswer): string {
  return `${COLUMNS.map((column) => cell(row[column])).join(',')}\r\n`
}

/**
 * A cell. A spreadsheet takes a text for a formula that begins with one of these, and callers name
 * models: a quote in front makes it a text. A cost is written without an exponent.
 */
function cell(value: string | number): string {
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : decimal(value)
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

const decimal = (value: number) => value.toFixed(12).replace(/\.?0+$/, '')
