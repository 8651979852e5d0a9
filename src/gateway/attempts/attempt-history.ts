import type { AccountId, KeyId, ModelId } from '../../balancing/ids.ts'
import type { Refusal } from '../../balancing/lease-request.ts'
import { isNonEmpty, type NonEmpty } from '../../balancing/non-empty.ts'
import { type Blame, type Next, NOBODY } from '../../openrouter/failures/blame.ts'
import { inWords } from '../../openrouter/failures/fault-words.ts'
import type { UpstreamFailure } from '../../openrouter/failures/upstream-failure.ts'
import type { SpanFacts } from '../spans.ts'
import type { Replay } from './attempt.ts'
import { isModels, type NextStep } from './next-step.ts'

/** One failed attempt, with whose fault the failure was. */
export interface FailedAttempt {
  readonly keyId: KeyId
  readonly accountId: AccountId
  readonly failure: UpstreamFailure
  readonly blame: Blame
  readonly replay: Replay | null
}

/** One attempt, for the log. The rest says how it failed and whose fault that was; null if it did not. */
export interface AttemptNote {
  key: KeyId
  model: ModelId
  /** The status of upstream's error; null without one. */
  status: number | null
  row: string | null
  fault: string | null
  /** The row in words. */
  why: string | null
}

/** When an attempt ran. */
export interface AttemptTimes {
  beganAtMs: number
  /** How long the request had waited for it: in the queue, or for its time. */
  waitedMs: number
  /** Null while it runs. */
  tookMs: number | null
  /** From its beginning to its first output; null without one. */
  firstOutputMs: number | null
}

/**
 * What one request has tried so far. A key or account is ruled out only for the model that it
 * failed with. With the next model, all of them may be tried again.
 */
export class AttemptHistory {
  /** The current model, then its fallbacks. */
  #models: NonEmpty<ModelId>
  #triedKeys: KeyId[] = []
  #excludedAccounts: AccountId[] = []
  #providerRetried = false
  #isOverBudget = false
  #retries = 0
  /** Whether this model has used its one attempt with a key that had failed. */
  #keyRepeated = false
  /** The index in `failures` of the current model's first one. */
  #firstFailure = 0
  #failures: FailedAttempt[] = []
  readonly attempts: AttemptNote[] = []
  /** For each of `attempts`. */
  readonly times: AttemptTimes[] = []

  get failures(): readonly FailedAttempt[] {
    return this.#failures
  }

  constructor(models: NonEmpty<ModelId>) {
    this.#models = models
  }

  /** The part that goes into a lease request. */
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

  /** The part that `nextStep` depends on. */
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

  /** Whether the request has not had a lease yet. */
  isFresh(): boolean {
    return this.#triedKeys.length === 0 && this.attempts.length === 0
  }

  /** Records a lease. The models before the leased one are given up. */
  lease(key: KeyId, model: ModelId): void {
    this.#turnTo(model)
    this.#triedKeys.push(key)
  }

  begin(key: KeyId, model: ModelId, at: Pick<AttemptTimes, 'beganAtMs' | 'waitedMs'>): void {
    this.attempts.push({ key, model, status: null, row: null, fault: null, why: null })
    this.times.push({ ...at, tookMs: null, firstOutputMs: null })
  }

  /** Records how long the latest attempt took to its end, or to its first output. */
  noteTimes(times: Partial<Pick<AttemptTimes, 'tookMs' | 'firstOutputMs'>>): void {
    Object.assign(this.times.at(-1) ?? {}, times)
  }

  /** Records whose fault the latest attempt's failure was, or that of its broken stream. */
  note({ row, fault }: Blame, failure: UpstreamFailure): void {
    const note = this.attempts.at(-1)
    if (note === undefined) return
    const status = failure.kind === 'response' ? failure.status : null
    Object.assign(note, { status, row, fault, why: inWords(row, failure) })
  }

  /** Records that the client left while the latest attempt ran. */
  noteLeft(): void {
    const note = this.attempts.at(-1)
    if (note === undefined) return
    const { row, fault } = NOBODY
    Object.assign(note, { row, fault, why: 'the client left' })
  }

  /** What the span of the latest attempt, or of its relay, says of it. */
  spanFacts(): SpanFacts {
    const note = this.attempts.at(-1)
    if (note === undefined) return {}
    const { key, model, status, row, fault } = note
    return {
      'switchyard.key': key,
      'gen_ai.request.model': model,
      ...(status === null ? {} : { 'http.response.status_code': status }),
      ...(row === null ? {} : { 'switchyard.row': row }),
      ...(fault === null ? {} : { 'switchyard.fault': fault }),
    }
  }

  /**
   * Records a failure. Only the body of the one that would be the final answer is kept.
   * @returns the bytes of that body
   */
  fail(failed: FailedAttempt): number {
    const failures = [...this.#failures, failed]
    const telling = tellingFailure(failures)
    this.#failures = failures.map((one) => (one === telling ? one : { ...one, replay: null }))
    return telling?.replay?.body.length ?? 0
  }

  /** Records the step that follows the latest failure. */
  follow(step: Extract<NextStep, { kind: 'again' }>, { accountId, blame }: FailedAttempt): void {
    if (step.exclude === 'account') this.#excludedAccounts.push(accountId)
    if (step.attempt === 'retry') this.#retries += 1
    if (blame.next.kind === 'retry' && blame.next.limit === 'once') this.#providerRetried = true
    if (step.model === 'next') this.#giveUpModel()
  }

  /**
   * Goes to the next model, if there is one, when the retry budget cannot pay for a retry. Not if
   * OpenRouter as a whole fails: another model would fail too.
   */
  fallBackUnpaid(): boolean {
    const last = this.#failures.at(-1)?.blame
    return last !== undefined && isModels(last) && this.#giveUpModel()
  }

  /**
   * Allows the key of the latest fault that was upstream's once more, where no other key may serve.
   * Once for each model.
   * @returns how long upstream wants no further request, in milliseconds; null if no key is to be
   *   repeated
   */
  repeatKey(nowMs: number): number | null {
    const failed = this.#failures.slice(this.#firstFailure).findLast(isRetried)
    if (failed === undefined || this.#keyRepeated) return null
    this.#keyRepeated = true
    this.#triedKeys = this.#triedKeys.filter((key) => key !== failed.keyId)
    return Math.max(0, (failed.blame.next.notBeforeMs ?? nowMs) - nowMs)
  }

  /** Whether the models are those for requests that a budget does not pay for. */
  get isOverBudget(): boolean {
    return this.#isOverBudget
  }

  /** Goes to the fallback models, once, when a budget says that they are to be asked instead. */
  fallBackOverBudget({ quota }: Refusal): boolean {
    const isWanted = quota?.kind === 'budget' && quota.onExceeded === 'fallback_model'
    if (!isWanted || this.#isOverBudget) return false
    this.#isOverBudget = this.#giveUpModel()
    return this.#isOverBudget
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
    this.#keyRepeated = false
    this.#firstFailure = this.#failures.length
  }
}

/**
 * The failure that decides the final answer: the last that is not a key's or an account's fault, else
 * the last free-tier limit (row 10). Null if neither is among them.
 */
export function tellingFailure(failures: readonly FailedAttempt[]): FailedAttempt | null {
  const isOther = ({ blame: { fault } }: FailedAttempt) => fault !== 'key' && fault !== 'account'
  const isFreeLimit = ({ blame }: FailedAttempt) => blame.row === '10'
  return failures.findLast(isOther) ?? failures.findLast(isFreeLimit) ?? null
}

type Retried = FailedAttempt & {
  readonly blame: { readonly next: Extract<Next, { kind: 'retry' }> }
}

function isRetried(failed: FailedAttempt): failed is Retried {
  return failed.blame.next.kind === 'retry'
}
