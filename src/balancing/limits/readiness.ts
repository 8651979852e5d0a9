/**
 * That a key may serve is found out once and holds until something happens to the key: a grant, a
 * settlement, a report, a bench of its account. Time alone takes nothing away from it. So does it hold
 * of a key that only has too many leases. So of a thousand keys each request looks closely at the few
 * that something has happened to, and at those that are out; a number says enough of the others.
 *
 * The numbers may be too low at any time: that only costs a closer look. Whoever makes a key worse,
 * or ends a lease of it, has to say `lookAgain`.
 */
export interface Readiness {
  /**
   * The key may serve any request of so many tokens. It is of use to every model, its breaker is closed
   * and has been so for a while, no size note holds. Below zero if it has to be looked at.
   */
  readyFor: number
  /** The same of a key that has as many leases as it may have at once: nothing else is in the way. */
  fullFor: number
}

export const NOT_READY = -1

/** Ready for any number of tokens: enough, and small enough to be kept as an integer. */
export const READY_FOR_ANY = 2 ** 30

/** Has the filter look at a key again, since something has happened to it. */
export function lookAgain(key: Readiness): void {
  key.readyFor = NOT_READY
  key.fullFor = NOT_READY
}
