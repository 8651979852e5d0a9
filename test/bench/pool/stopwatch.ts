import { median } from '../statistics.ts'
import { calibrationStep } from './calibration.ts'

/** What a step takes. */
export interface Timing {
  /** Median of the rounds that count, in microseconds. */
  readonly stepUs: number
  /** Steps of the calibrating loop that take as long; median of the same rounds. */
  readonly loops: number
}

export interface Pace {
  /** For how long a step is done before it is timed, so that V8 has optimized it. Milliseconds. */
  readonly warmUpMs: number
  /** How many rounds count. */
  readonly rounds: number
  /** Least that one round takes, in milliseconds. */
  readonly roundMs: number
}

const CALIBRATION_MS = 5

/**
 * Of so many times the rounds that count, those do in which the calibrating loop was fastest, before and
 * after: a machine that is shared is slow for a while, and then the loop is slow too.
 */
const TRIES = 3

interface Round {
  readonly stepUs: number
  /** The slower of two runs of the calibrating loop. */
  readonly loopUs: number
}

/** Times a step over and over, each round between two of the calibrating loop. */
export function timeStep(step: (i: number) => void, { warmUpMs, rounds, roundMs }: Pace): Timing {
  averageUs(step, warmUpMs)
  averageUs(calibrationStep, warmUpMs / 10)
  const all = Array.from({ length: TRIES * rounds }, (): Round => {
    const before = averageUs(calibrationStep, CALIBRATION_MS)
    const stepUs = averageUs(step, roundMs)
    return { stepUs, loopUs: Math.max(before, averageUs(calibrationStep, CALIBRATION_MS)) }
  })
  const undisturbed = all.toSorted((a, b) => a.loopUs - b.loopUs).slice(0, rounds)
  return {
    stepUs: median(undisturbed.map(({ stepUs }) => stepUs)),
    loops: median(undisturbed.map(({ stepUs, loopUs }) => stepUs / loopUs)),
  }
}

/**
 * Processor time and not that of a clock: what else runs on a machine must not count.
 * @param atLeastMs how long it is done again, in milliseconds
 * @returns microseconds per step
 */
export function averageUs(step: (i: number) => void, atLeastMs: number): number {
  const beganMs = performance.now()
  const before = process.cpuUsage()
  let done = 0
  // The clock is asked rarely, since asking takes as long as some steps.
  for (let batch = 1; performance.now() - beganMs < atLeastMs; batch = Math.min(batch * 2, 1_024)) {
    for (let i = 0; i < batch; i++) step(done + i)
    done += batch
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / done
}
