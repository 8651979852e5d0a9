/** Memory at a moment of a run. */
export interface Sample {
  readonly minute: number
  readonly mib: number
}

/**
 * How much memory grows in a minute, in MiB, by least squares over the second half: in the first one
 * caches fill and the engine's heap finds its size.
 */
export function slopeMibPerMinute(samples: readonly Sample[]): number {
  const late = samples.slice(Math.floor(samples.length / 2))
  const mean = (of: (sample: Sample) => number) =>
    late.reduce((sum, sample) => sum + of(sample), 0) / late.length
  const [minute, mib] = [mean((sample) => sample.minute), mean((sample) => sample.mib)]
  const spread = late.reduce((sum, sample) => sum + (sample.minute - minute) ** 2, 0)
  if (spread === 0) return 0
  return late.reduce((sum, one) => sum + (one.minute - minute) * (one.mib - mib), 0) / spread
}

/** What the Worker must never say. */
export const BUG = /internal_error|[Uu]ncaught|unhandled|Error: The script will never generate/

/** One key in the gateway's ledger and in the simulator's. */
export interface Booked {
  readonly id: string
  readonly inFlight: number
  readonly total: {
    readonly attempts: number
    readonly successes: number
    readonly failures: number
    readonly ignored: number
    readonly costUsd: number
  }
  readonly upstream: { readonly requests: number; readonly costUsd: number }
}

/** What answers may cost that broke off before they told: they are estimated. */
const ESTIMATED = 0.02

/**
 * What is wrong with the gateway's ledger, in sentences. A client that leaves may do so before upstream
 * has heard of it, and what its answer costs is estimated at no more than that.
 */
export function ledgerFaults(
  keys: readonly Booked[],
  leaversKeys: readonly string[],
  { left, broken }: { readonly left: number; readonly broken: number },
): string[] {
  return keys.flatMap(({ id, inFlight, total, upstream }) => {
    const mayLeave = leaversKeys.includes(id)
    const ended = total.successes + total.failures + total.ignored
    const over = total.costUsd - upstream.costUsd
    const allowed = ESTIMATED * upstream.costUsd + 1e-6
    return [
      ...(inFlight === 0 ? [] : [`${id} has ${inFlight} leases left`]),
      ...(Math.abs(total.attempts - upstream.requests) <= (mayLeave ? left : broken)
        ? []
        : [`${id}: ${total.attempts} attempts, upstream ${upstream.requests}`]),
      ...(ended === total.attempts ? [] : [`${id}: ${total.attempts} attempts, ${ended} outcomes`]),
      ...(over <= allowed && (mayLeave || -over <= allowed)
        ? []
        : [`${id}: ${total.costUsd} USD, upstream ${upstream.costUsd}`]),
    ]
  })
}
