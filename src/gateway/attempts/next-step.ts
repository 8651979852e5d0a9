import type { Blame } from '../../openrouter/failures/blame.ts'
import { fullJitterBackoffMs } from './backoff.ts'

/** What the request does after a failed attempt. */
export type NextStep =
  | { readonly kind: 'give_up' }
  | {
      readonly kind: 'again'
      readonly attempt: 'move' | 'retry'
      readonly exclude: 'key' | 'account'
      /** Whether the model that failed is given up for the next one. */
      readonly model: 'same' | 'next'
      readonly waitMs: number
    }

/** Where the request stands. */
export interface Standing {
  /** Upstream attempts made so far. */
  readonly attempts: number
  readonly maxAttempts: number
  /** How many of them were retries, paid from the budget. */
  readonly retries: number
  /** Whether the one retry of this model that a provider's fault allows has been used. */
  readonly providerRetried: boolean
  /** Whether there is another model that could take its place. */
  readonly hasFallback: boolean
  /** Time left of `total_ms`. */
  readonly remainingMs: number
}

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
      const waitMs = next.waitMs ?? fullJitterBackoffMs(standing.retries, random)
      return waitMs < standing.remainingMs
        ? { kind: 'again', attempt: 'retry', exclude: 'key', model: 'same', waitMs }
        : GIVE_UP
    }
  }
}

/** The next model is free: it is bounded by how many the route names. */
function otherModel({ hasFallback }: Standing): NextStep {
  return hasFallback
    ? { kind: 'again', attempt: 'move', exclude: 'key', model: 'next', waitMs: 0 }
    : GIVE_UP
}
