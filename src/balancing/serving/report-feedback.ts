import { afterFailedLookup, afterSpending } from '../accounting/credit.ts'
import { afterDayReport, dayOfMoment, isDrift } from '../accounting/drift.ts'
import { spentToday } from '../accounting/ledger.ts'
import { isActive } from '../health/bench.ts'
import {
  accountBenchAfterReport,
  benchAfterReport,
  freeBenchAfterReport,
  hasRoom,
  type KeyReport,
} from '../health/key-report.ts'
import { afterReport } from '../health/lookup-duty.ts'
import { isWaveOn, noteAccepted } from '../health/rejection-wave.ts'
import { learnGroups, learnOwner } from '../key-owners.ts'
import { afterLookup } from '../limits/size-note.ts'
import { type KeyState, type PoolState, setLookup } from '../pool-state.ts'

/** What the pool learns of its keys from key reports. */

/** Learns from a key report: the key's credit and owner, and whether benches have ended. */
export function learnFromReport(
  state: PoolState,
  key: KeyState,
  lookup: KeyReport,
  nowMs: number,
): void {
  if (!isOfSecret(key, lookup)) return
  if (lookup.kind === 'valid') noteAccepted(state.rejections, lookup.askedAtMs)
  const isPlatforms = lookup.kind === 'rejected' && isWaveOn(state.rejections, nowMs)
  const bench = isPlatforms ? key.bench : benchAfterReport(key.bench, lookup, nowMs)
  if (bench !== key.bench) state.changes.keys.add(key.id)
  key.bench = bench
  setLookup(state, key, afterReport(key.lookup, lookup, nowMs, refreshOf(state, key)))
  if (lookup.kind === 'valid') learnFromAnswer(state, key, lookup, nowMs)
  else if (lookup.kind === 'unknown') key.credit = afterFailedLookup(key.credit)
}

/** During a deployment, a Worker of the old version may have looked up an old secret of the key. */
function isOfSecret({ config }: KeyState, lookup: KeyReport): boolean {
  if (lookup.kind === 'unknown' || lookup.fingerprint === undefined) return true
  return lookup.fingerprint === config.fingerprint
}

/** Lookups that fell into step would stay in it, and a thousand keys be asked about in one second. */
const SPREAD = 0.2

/** After how long a key is looked up again: each key of a pool has a moment of its own. */
function refreshOf(state: PoolState, key: KeyState): number {
  return state.policy.credit.refreshMs * (1 + (SPREAD * key.position) / state.keys.size)
}

function learnFromAnswer(
  state: PoolState,
  key: KeyState,
  lookup: ValidReport,
  nowMs: number,
): void {
  const { limitUsd, remainingUsd, resetsAtMs, askedAtMs, owner, layer = null } = lookup
  // Reports may overtake each other.
  if (key.credit.kind === 'known' && askedAtMs < key.credit.asOfMs) return
  key.expiresAtMs = lookup.expiresAtMs
  // An answer that the pool already knows says nothing about later spending.
  if (key.credit.kind === 'unknown' || key.credit.asOfMs !== askedAtMs) {
    const amounts = { limitUsd, remainingUsd, resetsAtMs, layer } as const
    const answer = { kind: 'known', ...amounts, stale: false } as const
    // The answer may or may not include spending that was settled since the duty was handed out.
    // It is safer to count that spending twice.
    key.credit = afterSpending({ ...answer, asOfMs: askedAtMs }, key.spentSinceAskedUsd, nowMs)
  }
  const { account } = key
  const hadNoRoom = account.keysWithoutRoom.has(key.id)
  const accountBench = accountBenchAfterReport(account.bench, hadNoRoom, lookup, nowMs)
  if (accountBench !== account.bench) state.changes.accounts.add(account.id)
  account.bench = accountBench
  if (isActive(accountBench, nowMs) && !hasRoom(lookup) && !hadNoRoom) {
    account.keysWithoutRoom.add(key.id)
    state.changes.accounts.add(account.id)
  }
  if (owner !== null && owner !== key.owner) {
    learnOwner(state, key, owner, nowMs)
    state.changes.keys.add(key.id)
  }
  key.tooLarge = afterLookup(key.tooLarge, lookup)
  key.account.tooLarge = afterLookup(key.account.tooLarge, lookup)
  learnGroups(state, key, lookup)
  auditDay(state, key, lookup, nowMs)
  learnFreeTier(state, key, lookup, nowMs)
}

/** Compares what the key has spent today at OpenRouter with what was booked here. */
function auditDay(
  { changes }: PoolState,
  key: KeyState,
  { askedAtMs, usageDailyUsd = null }: ValidReport,
  nowMs: number,
): void {
  const day = dayOfMoment(askedAtMs)
  if (usageDailyUsd === null || day !== dayOfMoment(nowMs)) return
  const bookedUsd = spentToday(key.tally, nowMs)
  const { kept, over } = afterDayReport(key.spentDay, {
    ...{ day, bookedUsd, upstreamUsd: usageDailyUsd },
  })
  key.spentDay = kept
  if (over !== null && isDrift(over)) changes.drifts.push({ keyId: key.id, ...over })
}

type ValidReport = Extract<KeyReport, { kind: 'valid' }>

/** Learns whether the key's account has requests for free models left. */
function learnFreeTier(state: PoolState, key: KeyState, lookup: ValidReport, nowMs: number): void {
  const { account } = key
  // Of before an operator's reset, which it must not undo.
  if (lookup.askedAtMs < account.resetAtMs) return
  const bench = freeBenchAfterReport(account.freeBench, lookup, nowMs)
  if (bench !== account.freeBench) state.changes.accounts.add(account.id)
  account.freeBench = bench
}
