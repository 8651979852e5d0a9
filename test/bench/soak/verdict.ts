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
