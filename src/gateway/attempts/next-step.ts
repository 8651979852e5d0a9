import type { Blame } from '../../openrouter/failures/blame.ts'
import { fullJitterBackoffMs } from './backoff.ts'

/** What the journey does after a failed attempt. */
export type NextStep =
  | { readonly kind: 'give_up' }
  | {
      readonly kind: 'again'
      readonly attempt: 'move' | 'retry'
      readonly exclude: 'key' | 'account'
      /** `next` gives up the model that failed and goes to the next one. */
      readonly model: 'same' | 'next'
      readonly waitMs: number
    }

/** What the request has used so far, and what is left. */
export interface Standing {
  /** The number of upstream attempts so far. */
  readonly attempts: number
  readonly maxAttempts: number
  /** The number of retries among them; the retry budget paid for these. */
  readonly retries: number
  /** Whether this model has used the one retry that a provider's fault allows. */
  readonly providerRetried: boolean
  /** Whether the request has another model to go to. */
  readonly hasFallback: boolean
  /** The milliseconds that are left of `total_ms`. */
  readonly remainingMs: number
}

/** A second attempt with a key that failed. The retry budget pays for it. */
export const REPEAT_KEY = {
  kind: 'again',
  attempt: 'retry',
  exclude: 'key',
  model: 'same',
  waitMs: 0,
} as const satisfies NextStep

const GIVE_UP: NextStep = { kind: 'give_up' }

/** Decides whether, when and where a failed request goes next. */
export function nextStep(blame: Blame, standing: Standing, random: () => number): NextStep {
  const { next } = blame
  if (standing.attempts >= standing.maxAttempts || standing.remainingMs <= 0) return GIVE_UP
  switch (next.kind) {
    case 'none':
      return GIVE_UP
    case 'fallback':
      return otherModel(standing)
    case 'move':
      return { kind: 'again', attempt: 'move', exclude: next.exclude, model: 'same', waitMs: 0 }
    case 'retry': {
      if (next.limit === 'once' && standing.providerRetried) return otherModel(standing)
      const isForFallback = isForOtherModel(blame, standing)
      if (isForFallback && isModels(blame)) return otherModel(standing)
      const waitMs = fullJitterBackoffMs(standing.retries, random)
      const model = isForFallback ? 'next' : 'same'
      return waitMs < standing.remainingMs
        ? { kind: 'again', attempt: 'retry', exclude: 'key', model, waitMs }
        : GIVE_UP
    }
  }
}

/** Whether a failure is a provider's, or no provider of the model answers: another model may be well. */
export function isModels({ fault, row }: Blame): boolean {
  return fault === 'provider' || row === '16'
}

/**
 * Whether the next attempt belongs to the next model, since it is the last. A pool may have more keys
 * than a request has attempts: all of these would go to the model that is down, and none to its
 * fallback. A failure that may be the key's has to have come twice.
 */
function isForOtherModel(blame: Blame, standing: Standing): boolean {
  const isLast = standing.attempts + 1 >= standing.maxAttempts
  const isTwice = blame.fault === 'upstream' && standing.retries > 0
  return isLast && standing.hasFallback && (isModels(blame) || isTwice)
}

/** A change of model costs no retry budget: the route's list of models already bounds it. */
function otherModel({ hasFallback }: Standing): NextStep {
  return hasFallback
    ? { kind: 'again', attempt: 'move', exclude: 'key', model: 'next', waitMs: 0 }
    : GIVE_UP
}
