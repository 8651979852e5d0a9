import type { KeyId, ModelId } from '../ids.ts'
import {
  createRotatingMap,
  deleteEntry,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../limits/rotating-map.ts'

/**
 * Whose fault is it when a model fails: the key's, or the model's? A failure counts against its key
 * at once. When the same model then fails with a second key, and has not succeeded in between, the
 * keys have nothing in common but the model. So it is the model's fault: what it counted against keys
 * is taken back, and it counts against no key until it has succeeded again. Otherwise one caller who
 * sends five requests for a model that is down opens the breakers of four keys.
 *
 * A key that fails while other keys serve the model keeps its failures: a success clears the model.
 */
export type Correlation = RotatingMap<ModelId, ModelFailures>

/** The failures of one model since its last success. */
export interface ModelFailures {
  /** Whether it has failed with two keys. */
  readonly isAtFault: boolean
  /** Failures that count against their key. Those of one key: a second key ends the list. */
  readonly counted: readonly CountedFailure[]
}

export interface CountedFailure {
  readonly keyId: KeyId
  readonly atMs: number
}

/** What a failure of a model means for the key that it happened with. */
export type Verdict =
  /** It counts against the key. */
  | { readonly kind: 'counts' }
  /** It counts against no key, and the failures of `takenBack` no longer do. */
  | { readonly kind: 'models_fault'; readonly takenBack: readonly CountedFailure[] }

/** Model names come from callers. About 100 KB. */
const ROTATION = { termMs: 60 * 60_000, capacity: 500 }

/** A key's breaker opens after 100 failures at most: older ones change nothing. */
const MAX_COUNTED = 100

export function createCorrelation(): Correlation {
  return createRotatingMap(ROTATION)
}

/** Judges one failure that is upstream's or the model's, and remembers it. */
export function judgeFailure(
  correlation: Correlation,
  model: ModelId,
  keyId: KeyId,
  nowMs: number,
): Verdict {
  const before = getEntry(correlation, model) ?? { isAtFault: false, counted: [] }
  const isSecondKey = before.counted.some((failure) => failure.keyId !== keyId)
  if (before.isAtFault || isSecondKey) {
    setEntry(correlation, model, { isAtFault: true, counted: [] }, nowMs)
    return { kind: 'models_fault', takenBack: before.counted }
  }
  const counted = [...before.counted.slice(1 - MAX_COUNTED), { keyId, atMs: nowMs }]
  setEntry(correlation, model, { isAtFault: false, counted }, nowMs)
  return { kind: 'counts' }
}

/** A success shows that the model works: what failed with it before was the keys'. */
export function noteSuccess(correlation: Correlation, model: ModelId): void {
  deleteEntry(correlation, model)
}

/** Whether the model is at fault for its failures, so that they say nothing of any key. */
export function isAtFault(correlation: Correlation, model: ModelId): boolean {
  return getEntry(correlation, model)?.isAtFault ?? false
}
