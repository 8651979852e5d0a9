import type { Ports } from './ports.ts'

/**
 * How often the platform's timer looks at those that are due. A request that has ended before costs one
 * timer of the platform, whatever clocks it had.
 */
const LOOK_MS = 1_000

interface Alarm {
  readonly atMs: number
  readonly callback: () => void
}

/**
 * The same ports for one request, whose timers share one of the platform's. A request sets four or five
 * and cancels them after milliseconds, and each costs as much at the platform as reading the body.
 */
export function withOneTimer(ports: Ports): Ports {
  const alarms = new Set<Alarm>()
  let lookAtMs = Number.POSITIVE_INFINITY
  let cancelLook = (): void => undefined

  const lookBy = (atMs: number, nowMs: number) => {
    const nextMs = Math.min(atMs, nowMs + LOOK_MS)
    if (nextMs >= lookAtMs) return
    cancelLook()
    lookAtMs = nextMs
    cancelLook = ports.timer(nextMs - nowMs, look)
  }
  const look = () => {
    // The clock may be a little behind the timer.
    const nowMs = Math.max(lookAtMs, ports.nowMs())
    lookAtMs = Number.POSITIVE_INFINITY
    const due = [...alarms].filter(({ atMs }) => atMs <= nowMs).sort((a, b) => a.atMs - b.atMs)
    const next = Math.min(...[...alarms].map(({ atMs }) => atMs).filter((atMs) => atMs > nowMs))
    if (next < Number.POSITIVE_INFINITY) lookBy(next, nowMs)
    for (const alarm of due) {
      // One that is due may cancel another.
      if (alarms.delete(alarm)) alarm.callback()
    }
  }
  return {
    ...ports,
    timer(ms, callback) {
      const nowMs = ports.nowMs()
      const alarm = { atMs: nowMs + ms, callback }
      alarms.add(alarm)
      lookBy(alarm.atMs, nowMs)
      return () => void alarms.delete(alarm)
    },
  }
}
