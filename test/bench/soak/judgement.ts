/** Memory at a moment of a run, when garbage has just been collected. */
export interface Sample {
  readonly minute: number
  /** What is alive on the heap of the Worker's isolate. */
  readonly liveMib: number
  /** What the process holds, with the runtime itself and what its allocator has not given back. */
  readonly processMib: number
}

/**
 * How much memory grows in a minute, in MiB, by least squares over the second half: in the first one
 * caches fill and the engine's heap finds its size.
 */
export function slopeMibPerMinute(
  samples: readonly Sample[],
  of: 'liveMib' | 'processMib',
): number {
  const late = samples.slice(Math.floor(samples.length / 2))
  const meanOf = (name: keyof Sample) =>
    late.reduce((sum, sample) => sum + sample[name], 0) / late.length
  const [minute, mib] = [meanOf('minute'), meanOf(of)]
  const spread = late.reduce((sum, sample) => sum + (sample.minute - minute) ** 2, 0)
  if (spread === 0) return 0
  return late.reduce((sum, one) => sum + (one.minute - minute) * (one[of] - mib), 0) / spread
}

/** More is a leak. What is remembered of requests has its bounds, and is still filling up to them. */
const MAX_LIVE_SLOPE_MIB = 1
/** More is a leak outside of the heap, and not the allocator's way of keeping what is free. */
const MAX_PROCESS_SLOPE_MIB = 4
/** A shorter run says nothing of memory: caches fill. */
const MIN_MINUTES_OF_MEMORY = 5

/** What the Worker and workerd must never say. */
export const BUG = /internal_error|[Uu]ncaught|[Uu]nhandled|Error: The script will never generate/

/** One key in the gateway's ledger and in the simulator's. Money is in USD. */
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
  /** Whether its clients leave before their answer is whole, some of them before it has a number. */
  readonly isOfLeavers: boolean
}

/** What a soak has come to. */
export interface SoakResult {
  readonly minutes: number
  readonly samples: readonly Sample[]
  readonly statuses: Readonly<Record<string, number>>
  /** Requests of clients that left, and those whose connection the gateway closed. */
  readonly left: number
  readonly broken: number
  readonly keys: readonly Booked[]
  /** Who still waits for a key. */
  readonly waiting: number
  readonly unhandled: number
  /** Lines of the log that tell of a bug. */
  readonly bugs: readonly string[]
}

/** What is wrong, in sentences; empty where nothing is. */
export function soakFaults(result: SoakResult): string[] {
  const { waiting, unhandled, bugs } = result
  return [
    ...memoryFaults(result),
    ...statusFaults(result),
    ...result.keys.flatMap((key) => keyFaults(key, result)),
    ...(waiting === 0 ? [] : [`${waiting} requests wait for a key although nobody sends any`]),
    ...(unhandled === 0 ? [] : [`${unhandled} rejections that nobody handled`]),
    ...bugs.map((line) => `in the log: ${line}`),
  ]
}

function memoryFaults({ minutes, samples }: SoakResult): string[] {
  if (minutes < MIN_MINUTES_OF_MEMORY) return []
  const live = slopeMibPerMinute(samples, 'liveMib')
  const process = slopeMibPerMinute(samples, 'processMib')
  return [
    ...(live <= MAX_LIVE_SLOPE_MIB ? [] : [`the heap grows by ${live.toFixed(1)} MiB a minute`]),
    ...(process <= MAX_PROCESS_SLOPE_MIB
      ? []
      : [`the process grows by ${process.toFixed(1)} MiB a minute`]),
  ]
}

/** What the world's faults can end in. Any other status is the gateway's own fault. */
const EXPECTED = ['200', '400', '429', '502', '503', '504']
/** Of all answers; the rest of the faults has to be hidden behind another key. */
const MIN_GOOD = 0.98

function statusFaults({ statuses }: SoakResult): string[] {
  const counts = Object.entries(statuses)
  const all = counts.reduce((sum, [, count]) => sum + count, 0)
  const good = (statuses[200] ?? 0) + (statuses[400] ?? 0)
  return [
    ...counts
      .filter(([status]) => !EXPECTED.includes(status))
      .map(([status, count]) => `${count} answers with status ${status}`),
    ...(good >= MIN_GOOD * all ? [] : [`only ${good} of ${all} answers were what was asked for`]),
  ]
}

const ROUNDING_USD = 1e-6

/**
 * What is wrong with a key's leases and ledger. A client that leaves may do so before upstream has heard
 * of it, or before the answer has a number by which its cost could be asked for: then upstream may have
 * charged more than was booked.
 */
function keyFaults(
  { id, inFlight, total, upstream, isOfLeavers }: Booked,
  { left, broken }: SoakResult,
): string[] {
  const ended = total.successes + total.failures + total.ignored
  const over = total.costUsd - upstream.costUsd
  const isBooked = over <= ROUNDING_USD && (isOfLeavers || over >= -ROUNDING_USD)
  const isCounted = Math.abs(total.attempts - upstream.requests) <= (isOfLeavers ? left : broken)
  const { attempts, costUsd } = total
  return [
    ...(inFlight === 0 ? [] : [`${id} has ${inFlight} leases left`]),
    ...(isCounted ? [] : [`${id}: ${attempts} attempts, ${upstream.requests} upstream`]),
    ...(ended === attempts ? [] : [`${id}: ${attempts} attempts, ${ended} outcomes`]),
    ...(isBooked ? [] : [`${id}: ${costUsd} USD booked, ${upstream.costUsd} USD charged`]),
  ]
}
