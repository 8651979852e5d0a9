/**
 * Whether breakers are to be ignored (Envoy's panic threshold; finagle's
 * `PanicMode`). When most keys fail at once, the keys are not what is broken,
 * and refusing to use them turns an upstream's bad minute into our outage.
 *
 * @param eligible keys that nothing but a breaker could exclude
 * @param closed how many of those have a closed breaker
 * @param ratio panic below this share, 0 (never) to 1 (as soon as one opens)
 */
export function isPanic(eligible: number, closed: number, ratio: number): boolean {
  return eligible > 0 && closed < ratio * eligible
}
