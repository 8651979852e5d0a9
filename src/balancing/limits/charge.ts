import type { Meter } from './meter.ts'
import { giveBack, take } from './sliding-window.ts'

/** A key's limits per minute. */
interface Metered {
  readonly rpm: Meter | null
  readonly tpm: Meter | null
}

/** Counts one request and its tokens against a key's limits per minute. */
export function charge({ rpm, tpm }: Metered, tokens: number, nowMs: number): void {
  if (rpm !== null) take(rpm.window, 1, nowMs)
  if (tpm !== null) take(tpm.window, tokens, nowMs)
}

/** Takes back what was charged at `chargedAtMs`, as far as it still counts. */
export function giveBackCharge(
  { rpm, tpm }: Metered,
  tokens: number,
  chargedAtMs: number,
  nowMs: number,
): void {
  if (rpm !== null) giveBack(rpm.window, 1, chargedAtMs, nowMs)
  if (tpm !== null) giveBack(tpm.window, tokens, chargedAtMs, nowMs)
}
