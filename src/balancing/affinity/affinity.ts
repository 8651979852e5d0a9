import type { AccountId } from '../ids.ts'
import { type AccountLoad, createLoad } from './account-load.ts'
import type { AccountPart, CandidateAccounts } from './candidate-accounts.ts'
import { hash32, rendezvousWinner } from './rendezvous-hash.ts'

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
  /**
   * Homes in two generations, of which the older is forgotten as a whole: see rotating-map.ts. They
   * are not kept in one of those, since what is forgotten has to be counted off.
   */
  young: Map<string, Home>
  old: Map<string, Home>
  rotatedAtMs: number
  readonly loads: Map<AccountId, AccountLoad>
  /** To what moment `AccountLoad.recent` is scaled. */
  landmarkMs: number
  /** Numbers the sortings of keys by account: see candidate-accounts.ts. */
  sortings: number
}

export interface Home {
  account: AccountId
  usedAtMs: number
}

/** The load that an account may carry: this many times its share. */
const MAX_LOAD = 1.25

/** A new conversation has nothing cached. So new ones are spread more evenly, at no cost. */
const MAX_HOMES = 1.1

/** OpenRouter forgets where a conversation was after ten idle minutes. */
const HOME_MS = 10 * 60_000

/** The most homes of a generation: about 2 MB. */
const MAX_REMEMBERED = 10_000

const RECENT_MS = 60_000

/** Forward decay grows without end; after this time everything is scaled anew. */
const RESCALE_MS = 20 * RECENT_MS

export function createAffinities(nowMs: number): Affinities {
  return {
    young: new Map(),
    old: new Map(),
    rotatedAtMs: nowMs,
    loads: new Map(),
    landmarkMs: nowMs,
    sortings: 0,
  }
}

/**
 * The account for a request of a conversation. The home is looked at first: most requests need no
 * more than that.
 * @param id anything that is the same for all of its turns
 * @param among those of the keys that may serve; not empty
 */
export function accountFor(
  affinities: Affinities,
  id: string,
  among: CandidateAccounts,
  nowMs: number,
): AccountLoad {
  const { parts } = among
  const carried = carriedBy(among)
  const home = partOf(parts, homeOf(affinities, id, nowMs))
  if (home !== null && !isOverloaded(home, carried)) return home.load
  const hash = hash32(id)
  const isFree = (account: AccountPart) => !isOverloaded(account, carried)
  const roomy = rendezvousWinner(
    hash,
    parts,
    (account) => !isFull(account, carried) && isFree(account),
  )
  // Not all can be overloaded: their bounds together are more than what runs.
  return (roomy ?? (rendezvousWinner(hash, parts, isFree) as AccountPart)).load
}

/** Whether an account may still be given requests of the conversations that are with it. */
export function mayKeep(among: CandidateAccounts, load: AccountLoad): boolean {
  const part = partOf(among.parts, load)
  return part !== null && !isOverloaded(part, carriedBy(among))
}

function partOf(parts: readonly AccountPart[], home: AccountLoad | null): AccountPart | null {
  if (home === null) return null
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i] as AccountPart
    if (part.load === home) return part
  }
  return null
}

/** Remembers where a request of a conversation was sent. */
export function remember(
  affinities: Affinities,
  id: string,
  account: AccountId,
  nowMs: number,
): void {
  rotate(affinities, nowMs)
  const known = affinities.young.get(id)
  if (known !== undefined) {
    moveHome(affinities, known, account)
    known.usedAtMs = nowMs
    return
  }
  const older = affinities.old.get(id)
  if (older !== undefined) {
    affinities.old.delete(id)
    loadOf(affinities, older.account).oldHomes -= 1
  }
  affinities.young.set(id, { account, usedAtMs: nowMs })
  loadOf(affinities, account).youngHomes += 1
}

/** Nearly every turn goes to the account that served the one before. */
function moveHome(affinities: Affinities, home: Home, account: AccountId): void {
  if (home.account === account) return
  loadOf(affinities, home.account).youngHomes -= 1
  loadOf(affinities, account).youngHomes += 1
  home.account = account
}

function rotate(affinities: Affinities, nowMs: number): void {
  const isFull = affinities.young.size >= MAX_REMEMBERED
  if (!isFull && nowMs - affinities.rotatedAtMs < HOME_MS) return
  affinities.old = affinities.young
  affinities.young = new Map()
  affinities.rotatedAtMs = nowMs
  for (const load of affinities.loads.values()) {
    load.oldHomes = load.youngHomes
    load.youngHomes = 0
  }
}

/** Counts any request that an account gets. */
export function countRequest(affinities: Affinities, load: AccountLoad, nowMs: number): void {
  const elapsedMs = nowMs - affinities.landmarkMs
  if (elapsedMs >= RESCALE_MS) {
    const kept = Math.exp(-elapsedMs / RECENT_MS)
    for (const other of affinities.loads.values()) other.recent *= kept
    affinities.landmarkMs = nowMs
  }
  load.recent += Math.exp(Math.max(0, nowMs - affinities.landmarkMs) / RECENT_MS)
}

/** What the accounts carry together. Most homes are not busy, and then the last two are not needed. */
interface Carried extends CandidateAccounts {
  readonly running: number
  recently: number | null
  housed: number | null
}

function carriedBy({ parts, weights }: CandidateAccounts): Carried {
  let running = 0
  for (let i = 0; i < parts.length; i++) running += (parts[i] as AccountPart).load.inFlight
  return { parts, weights, running, recently: null, housed: null }
}

/** A load that is this many standard deviations above its share is not chance. */
const NO_CHANCE = 3

/**
 * Whether an account has more than its part of the running requests, and not by chance.
 *
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
function isOverloaded({ weight, load }: AccountPart, carried: Carried): boolean {
  const { inFlight, recent } = load
  const { parts, weights, running } = carried
  const share = weight / weights
  const busy = inFlight + 1 > Math.ceil(MAX_LOAD * (running + 1) * share)
  if (!busy) return false
  const deviation = Math.sqrt(running * share * (1 - share))
  const isNoChance = inFlight > running * share + NO_CHANCE * deviation + 1
  if (isNoChance) return true
  carried.recently ??= parts.reduce((sum, part) => sum + part.load.recent, 0)
  return recent > MAX_LOAD * carried.recently * share
}

/** Whether an account is the home of as many conversations as it may be. */
function isFull({ weight, load }: AccountPart, carried: Carried): boolean {
  const { parts, weights } = carried
  carried.housed ??= parts.reduce((sum, part) => sum + homesOf(part.load), 0)
  return homesOf(load) + 1 > Math.ceil((MAX_HOMES * (carried.housed + 1) * weight) / weights)
}

function homesOf({ youngHomes, oldHomes }: AccountLoad): number {
  return youngHomes + oldHomes
}

/**
 * The account that a conversation was served by last; null if that is too long ago, or unknown. As its
 * load, since candidates are compared with it: one text with another takes longer than one object.
 */
export function homeOf(affinities: Affinities, id: string, nowMs: number): AccountLoad | null {
  const { young, old, loads } = affinities
  const home = young.get(id) ?? old.get(id)
  if (home === undefined || home.usedAtMs < nowMs - HOME_MS) return null
  return loads.get(home.account) ?? null
}

/** The load of an account, made where there is none. It is the same one from then on. */
export function loadOf({ loads }: Affinities, id: AccountId): AccountLoad {
  let load = loads.get(id)
  if (load === undefined) {
    load = createLoad(id)
    loads.set(id, load)
  }
  return load
}
