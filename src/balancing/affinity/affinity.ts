import type { AccountId } from '../ids.ts'
import { byRendezvous } from './rendezvous-hash.ts'

/**
 * The home of each conversation: the account that served it last. OpenRouter sends a
 * conversation back to the provider that has its prompt cached, for each account
 * separately. A turn that goes to another account pays for the whole prompt again.
 *
 * Rendezvous hashing finds the first home of a conversation, with loads bounded as in
 * Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads" (2016).
 * Homes are remembered: a bound that only hashing enforces would move a different
 * conversation with each request. They may be forgotten: hashing finds most of them
 * again.
 */
export interface Affinities {
  /** In order of last use. */
  readonly homes: Map<string, Home>
  readonly loads: Map<AccountId, AccountLoad>
}

interface Home {
  readonly account: AccountId
  readonly usedAtMs: number
}

interface AccountLoad {
  /** Conversations whose home it is. */
  homes: number
  /** Recent requests. Each counts 1 at first, and less and less over a minute. */
  recent: number
  recentAtMs: number
}

/** An account that could serve a request now. */
export interface AccountCandidate {
  readonly id: AccountId
  readonly weight: number
  readonly inFlight: number
}

/** The load that an account may carry: this many times its share. */
const MAX_LOAD = 1.25

/** A new conversation has nothing cached. So new ones are spread more evenly, at no cost. */
const MAX_HOMES = 1.1

/** OpenRouter forgets where a conversation was after ten idle minutes. */
const HOME_MS = 10 * 60_000

/** The most homes that are remembered: about 2 MB. */
const MAX_REMEMBERED = 10_000

const RECENT_MS = 60_000

export function createAffinities(): Affinities {
  return { homes: new Map(), loads: new Map() }
}

/**
 * The account for a request of a conversation.
 * @param id anything that is the same for all of its turns
 * @param candidates not empty
 */
export function accountFor(
  affinities: Affinities,
  id: string,
  candidates: readonly AccountCandidate[],
  nowMs: number,
): AccountId {
  const bounds = boundsOf(affinities, candidates, nowMs)
  const home = homeOf(affinities, id, nowMs)
  const known = candidates.find((candidate) => candidate.id === home)
  if (known !== undefined && !bounds.isOverloaded(known)) return known.id
  const ranked = byRendezvous(id, candidates)
  const free = ranked.filter((candidate) => !bounds.isOverloaded(candidate))
  const roomy = free.find((candidate) => !bounds.isFull(candidate))
  return (roomy ?? free[0] ?? leastLoaded(ranked)).id
}

/** Remembers where a request of a conversation was sent. */
export function remember(
  affinities: Affinities,
  id: string,
  account: AccountId,
  nowMs: number,
): void {
  forget(affinities, id)
  affinities.homes.set(id, { account, usedAtMs: nowMs })
  loadOf(affinities, account).homes += 1
  for (const [oldest, { usedAtMs }] of affinities.homes) {
    const stale = usedAtMs < nowMs - HOME_MS || affinities.homes.size > MAX_REMEMBERED
    if (!stale) break
    forget(affinities, oldest)
  }
}

/** Counts any request that an account gets. */
export function countRequest(affinities: Affinities, account: AccountId, nowMs: number): void {
  const load = loadOf(affinities, account)
  load.recent = recentOf(load, nowMs) + 1
  load.recentAtMs = nowMs
}

interface Bounds {
  /** Whether it has more than its part of the running requests, and not by chance. */
  isOverloaded(candidate: AccountCandidate): boolean
  /** Whether it is the home of as many conversations as it may be. */
  isFull(candidate: AccountCandidate): boolean
}

/** A load that is this many standard deviations above its share is not chance. */
const NO_CHANCE = 3

/**
 * The number of running requests changes by chance from moment to moment. If only this
 * number counted, conversations would move under even load. So an account that is above
 * its bound counts as overloaded in two cases: it also had too many of the last minute's
 * requests, or it is so far above its share that chance cannot explain it. The last
 * minute's requests alone prove nothing about an account that is idle now.
 *
 * Measured by seeded simulation, as the share of turns that stay with their account:
 * - With the running requests alone: 80 % instead of 97.5 % (100 conversations over ten
 *   equal accounts).
 * - Without the rule about chance: 100 % instead of 94 %, if one of three accounts answers
 *   five times as slowly (500 conversations). But then the busiest account has 2.0 instead
 *   of 1.3 times its share in flight, and the mean answer takes 21.8 s instead of 15.3 s.
 * - The worst case of the rule: 85 % instead of 94 %, if 20 long requests every 4 minutes
 *   may use only one of two accounts (60 conversations with a turn every 3 minutes).
 */
function boundsOf(
  affinities: Affinities,
  candidates: readonly AccountCandidate[],
  nowMs: number,
): Bounds {
  const sum = (of: (candidate: AccountCandidate) => number) =>
    candidates.reduce((total, candidate) => total + of(candidate), 0)
  const recent = ({ id }: AccountCandidate) => recentOf(loadOf(affinities, id), nowMs)
  const homes = ({ id }: AccountCandidate) => loadOf(affinities, id).homes
  const weights = sum(({ weight }) => weight)
  const running = sum(({ inFlight }) => inFlight)
  const recently = sum(recent)
  const housed = sum(homes)
  return {
    isOverloaded(candidate) {
      const share = candidate.weight / weights
      const { inFlight } = candidate
      const busy = inFlight + 1 > Math.ceil(MAX_LOAD * (running + 1) * share)
      if (!busy) return false
      const deviation = Math.sqrt(running * share * (1 - share))
      const isNoChance = inFlight > running * share + NO_CHANCE * deviation + 1
      return isNoChance || recent(candidate) > MAX_LOAD * recently * share
    },
    isFull: (candidate) =>
      homes(candidate) + 1 > Math.ceil((MAX_HOMES * (housed + 1) * candidate.weight) / weights),
  }
}

function leastLoaded(candidates: readonly AccountCandidate[]): AccountCandidate {
  return candidates.reduce((least, candidate) =>
    candidate.inFlight * least.weight < least.inFlight * candidate.weight ? candidate : least,
  )
}

/** The account that a conversation was served by last; null if that is too long ago, or unknown. */
export function homeOf({ homes }: Affinities, id: string, nowMs: number): AccountId | null {
  const home = homes.get(id)
  return home !== undefined && home.usedAtMs >= nowMs - HOME_MS ? home.account : null
}

function forget(affinities: Affinities, id: string): void {
  const home = affinities.homes.get(id)
  if (home === undefined) return
  affinities.homes.delete(id)
  loadOf(affinities, home.account).homes -= 1
}

function loadOf({ loads }: Affinities, account: AccountId): AccountLoad {
  let load = loads.get(account)
  if (load === undefined) {
    load = { homes: 0, recent: 0, recentAtMs: 0 }
    loads.set(account, load)
  }
  return load
}

function recentOf({ recent, recentAtMs }: AccountLoad, nowMs: number): number {
  return recent * Math.exp(-Math.max(0, nowMs - recentAtMs) / RECENT_MS)
}
