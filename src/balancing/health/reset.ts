/**
 * An operator's order to forget what a key was judged for. Attempts that began before it show how the key was
 * before, and must not bring back what was just forgotten.
 */
export interface Reset {
  /** Leases of a lower epoch were granted before it. */
  readonly epoch: number
  /** In epoch milliseconds; for leases that a restart has forgotten. */
  readonly atMs: number
}

/** Whether an attempt began before the key was last reset. */
export function isBeforeReset(
  reset: Reset | null,
  lease: { readonly epoch: number } | null,
  grantedAtMs: number | null,
): boolean {
  if (reset === null) return false
  return lease === null ? (grantedAtMs ?? 0) < reset.atMs : lease.epoch < reset.epoch
}

/** The epoch of a lease of which the pool has forgotten all but when it was granted. */
export function epochAt(
  { reset, epoch }: { readonly reset: Reset | null; readonly epoch: number },
  grantedAtMs: number,
): number {
  return isBeforeReset(reset, null, grantedAtMs) ? 0 : epoch
}
