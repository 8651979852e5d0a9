/** Moments, sums and durations as pages show them. Hono escapes every text. */

/**
 * A moment, as UTC. The page's script puts the viewer's own time before it.
 * @param mark `until`: the script adds how long that is from now
 */
export function Moment({ ms, mark = 'at' }: { ms: number; mark?: 'at' | 'until' }) {
  const iso = isoOf(ms)
  if (iso === null) return <span>no end</span>
  return (
    <time datetime={iso} data-mark={mark}>
      {iso.slice(0, 10)} {iso.slice(11, 19)} UTC
    </time>
  )
}

/** A reset may be any number, also one that no calendar holds. */
function isoOf(ms: number): string | null {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

export function usdText(usd: number): string {
  if (usd === 0) return '$0'
  // A cost that is there must not look like none.
  if (Math.abs(usd) < 0.000_05) return '<$0.0001'
  const digits = Math.abs(usd) >= 100 ? 0 : Math.abs(usd) >= 0.995 ? 2 : 4
  return `$${usd.toFixed(digits)}`
}

export function msText(ms: number): string {
  return ms < 1000
    ? `${Math.round(ms)}\u00a0ms`
    : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)}\u00a0s`
}

export function percentText(share: number): string {
  const percent = share * 100
  return percent > 0 && percent < 1 ? '<1\u00a0%' : `${Math.round(percent)}\u00a0%`
}

/** Thousands apart: 12 345. */
export function countText(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(?:\d{3})+$)/g, '\u202f')
}

export function plural(count: number, word: string): string {
  return `${countText(count)} ${word}${count === 1 ? '' : 's'}`
}

/** How much of something is used. It is beside words that say the same. */
export function Bar({ share, label }: { share: number; label: string }) {
  const value = Math.min(1, Math.max(0, share))
  return <meter value={value} low={0.8} high={0.95} optimum={0} aria-label={label} />
}
