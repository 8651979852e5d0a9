import type { Caller, DirectoryEntry } from '../balancing/clients/caller.ts'
import {
  createRotatingMap,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../balancing/limits/rotating-map.ts'
import type { PoolClient } from '../key-pool/pool-client.ts'

/**
 * The clients that were made at run time, as this isolate knows them: a copy of the pool's list. So a
 * known token costs no call, a revoked one is refused everywhere within a minute, and an unknown one
 * costs a call only while the isolate has some to spend on unknown ones.
 */
export interface ClientDirectory {
  version: number | null
  /** When the copy was made or confirmed last, in epoch milliseconds. */
  readAtMs: number
  byHash: ReadonlyMap<string, KnownToken>
  /** When an answer to the latest question was asked for; null while nobody asks. */
  askedAtMs: number | null
  /** Calls that may be spent on tokens which the copy does not hold. */
  readonly allowance: Allowance
  /** The same for each address, so that one that guesses does not spend the others'. */
  readonly byAddress: RotatingMap<string, Allowance>
}

interface KnownToken {
  readonly caller: Caller
  readonly expiresAtMs: number | null
}

interface Allowance {
  calls: number
  atMs: number
}

/** A copy is used for so long. A revocation holds within a minute, the call's two seconds included. */
const FRESH_MS = 50_000

/** From this age on a busy isolate asks for a new copy beside its requests. */
const RENEW_MS = 25_000

/** A call that has not come back after this time is lost. */
const CALL_MS = 3_000

const OF_ISOLATE = { most: 20, everyMs: 2_000 }
const OF_ADDRESS = { most: 3, everyMs: 10_000 }
const ADDRESSES = { termMs: 60_000, capacity: 2_000 }

export function createClientDirectory(): ClientDirectory {
  return {
    version: null,
    readAtMs: Number.NEGATIVE_INFINITY,
    byHash: new Map(),
    askedAtMs: null,
    allowance: { calls: OF_ISOLATE.most, atMs: Number.NEGATIVE_INFINITY },
    byAddress: createRotatingMap(ADDRESSES),
  }
}

/** Who a token belongs to, as far as this isolate can know. */
export type Lookup =
  | { readonly kind: 'known'; readonly caller: Caller }
  | { readonly kind: 'unknown' }
  /** The pool's object cannot be reached, so nobody knows. */
  | { readonly kind: 'unreachable' }

export interface DirectoryAccess {
  readonly pool: Pick<PoolClient, 'clientDirectory'>
  /** The newest version of the clients that the isolate has heard of. */
  readonly newestVersion: number
  readonly nowMs: () => number
  readonly background: (work: Promise<unknown>) => void
}

/**
 * Finds the client of a token by its hash.
 * @param address from where the request comes
 */
export async function findClient(
  directory: ClientDirectory,
  hash: string,
  address: string,
  access: DirectoryAccess,
): Promise<Lookup> {
  const nowMs = access.nowMs()
  // The pool says with each answer whether its clients have changed.
  const isStale = access.newestVersion > (directory.version ?? 0)
  const ageMs = isStale ? Number.POSITIVE_INFINITY : nowMs - directory.readAtMs
  const known = directory.byHash.get(hash)
  if (known !== undefined && ageMs < FRESH_MS) {
    if (ageMs >= RENEW_MS && !isAsking(directory, nowMs))
      access.background(renew(directory, access))
    return found(known, nowMs)
  }
  const mayAsk = known !== undefined || ageMs >= FRESH_MS || maySpend(directory, address, nowMs)
  if (!mayAsk) return UNKNOWN
  const isRead = await renew(directory, access)
  if (!isRead) return UNREACHABLE
  const now = directory.byHash.get(hash)
  return now === undefined ? UNKNOWN : found(now, access.nowMs())
}

const UNKNOWN: Lookup = { kind: 'unknown' }
const UNREACHABLE: Lookup = { kind: 'unreachable' }

function found({ caller, expiresAtMs }: KnownToken, nowMs: number): Lookup {
  return expiresAtMs !== null && nowMs >= expiresAtMs ? UNKNOWN : { kind: 'known', caller }
}

function isAsking({ askedAtMs }: ClientDirectory, nowMs: number): boolean {
  return askedAtMs !== null && nowMs - askedAtMs < CALL_MS
}

/** @returns false if the pool's object did not answer */
async function renew(directory: ClientDirectory, { pool, nowMs }: DirectoryAccess) {
  const askedAtMs = nowMs()
  directory.askedAtMs = askedAtMs
  const answer = await pool.clientDirectory(directory.version)
  directory.askedAtMs = null
  if (answer.kind === 'unavailable') return false
  const { clientsVersion: version, entries } = answer.value
  // As old as the question: what changed after it may not be in the answer.
  directory.readAtMs = Math.max(directory.readAtMs, askedAtMs)
  directory.version = version
  if (entries !== null) directory.byHash = byHash(entries)
  return true
}

function byHash(entries: readonly DirectoryEntry[]): ReadonlyMap<string, KnownToken> {
  return new Map(
    entries.flatMap(({ caller, tokens }) =>
      tokens.map(({ sha256, expiresAtMs }) => [sha256, { caller, expiresAtMs }] as const),
    ),
  )
}

/** Whether a call may be spent on a token that may be a guess. */
function maySpend(directory: ClientDirectory, address: string, nowMs: number): boolean {
  const ofAddress = getEntry(directory.byAddress, address) ?? {
    calls: OF_ADDRESS.most,
    atMs: nowMs,
  }
  setEntry(directory.byAddress, address, ofAddress, nowMs)
  return spend(ofAddress, OF_ADDRESS, nowMs) && spend(directory.allowance, OF_ISOLATE, nowMs)
}

function spend(allowance: Allowance, { most, everyMs }: typeof OF_ISOLATE, nowMs: number): boolean {
  const earned = (nowMs - allowance.atMs) / everyMs
  allowance.calls = Math.min(most, allowance.calls + Math.max(0, earned))
  allowance.atMs = nowMs
  if (allowance.calls < 1) return false
  allowance.calls -= 1
  return true
}
