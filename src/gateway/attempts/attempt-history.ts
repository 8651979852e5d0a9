import type { AccountId, KeyId, ModelId } from '../../balancing/ids.ts'
import { isNonEmpty, type NonEmpty } from '../../balancing/non-empty.ts'
import type { Blame } from '../../openrouter/failures/blame.ts'
import type { UpstreamFailure } from '../../openrouter/failures/upstream-failure.ts'
import type { Replay } from './attempt.ts'
import type { NextStep } from './next-step.ts'

/** One attempt that failed, with whose fault it was. */
export interface FailedAttempt {
  readonly keyId: KeyId
  readonly accountId: AccountId
  readonly failure: UpstreamFailure
  readonly blame: Blame
  readonly replay: Replay | null
}

/** One attempt, and whose fault it was if it failed. */
export interface AttemptNote {
  key: KeyId
  model: ModelId
  row: string | null
  fault: string | null
}

/**
 * What one request has tried so far. Keys and accounts are ruled out for the model
 * that they failed with: with another model, all of them may be tried again.
 */
export class AttemptHistory {
  /** The model that is being tried, and those after it. */
  #models: NonEmpty<ModelId>
  #triedKeys: KeyId[] = []
  #excludedAccounts: AccountId[] = []
  #providerRetried = false
  #retries = 0
  readonly failures: FailedAttempt[] = []
  readonly attempts: AttemptNote[] = []

  constructor(models: NonEmpty<ModelId>) {
    this.#models = models
  }

  /** What a pool has to know of it. */
  ruledOut(): {
    readonly models: NonEmpty<ModelId>
    readonly triedKeys: readonly KeyId[]
    readonly excludedAccounts: readonly AccountId[]
  } {
    return {
      models: this.#models,
      triedKeys: [...this.#triedKeys],
      excludedAccounts: [...this.#excludedAccounts],
    }
  }

  /** What the next step depends on. */
  standing(): {
    readonly attempts: number
    readonly retries: number
    readonly providerRetried: boolean
    readonly hasFallback: boolean
  } {
    return {
      attempts: this.attempts.length,
      retries: this.#retries,
      providerRetried: this.#providerRetried,
      hasFallback: this.#models.length > 1,
    }
  }

  /** Whether nothing has been asked of the pool yet that came to something. */
  isFresh(): boolean {
    return this.#triedKeys.length === 0 && this.attempts.length === 0
  }

  /** A key was leased for one of the models; those before it are given up. */
  lease(key: KeyId, model: ModelId): void {
    this.#turnTo(model)
    this.#triedKeys.push(key)
  }

  begin(key: KeyId, model: ModelId): void {
    this.attempts.push({ key, model, row: null, fault: null })
  }

  /** Whose fault the attempt was that failed, or the stream that broke. */
  note({ row, fault }: Blame): void {
    const note = this.attempts.at(-1)
    if (note !== undefined) Object.assign(note, { row, fault })
  }

  /** Takes a step onwards from the latest failure. */
  follow(step: Extract<NextStep, { kind: 'again' }>, { accountId, blame }: FailedAttempt): void {
    if (step.exclude === 'account') this.#excludedAccounts.push(accountId)
    if (step.attempt === 'retry') this.#retries += 1
    if (blame.next.kind === 'retry' && blame.next.limit === 'once') this.#providerRetried = true
    if (step.model === 'next') this.#giveUpModel()
  }

  /**
   * After a provider's fault, where no retry can be paid for: another model, if
   * there is one. An upstream that fails as a whole would fail with that as well.
   */
  fallBackUnpaid(): boolean {
    return this.failures.at(-1)?.blame.fault === 'provider' && this.#giveUpModel()
  }

  #giveUpModel(): boolean {
    const [, next] = this.#models
    if (next === undefined) return false
    this.#turnTo(next)
    return true
  }

  #turnTo(model: ModelId): void {
    const later = this.#models.slice(this.#models.indexOf(model))
    if (later.length === this.#models.length || !isNonEmpty(later)) return
    this.#models = later
    this.#triedKeys = []
    this.#excludedAccounts = []
    this.#providerRetried = false
  }
}
