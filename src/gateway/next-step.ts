import type { Blame } from '../openrouter/blame.ts'
import { fullJitterBackoffMs } from './backoff.ts'

/** What the request does after a failed attempt. */
export type Step =
  | { readonly kind: 'give_up' }
  | {
      readonly kind: 'again'
      readonly attempt: 'move' | 'retry'
      readonly exclude: 'key' | 'account'
      readonly waitMs: number
    }

/** Where the request stands. */
export interface Standing {
  /** Upstream attempts made so far. */
  readonly attempts: number
  readonly maxAttempts: number
  /** How many of them were retries, paid from the budget. */
  readonly retries: number
  /** Whether the one retry that a provider's fault allows has been used. */
  readonly providerRetried: boolean
  /** Time left of `total_ms`. */
  readonly remainingMs: number
}

/** Decides whether, when and where a failed request goes next. */
export function nextStep(blame: Blame, standing: Standing, random: () => number): Step {
  const { next } = blame
  if (standing.attempts >= standing.maxAttempts) return { kind: 'give_up' }
  switch (next.kind) {
    case 'none':
      return { kind: 'give_up' }
    case 'move':
      return standing.remainingMs > 0
        ? { kind: 'again', attempt: 'move', exclude: next.exclude, waitMs: 0 }
        : { kind: 'give_up' }
    case 'retry': {
      if (next.limit === 'once' && standing.providerRetried) return { kind: 'give_up' }
      const waitMs = next.waitMs ?? fullJitterBackoffMs(standing.retries, random)
      return waitMs < standing.remainingMs
        ? { kind: 'again', attempt: 'retry', exclude: 'key', waitMs }
        : { kind: 'give_up' }
    }
  }
}
