import type { MinuteCounters } from '../../../balancing/accounting/recent-minutes.ts'
import type { HistoryReply } from '../../../key-pool/history/history-protocol.ts'
import { Head } from './layout.tsx'
import { BarPlot, type Point } from './plots.tsx'
import { countText, msText, percentText } from './quantities.tsx'

const MINUTES = 60

/** The last hour: how much, how fast, how much of it failed, and which keys it went to. */
export function Traffic({ history }: { history: HistoryReply | null }) {
  if (history === null || history.minutes.length === 0) {
    return (
      <p id="plots" class="empty">
        No attempt was made in the last hour.
      </p>
    )
  }
  const { minute: last, minutes } = history
  const byMinute = new Map(minutes.map(({ minute, all }) => [minute, all]))
  const pointsOf = (point: (counters: MinuteCounters) => Point): Point[] =>
    Array.from({ length: MINUTES }, (_, i) => {
      const counters = byMinute.get(last - MINUTES + 1 + i)
      return counters === undefined ? { value: 0 } : point(counters)
    })
  return (
    <div id="plots" class="plots">
      <BarPlot
        id="attempts"
        title="Attempts, failed ones on top"
        points={pointsOf((all) => ({ value: all.attempts, bad: all.attempts - all.successes }))}
        text={countText}
      />
      <BarPlot
        id="first-output"
        title="Time to first output"
        points={pointsOf(({ firstOutputs, firstOutputMs }) => ({
          value: firstOutputs === 0 ? 0 : firstOutputMs / firstOutputs,
        }))}
        text={msText}
      />
      <BarPlot
        id="error-rate"
        title="Share that failed"
        points={pointsOf(({ attempts, successes }) => {
          const share = attempts === 0 ? 0 : 1 - successes / attempts
          return { value: share, bad: share }
        })}
        text={percentText}
      />
      <HourTable history={history} />
    </div>
  )
}

interface Sums {
  attempts: number
  successes: number
  firstOutputs: number
  firstOutputMs: number
}

/** More of them say nothing at a glance. */
const MAX_KEYS = 12

/** The same in numbers, by key, with each key's share. */
function HourTable({ history: { minutes } }: { history: HistoryReply }) {
  const byKey = new Map<string, Sums>()
  const all = noSums()
  for (const minute of minutes) {
    add(all, minute.all)
    for (const { keyId, counters } of minute.keys) {
      const sums = byKey.get(keyId) ?? noSums()
      byKey.set(keyId, sums)
      add(sums, counters)
    }
  }
  const busiest = [...byKey].toSorted(([, a], [, b]) => b.attempts - a.attempts)
  return (
    <table>
      <Head of={['Last hour', 'Share', 'Attempts', 'Failed', 'First output']} />
      <tbody>
        <HourRow name="all keys" sums={all} of={all} />
        {busiest.slice(0, MAX_KEYS).map(([name, sums]) => (
          <HourRow name={name} sums={sums} of={all} />
        ))}
      </tbody>
    </table>
  )
}

function HourRow({ name, sums, of }: { name: string; sums: Sums; of: Sums }) {
  const { attempts, successes, firstOutputs, firstOutputMs } = sums
  return (
    <tr>
      <th scope="row">{name}</th>
      <td data-label="Share">{of.attempts === 0 ? '–' : percentText(attempts / of.attempts)}</td>
      <td data-label="Attempts">{countText(attempts)}</td>
      <td data-label="Failed">{attempts === 0 ? '–' : percentText(1 - successes / attempts)}</td>
      <td data-label="First output">
        {firstOutputs === 0 ? '–' : msText(firstOutputMs / firstOutputs)}
      </td>
    </tr>
  )
}

function noSums(): Sums {
  return { attempts: 0, successes: 0, firstOutputs: 0, firstOutputMs: 0 }
}

function add(sums: Sums, { attempts, successes, firstOutputs, firstOutputMs }: MinuteCounters) {
  sums.attempts += attempts
  sums.successes += successes
  sums.firstOutputs += firstOutputs
  sums.firstOutputMs += firstOutputMs
}
