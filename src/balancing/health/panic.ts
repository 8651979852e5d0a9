/**
 * Whether breakers are ignored (Envoy's panic threshold; finagle's `PanicMode`). If most keys fail
 * at once, the keys are not the cause. A gateway that then refuses to use them turns an upstream's
 * bad minute into its own outage.
 *
 * @param eligible the number of keys without a standing exclusion (see eligibility.ts)
 * @param closed how many of those have a closed breaker
 * @param ratio panic below this share, from 0 (never) to 1 (as soon as one breaker opens)
 */
export function isPanic(eligible: number, closed: number, ratio: number): boolean {
  return closed < ratio * eligible
}
