interface Taken {
  readonly leaseId: string
  readonly atMs: number
  readonly requests: number
  tokens: number
}

/**
 * What was taken of one key's limits per minute, grant by grant. It is exact, and its memory has no
 * bound. The pool's own meters must have one.
 */
export class ExactMinute {
  readonly #taken: Taken[] = []

  grant(leaseId: string, tokens: number, atMs: number): void {
    this.#taken.push({ leaseId, atMs, requests: 1, tokens })
  }

  /** Replaces the reserved tokens by the used ones. An excess is taken now, not at the grant. */
  correct(leaseId: string, usedTokens: number, atMs: number): void {
    const reserved = this.#taken.findLast((taken) => taken.leaseId === leaseId)
    if (reserved === undefined) return
    const excess = usedTokens - reserved.tokens
    if (excess > 0) this.#taken.push({ leaseId: '', atMs, requests: 0, tokens: excess })
    else reserved.tokens = usedTokens
  }

  /** Lets go the tokens that a lease has not used. */
  lower(leaseId: string, usedTokens: number): void {
    const reserved = this.#taken.findLast((taken) => taken.leaseId === leaseId)
    if (reserved !== undefined) reserved.tokens = Math.min(reserved.tokens, usedTokens)
  }

  /** Takes back what a lease took that had no request. */
  undo(leaseId: string): void {
    const at = this.#taken.findLastIndex((taken) => taken.leaseId === leaseId)
    if (at !== -1) this.#taken.splice(at, 1)
  }

  /** Lets go what was taken before a moment. */
  forget(beforeMs: number): void {
    while ((this.#taken[0]?.atMs ?? beforeMs) < beforeMs) this.#taken.shift()
  }

  /** The requests and tokens that were taken after a moment. */
  since(afterMs: number): { requests: number; tokens: number } {
    const late = this.#taken.filter(({ atMs }) => atMs > afterMs)
    return {
      requests: late.reduce((sum, { requests }) => sum + requests, 0),
      tokens: late.reduce((sum, { tokens }) => sum + tokens, 0),
    }
  }
}
