import { median } from '../statistics.ts'
import { calibrationStep } from './calibration.ts'

/** What a step takes. */
export interface Timing {
  /** Median of the rounds, in microseconds. */
  readonly stepUs: number
  /** Steps of the calibrating loop that take as long; median of the rounds. */
  readonly loops: number
}

export interface Pace {
  /** For how long a step is done before it is timed, so that V8 has optimized it. Milliseconds. */
  readonly warmUpMs: number
  readonly rounds: number
  /** Least that one round takes, in milliseconds. */
  readonly roundMs: number
}

const CALIBRATION_MS = 5

/** Times a step over and over, each round beside one of the calibrating loop. */
export function timeStep(step: (i: number) => void, { warmUpMs, rounds, roundMs }: Pace): Timing {
  averageUs(step, warmUpMs)
  const stepsUs: number[] = []
  const loops: number[] = []
  for (let round = 0; round < rounds; round++) {
    const loopUs = averageUs(calibrationStep, CALIBRATION_MS)
    const stepUs = averageUs(step, roundMs)
    stepsUs.push(stepUs)
    loops.push(stepUs / loopUs)
  }
  return { stepUs: median(stepsUs), loops: median(loops) }
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
