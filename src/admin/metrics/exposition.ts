import { METRICS, type Metric } from './metric-names.ts'

/** The media type of Prometheus' text format. */
export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

type Labels = Readonly<Record<string, string>>

/** What one scrape is told, in Prometheus' text format. */
export interface Exposition {
  /** Adds a value; null is none. A truth is 1 or 0. */
  add(metric: Metric, value: number | boolean | null, labels?: Labels): void
  /** Adds a histogram. `counts` has one more than there are bounds, for all that is above them. */
  addHistogram(metric: Metric, histogram: Histogram, labels: Labels): void
  text(): string
}

interface Histogram {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

/** An exposition that says nothing yet. */
export function createExposition(): Exposition {
  const lines = new Map<Metric, string[]>()
  const push = (metric: Metric, suffix: string, labels: Labels, value: number) => {
    const of = lines.get(metric) ?? []
    lines.set(metric, of)
    of.push(`${metric.name}${suffix}${inBraces(labels)} ${value}`)
  }
  return {
    add(metric, value, labels = {}) {
      if (value !== null) push(metric, '', labels, Number(value))
    },
    addHistogram(metric, { bounds, counts, sum }, labels) {
      let below = 0
      for (const [at, count] of counts.entries()) {
        below += count
        push(metric, '_bucket', { ...labels, le: String(bounds[at] ?? '+Inf') }, below)
      }
      push(metric, '_sum', labels, sum)
      push(metric, '_count', labels, below)
    },
    text() {
      // All lines of a metric stand together, below what it says: readers rely on it.
      const blocks = Object.values(METRICS).flatMap((metric) => {
        const of = lines.get(metric)
        if (of === undefined) return []
        const { name, type, help } = metric
        return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...of]
      })
      return `${blocks.join('\n')}\n`
    },
  }
}

function inBraces(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
