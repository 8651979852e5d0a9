import { type IsolateId, type LeaseId, leaseId } from '../ids.ts'

/**
 * An isolate numbers its leases: `<isolate>:<number>`. No isolate uses a number twice, whether a lease
 * of it is granted or not.
 */
export function numberedLeaseId(isolate: IsolateId, number: number): LeaseId {
  return leaseId(`${isolate}:${number}`)
}

const SEPARATOR = ':'
const ZERO = 48
const NINE = 57

/** Numbers of up to 15 digits are exact. */
const MAX_DIGITS = 15

/**
 * Reads a lease's number. It returns a plain number, since every request needs two of them.
 * @returns a negative number if the id is not one name and one number, in the one way of writing it
 */
export function numberIn(id: LeaseId): number {
  const from = id.indexOf(SEPARATOR) + 1
  const digits = id.length - from
  if (from < 2 || digits < 1 || digits > MAX_DIGITS) return NO_NUMBER
  if (digits > 1 && id.charCodeAt(from) === ZERO) return NO_NUMBER
  let number = 0
  for (let at = from; at < id.length; at++) {
    const code = id.charCodeAt(at)
    if (code < ZERO || code > NINE) return NO_NUMBER
    number = 10 * number + code - ZERO
  }
  return number
}

const NO_NUMBER = -1

/** Who numbered a lease. */
export function numberedBy(id: LeaseId): string {
  return id.slice(0, id.indexOf(SEPARATOR))
}
