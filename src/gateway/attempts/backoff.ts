const BASE_MS = 250
const MAX_MS = 5_000

/**
 * How long to wait before a retry, with full jitter: uniform between zero and an exponential
 * bound. Full jitter spreads many retries better than jitter on top of a fixed delay.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 *
 * @param retry the number of earlier retries
 * @returns milliseconds, below 250 · 2^retry and never above 5,000
 */
export function fullJitterBackoffMs(retry: number, random: () => number): number {
  return random() * Math.min(BASE_MS * 2 ** retry, MAX_MS)
}
