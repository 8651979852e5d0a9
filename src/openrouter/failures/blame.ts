import { endOfUtcWindow } from '../../balancing/limits/utc-window.ts'
import type {
  BenchDetail,
  BenchOrder,
  BenchReason,
  BenchScope,
  BenchTerm,
  Fault,
  Outcome,
} from '../../balancing/settlement.ts'
import {
  affordableTokens,
  budgetPayer,
  type FailureSigns,
  failedRoutingStep,
  hasLimitSource,
  hasReason,
  isAboutContent,
  isAccountPolicy,
  isBudgetExceeded,
  isDailyFreeTierLimit,
  isFreeTierLimit,
  isKeySpent,
  isModelDown,
  isProviderKeys,
  isProviders,
  isRequestError,
  isTooLargeForAccount,
  isTooLargeForKey,
  isUnknownModel,
  isWithoutAnswer,
  judgesRequest,
  signsOf,
  unknownError,
} from './failure-signs.ts'
import { keyLimitTerm, limitEndMs } from './key-limit.ts'
import type { UpstreamFailure } from './upstream-failure.ts'

/**
 * What the request may do after a failure.
 * - `none`: the answer goes to the caller.
 * - `fallback`: try another model if the request has one, else as `none`.
 * - `move`: try another key at once, without paying from the retry budget. `exclude` says whether
 *   only the failed key is excluded, or all keys of its account.
 * - `retry`: try another key after a backoff, and pay from the retry budget. Where no other key may
 *   serve, the same key is tried once more, not before `notBeforeMs` (epoch milliseconds) if upstream
 *   named a wait. `once` allows one such retry for this request and model, then another
 *   model.
 */
export type Next =
  | { readonly kind: 'none' }
  | { readonly kind: 'fallback' }
  | { readonly kind: 'move'; readonly exclude: 'key' | 'account' }
  | {
      readonly kind: 'retry'
      readonly limit: 'attempts' | 'once'
      readonly notBeforeMs: number | null
    }

/** The row of the table that matched. The request log shows it. */
export type BlameRowId =
  | '1'
  | '2'
  | '3'
  | '4'
  | '5'
  | '6'
  | '7'
  | '8'
  | '9'
  | '10'
  | '11'
  | '12'
  | '13'
  | '13b'
  | '14'
  | '15'
  | '16'
  | '16b'
  | '17'

/** Whose fault a failed attempt was, and the consequences for the pool and for the request. */
export interface Blame {
  readonly row: BlameRowId
  readonly fault: Fault
  readonly outcome: Outcome
  readonly benches: readonly BenchOrder[]
  /** True if the key may be invalid: `GET /key` must check it. */
  readonly suspect: boolean
  /** The request size, in tokens, that the key or account can still pay for. */
  readonly affordableTokens?: number
  /** Who could not pay for a request of this size. */
  readonly tooLargeFor?: 'key' | 'account'
  /** Only of the last row: the status, and the name that OpenRouter gives the error. */
  readonly unknownError?: string
  readonly next: Next
}

/** What a failure does to the pool. */
export type BlameEffect = Partial<
  Pick<Blame, 'benches' | 'suspect' | 'affordableTokens' | 'tooLargeFor' | 'unknownError'>
>

export interface BlameRow {
  readonly row: BlameRowId
  readonly sign: (signs: FailureSigns) => boolean
  readonly fault: Fault
  readonly outcome: Outcome
  readonly effect: (signs: FailureSigns) => BlameEffect
  readonly next: (signs: FailureSigns, context: BlameContext) => Next
}

/** What the blame depends on besides the failure. */
export interface BlameContext {
  /** Epoch milliseconds: the base of resets and windows. */
  readonly nowMs: number
  /** What the operator allows in rows 10 and 13. */
  readonly spill: SpillPolicy
  /** Whether an answer is paid for in full even if the gateway no longer waits for it. */
  readonly isPaidInFull?: boolean
}

/** Moves to another account that are forbidden by default; an operator may allow them. */
export interface SpillPolicy {
  /** Row 10: after a free-tier limit of one account, use another account. */
  readonly freeTier: boolean
  /** Row 13: after a refusal by one account's data policy or guardrail, use another account. */
  readonly policy: boolean
}

const BYOK_BENCH_MS = 60_000
const MODEL_BENCH_MS = 15_000
const SUSPECT_BENCH_MS = 60_000
const BUDGET_BENCH_MS = 300_000
const CREDIT_LAPSE_MS = 300_000
const BACKOFF = { kind: 'backoff', baseMs: 1000, maxMs: 60_000 } as const
/** A guess: running requests hold the budget, and each frees its part when it ends. */
const IN_FLIGHT_BENCH_MS = 10_000

const noEffect = (): BlameEffect => ({})
const stop = (): Next => ({ kind: 'none' })
const otherModel = (): Next => ({ kind: 'fallback' })
const otherKey = (): Next => ({ kind: 'move', exclude: 'key' })
const otherAccount = (): Next => ({ kind: 'move', exclude: 'account' })
const retry = ({ resetAtMs }: FailureSigns): Next => ({
  kind: 'retry',
  limit: 'attempts',
  notBeforeMs: resetAtMs,
})
/** The provider works on, and is paid, when the gateway has stopped waiting. */
const retryUnlessPaid = (signs: FailureSigns, { isPaidInFull }: BlameContext): Next =>
  signs.failure.kind === 'timeout' && isPaidInFull ? stop() : retry(signs)

const bench = (scope: BenchScope, reason: BenchReason, term: BenchTerm): BlameEffect => ({
  benches: [{ scope, reason, term }],
})
const limited = (scope: BenchScope, term: BenchTerm, detail: BenchDetail): BlameEffect => ({
  benches: [{ scope, reason: 'account_rate_limited', detail, term }],
})
const untilReset = ({ resetAtMs }: FailureSigns, otherwise: BenchTerm): BenchTerm =>
  resetAtMs === null ? otherwise : { kind: 'until', untilMs: resetAtMs }
const atLeastASecond = ({ resetAtMs, nowMs }: FailureSigns): BenchTerm => {
  if (resetAtMs === null) return BACKOFF
  return { kind: 'until', untilMs: Math.max(resetAtMs, nowMs + BACKOFF.baseMs) }
}
/** Only for this model: if it is the cause, a caller who asks for it must not bench key after key. */
const restIfTold = ({ resetAtMs }: FailureSigns): BlameEffect =>
  resetAtMs === null
    ? {}
    : limited('key_model', { kind: 'until', untilMs: resetAtMs }, 'key_rate_limited')
const tooLargeFor =
  (payer: 'key' | 'account') =>
  (signs: FailureSigns): BlameEffect => {
    const tokens = affordableTokens(signs)
    return { tooLargeFor: payer, ...(tokens === null ? {} : { affordableTokens: tokens }) }
  }

/**
 * Whose fault a failure is; the first matching row wins. The order matters: a row with a specific
 * sign is before the row with only the status. https://openrouter.ai/docs/api-reference/errors
 */
export const BLAME_TABLE: readonly BlameRow[] = [
  {
    row: '1',
    sign: isWithoutAnswer,
    fault: 'upstream',
    outcome: 'failure',
    effect: restIfTold,
    next: retryUnlessPaid,
  },
  {
    row: '2',
    sign: isProviderKeys,
    fault: 'account',
    outcome: 'ignorable',
    effect: () =>
      limited('account_model', { kind: 'for', forMs: BYOK_BENCH_MS }, 'provider_key_failed'),
    next: otherAccount,
  },
  {
    row: '3',
    sign: isProviders,
    fault: 'provider',
    outcome: 'ignorable',
    effect: (signs) =>
      judgesRequest(signs)
        ? {}
        : bench(
            'model',
            'account_rate_limited',
            untilReset(signs, { kind: 'for', forMs: MODEL_BENCH_MS }),
          ),
    next: () => ({ kind: 'retry', limit: 'once', notBeforeMs: null }),
  },
  {
    row: '4',
    sign: ({ status }) => status === 401,
    fault: 'key',
    outcome: 'failure',
    effect: () => ({
      ...bench('key', 'key_rejected', { kind: 'for', forMs: SUSPECT_BENCH_MS }),
      suspect: true,
    }),
    next: otherKey,
  },
  {
    row: '5',
    sign: isKeySpent,
    fault: 'key',
    outcome: 'ignorable',
    effect: (signs) => bench('key', 'key_spent', keyLimitTerm(signs)),
    next: otherKey,
  },
  {
    row: '6',
    sign: isTooLargeForKey,
    fault: 'key',
    outcome: 'ignorable',
    effect: tooLargeFor('key'),
    next: otherKey,
  },
  {
    row: '7',
    sign: (signs) =>
      signs.status === 402 &&
      (hasLimitSource(signs, 'in_flight_budget') || hasReason(signs, 'in_flight_budget_exhausted')),
    fault: 'account',
    outcome: 'ignorable',
    effect: (signs) =>
      bench(
        'account',
        'account_rate_limited',
        untilReset(signs, { kind: 'for', forMs: IN_FLIGHT_BENCH_MS }),
      ),
    next: otherAccount,
  },
  {
    row: '8',
    sign: isTooLargeForAccount,
    fault: 'account',
    outcome: 'ignorable',
    effect: tooLargeFor('account'),
    next: otherAccount,
  },
  {
    row: '9',
    sign: ({ status }) => status === 402,
    fault: 'account',
    outcome: 'ignorable',
    effect: () =>
      bench('account', 'account_out_of_credit', { kind: 'lookup', lapseMs: CREDIT_LAPSE_MS }),
    next: otherAccount,
  },
  {
    row: '10',
    sign: (signs) => signs.status === 429 && isFreeTierLimit(signs),
    fault: 'account',
    outcome: 'ignorable',
    effect: (signs) => {
      const window = isDailyFreeTierLimit(signs) ? 'day' : 'minute'
      const untilMs = endOfUtcWindow(window, signs.nowMs)
      const term = untilReset(signs, { kind: 'until', untilMs })
      return limited('account_free', term, 'free_tier_spent')
    },
    next: (_signs, { spill }) => (spill.freeTier ? otherAccount() : otherModel()),
  },
  {
    row: '11',
    sign: (signs) =>
      signs.status === 429 &&
      (hasLimitSource(signs, 'new_account') || /new-account-rpm\//i.test(signs.message)),
    fault: 'account',
    outcome: 'ignorable',
    effect: (signs) => {
      const untilMs = endOfUtcWindow('minute', signs.nowMs)
      return bench(
        'account_model',
        'account_rate_limited',
        untilReset(signs, { kind: 'until', untilMs }),
      )
    },
    next: otherAccount,
  },
  {
    row: '12',
    sign: ({ status }) => status === 429,
    fault: 'unknown',
    outcome: 'failure',
    effect: (signs) => limited('key', atLeastASecond(signs), 'key_rate_limited'),
    // The key's bench lasts as long as the wait that upstream named. Another key need not wait.
    next: () => ({ kind: 'retry', limit: 'attempts', notBeforeMs: null }),
  },
  {
    row: '13',
    sign: isAccountPolicy,
    fault: 'policy',
    outcome: 'ignorable',
    effect: noEffect,
    // A policy protects its owner. An account with a weaker policy would bypass it.
    next: (_signs, { spill }) => (spill.policy ? otherAccount() : stop()),
  },
  {
    row: '13b',
    sign: isBudgetExceeded,
    fault: 'account',
    outcome: 'ignorable',
    effect: (signs) => {
      const untilMs = limitEndMs(signs)
      const term: BenchTerm =
        untilMs === null ? { kind: 'for', forMs: BUDGET_BENCH_MS } : { kind: 'until', untilMs }
      return limited(budgetPayer(signs), term, 'budget_layer_spent')
    },
    // Keys that a spent budget does not cover may serve. The pool knows which keys these are.
    next: (signs) => (budgetPayer(signs) === 'account' ? otherAccount() : otherKey()),
  },
  {
    row: '14',
    sign: (signs) =>
      signs.status === 403 ||
      (signs.status === 404 && failedRoutingStep(signs) !== null) ||
      (signs.status !== null && isAboutContent(signs)),
    fault: 'caller',
    outcome: 'ignorable',
    effect: noEffect,
    next: stop,
  },
  {
    row: '15',
    sign: isRequestError,
    fault: 'caller',
    outcome: 'ignorable',
    effect: noEffect,
    next: (signs) => (isUnknownModel(signs) ? otherModel() : stop()),
  },
  {
    row: '16',
    sign: isModelDown,
    fault: 'upstream',
    outcome: 'failure',
    effect: restIfTold,
    next: retry,
  },
  {
    row: '16b',
    sign: ({ status }) => status !== null,
    fault: 'upstream',
    outcome: 'failure',
    effect: (signs) => ({ ...restIfTold(signs), unknownError: unknownError(signs) }),
    next: retry,
  },
]

/** Row 17: the client left, or the gateway's own queue, limits, timeout or shutdown ended it. */
export const NOBODY: Blame = {
  row: '17',
  fault: 'nobody',
  outcome: 'ignorable',
  benches: [],
  suspect: false,
  next: { kind: 'none' },
}

/**
 * Finds whose fault a failure was, by the first matching row of the table. A failure that matches
 * no row (the gateway's own timeout for the whole request) has the fault `nobody`.
 */
export function blame(failure: UpstreamFailure, context: BlameContext): Blame {
  const signs = signsOf(failure, context.nowMs)
  const row = BLAME_TABLE.find(({ sign }) => sign(signs))
  if (row === undefined) return NOBODY
  return {
    row: row.row,
    fault: row.fault,
    outcome: row.outcome,
    benches: [],
    suspect: false,
    ...row.effect(signs),
    next: row.next(signs, context),
  }
}
