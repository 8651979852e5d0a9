/**
 * A time whose leases a restart may have forgotten: from the last checkpoint to the end of the object's
 * life. Such a lease is in no later checkpoint either, and yet has not been settled.
 */
export interface LeaseGap {
  /** Epoch milliseconds. */
  readonly fromMs: number
  readonly untilMs: number
}

/** Whether leases of a moment were settled, if the pool does not know them any more. */
export interface LeaseMemory {
  /** When the restored checkpoint was made. A lease granted before it and not in it is settled. */
  readonly restoredAtMs: number
  /** But for the leases of these times, oldest first. */
  readonly gaps: readonly LeaseGap[]
}

/** No lease runs for longer. */
const KEPT_MS = 2 * 60 * 60_000

/** Who restarts more often within that time has forgotten the oldest. */
const MAX_GAPS = 8

/** @param fromMs when the checkpoint was made that this life begins with; null if it has none */
export function withGap(
  gaps: readonly LeaseGap[],
  fromMs: number | null,
  nowMs: number,
): readonly LeaseGap[] {
  return keptGaps([...gaps, { fromMs: fromMs ?? 0, untilMs: nowMs }], nowMs)
}

/** The gaps of which a lease may still run. */
export function keptGaps(gaps: readonly LeaseGap[], nowMs: number): readonly LeaseGap[] {
  return gaps.filter(({ untilMs }) => nowMs < untilMs + KEPT_MS).slice(-MAX_GAPS)
}

/**
 * Whether a lease that the pool does not know had been settled before the restart. One of a gap counts as
 * not settled: what it has cost must not be lost, and its second settlement would have to come after one
 * more restart to be booked again.
 */
export function wasSettled({ restoredAtMs, gaps }: LeaseMemory, grantedAtMs: number): boolean {
  const isForgotten = gaps.some((gap) => gap.fromMs <= grantedAtMs && grantedAtMs < gap.untilMs)
  return grantedAtMs < restoredAtMs && !isForgotten
}
