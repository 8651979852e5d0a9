import type { KeyId } from '../ids.ts'
import type { KeyReport } from './key-report.ts'

/**
 * Whether `/key` has to be asked about a key. `out`: somebody has been handed the
 * duty; while its report may still come, nobody else is asked.
 */
export type DutyState =
  | { readonly kind: 'due'; readonly atMs: number }
  | { readonly kind: 'out'; readonly overdueAtMs: number }

/** What is known of a key's lookups. */
export interface LookupState {
  readonly duty: DutyState
  /** When the latest report came, whatever it found; null if none has. */
  readonly reportedAtMs: number | null
  /** Since when the key is in doubt and no newer answer has come; null if it is not. */
  readonly doubtedAtMs: number | null
  /** When a doubt was last looked into. */
  readonly verifiedAtMs: number | null
}

/** The order to ask `GET /key` about one key, given to one Worker at a time. */
export interface LookupDuty {
  readonly keyId: KeyId
  /** An answer of this moment or later is fresh enough, whoever asked for it. Epoch milliseconds. */
  readonly freshSinceMs: number
  /** Whether to ask for the account's own balance too, where OpenRouter shows it. */
  readonly withBalance: boolean
}

/** A hundred requests that come back with a 401 one after another must not ask a hundred times. */
const VERIFY_AGAIN_MS = 60_000

/** Every key is due at first: nothing is known of it. */
export const NEVER_LOOKED_UP: LookupState = {
  duty: { kind: 'due', atMs: 0 },
  reportedAtMs: null,
  doubtedAtMs: null,
  verifiedAtMs: null,
}

export function isDue({ duty }: LookupState, nowMs: number): boolean {
  return nowMs >= (duty.kind === 'due' ? duty.atMs : duty.overdueAtMs)
}

/**
 * Hands the duty out.
 * @param refreshMs how old an answer may be; nobody asks about one key more often
 */
export function handOut(
  state: LookupState,
  nowMs: number,
  refreshMs: number,
): { state: LookupState; freshSinceMs: number } {
  return {
    // What was handed out and never reported (the Worker died) may still have been asked.
    state: { ...state, duty: { kind: 'out', overdueAtMs: nowMs + refreshMs } },
    // Exactly as old would do for no time at all: another lookup would be due in the same moment.
    freshSinceMs: Math.max(nowMs - refreshMs + 1, state.doubtedAtMs ?? 0),
  }
}

/**
 * Puts a key in doubt: the answer at hand is void, however fresh. The lookup that
 * verifies it is due at once, or as soon as the key has rested from the last one.
 */
export function doubt(state: LookupState, nowMs: number): LookupState {
  const doubted = { ...state, doubtedAtMs: nowMs }
  return state.duty.kind === 'out' ? doubted : { ...doubted, duty: verification(doubted, nowMs) }
}

function verification({ verifiedAtMs }: LookupState, nowMs: number): DutyState {
  const restedAtMs = verifiedAtMs === null ? nowMs : verifiedAtMs + VERIFY_AGAIN_MS
  return { kind: 'due', atMs: Math.max(nowMs, restedAtMs) }
}

/** The state after a report. An answer older than the doubt leaves it standing. */
export function afterReport(
  state: LookupState,
  lookup: KeyReport,
  nowMs: number,
  refreshMs: number,
): LookupState {
  const askedAtMs = lookup.kind === 'unknown' ? nowMs : lookup.askedAtMs
  const isOlder = state.doubtedAtMs !== null && askedAtMs < state.doubtedAtMs
  const reported = { ...state, reportedAtMs: nowMs }
  // It counts as a look all the same: while 401s go on coming in, every answer is older than the
  // last of them.
  if (isOlder) return { ...reported, verifiedAtMs: nowMs, duty: verification(state, nowMs) }
  const wasDoubted = state.doubtedAtMs !== null
  return {
    duty: { kind: 'due', atMs: Math.min(askedAtMs, nowMs) + refreshMs },
    reportedAtMs: nowMs,
    // A lookup that failed has verified nothing, and is tried again in its turn.
    doubtedAtMs: lookup.kind === 'unknown' ? state.doubtedAtMs : null,
    verifiedAtMs: wasDoubted ? nowMs : state.verifiedAtMs,
  }
}
