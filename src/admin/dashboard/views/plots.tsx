/** Plots as SVG: no script draws them, and a table beside each says the same in numbers. */

/** One minute of a plot. */
export interface Point {
  readonly value: number
  /** A part of the value that is drawn in another colour, from the top. */
  readonly bad?: number
}

interface Plotted {
  readonly id: string
  readonly title: string
  readonly points: readonly Point[]
  /** How a value is written. */
  readonly text: (value: number) => string
}

const WIDTH = 600
const HEIGHT = 90

/** Bars, one a minute, the oldest at the left. */
export function BarPlot({ id, title, points, text }: Plotted) {
  const most = Math.max(...points.map(({ value }) => value), 0)
  const slot = WIDTH / Math.max(1, points.length)
  const height = (value: number) => (most === 0 ? 0 : (value / most) * HEIGHT)
  const path = (parts: readonly (readonly [number, number])[]) =>
    parts
      .map(([from, to], i) =>
        to <= from
          ? ''
          : `M${(i * slot + 0.5).toFixed(1)} ${(HEIGHT - height(from)).toFixed(1)}h${(slot - 1).toFixed(1)}V${(HEIGHT - height(to)).toFixed(1)}h-${(slot - 1).toFixed(1)}z`,
      )
      .join('')
  return (
    <figure>
      <figcaption id={`${id}-title`}>
        {title} <small>at most {text(most)} a minute</small>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-labelledby={`${id}-title`}
      >
        <title>{title}</title>
        <path class="good" d={path(points.map(({ value, bad = 0 }) => [0, value - bad]))} />
        <path class="bad" d={path(points.map(({ value, bad = 0 }) => [value - bad, value]))} />
        <path class="axis" d={`M0 ${HEIGHT - 0.5}h${WIDTH}`} />
      </svg>
      <div class="axis-words" aria-hidden="true">
        <span>60 min ago</span>
        <span>now</span>
      </div>
    </figure>
  )
}
