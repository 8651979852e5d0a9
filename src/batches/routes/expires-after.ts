import { KEPT_MS } from '../files/stored-file.ts'

/** As OpenAI bounds it: an hour to thirty days. */
const MIN_S = 3600
const MAX_S = KEPT_MS / 1000

/**
 * How long a file is to be kept, by the fields of `expires_after`, in milliseconds.
 * @returns a sentence if they are wrong
 */
export function keptMs(anchor: unknown, seconds: unknown): number | string {
  if (anchor === undefined && seconds === undefined) return KEPT_MS
  if (anchor !== 'created_at') return 'The "anchor" of an expiry must be "created_at".'
  const s = typeof seconds === 'string' ? Number(seconds) : seconds
  if (typeof s === 'number' && Number.isInteger(s) && s >= MIN_S && s <= MAX_S) return s * 1000
  return `The "seconds" of an expiry must be a whole number from ${MIN_S} to ${MAX_S}.`
}
