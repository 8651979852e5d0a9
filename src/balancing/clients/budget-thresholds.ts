import { type Budget, limitNanos } from './budget.ts'

/** The shares that are told of, in percent. */
export const THRESHOLDS = [100, 80, 50] as const
export type Threshold = (typeof THRESHOLDS)[number]

/** A correction of an estimate takes a little back. That ends nothing. */
const SLACK_PERCENT = 2

/** The thresholds that a share has passed, the highest first. */
export function thresholdsAt(percent: number, from: number): readonly Threshold[] {
  return THRESHOLDS.filter((threshold) => threshold >= from && percent >= threshold)
}

function spentPercent(budget: Budget, nowMs: number): number {
  const limit = limitNanos(budget, nowMs)
  return limit === 0 ? 100 : (100 * budget.spentNanos) / limit
}

/** The threshold that the spend has newly passed; each is told once in a period. */
export function takeThreshold(budget: Budget, nowMs: number): Threshold | null {
  const [passed] = thresholdsAt(spentPercent(budget, nowMs), 0)
  if (passed === undefined || passed <= budget.toldPercent) return null
  budget.toldPercent = passed
  return passed
}

/** Whether a threshold that was told of is still passed. */
export function isStillPassed(budget: Budget, percent: number, nowMs: number): boolean {
  return budget.toldPercent >= percent && spentPercent(budget, nowMs) >= percent - SLACK_PERCENT
}

/** A threshold that is not passed any more, after an increase say, is told of when it is passed again. */
export function forgetThreshold(budget: Budget, percent: number): void {
  if (budget.toldPercent < percent) return
  budget.toldPercent = THRESHOLDS.find((threshold) => threshold < percent) ?? 0
}
