import type { PoolClient } from '../key-pool/pool-client.ts'

/** What an isolate knows of purges. A purge is in force everywhere within a minute. */
export interface PurgeBook {
  /**
   * The epochs of what was thrown away. Null if they are too old and the pool's object does not answer:
   * then nobody knows which kept answers are still good.
   */
  epochs(background: (work: Promise<unknown>) => void): Promise<Epochs | null>
  /**
   * What the pool's object has answered to a purge of this isolate: it is in force here at once.
   * @param askedAtMs when the purge was sent, in epoch milliseconds
   */
  learn(epochs: Epochs, askedAtMs: number): void
}

export type Epochs = Readonly<Record<string, number>>

/** From this age on a copy is renewed beside the request that finds it so. */
const RENEW_AFTER_MS = 25_000

/** An older copy is not used. With the time of a call it is less than a minute. */
const MAX_AGE_MS = 50_000

/** How long a renewal may take before another request tries it. */
const AGAIN_AFTER_MS = 5_000

export function createPurgeBook(pool: Pick<PoolClient, 'epochs'>, nowMs: () => number): PurgeBook {
  let copy: { readonly epochs: Epochs; readonly askedAtMs: number } | null = null
  let renewsAtMs = Number.NEGATIVE_INFINITY

  /** An answer that was asked for before the copy's may be older than it, and changes nothing. */
  const learn = (epochs: Epochs, askedAtMs: number): Epochs => {
    if (copy === null || copy.askedAtMs <= askedAtMs) copy = { epochs, askedAtMs }
    return copy.epochs
  }
  const renew = async (): Promise<Epochs | null> => {
    const askedAtMs = nowMs()
    renewsAtMs = askedAtMs
    const answer = await pool.epochs()
    return answer.kind === 'unavailable' ? null : learn(answer.value.epochs, askedAtMs)
  }
  return {
    learn,
    async epochs(background) {
      const ageMs = copy === null ? Number.POSITIVE_INFINITY : nowMs() - copy.askedAtMs
      if (copy === null || ageMs >= MAX_AGE_MS) return await renew()
      const isRenewed = nowMs() - renewsAtMs < AGAIN_AFTER_MS
      if (ageMs >= RENEW_AFTER_MS && !isRenewed) background(renew())
      return copy.epochs
    },
  }
}
