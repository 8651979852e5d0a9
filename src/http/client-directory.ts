import type { Caller, DirectoryEntry } from '../balancing/clients/caller.ts'
import type { ClientId } from '../balancing/ids.ts'
import type { PoolClient } from '../key-pool/pool-client.ts'
import {
  createGuessAllowance,
  type GuessAllowance,
  noteRefused,
  spendOnGuess,
} from './guess-allowance.ts'

/**
 * The clients that were made at run time, as this isolate knows them: a copy of the pool's list. So a
 * known token costs no call, a revoked one is refused everywhere within a minute, and an unknown one
 * costs a call only while the isolate has some to spend on unknown ones.
 */
export interface ClientDirectory {
  version: number | null
  /** When the copy was asked for, or confirmed, last, in epoch milliseconds. */
  readAtMs: number
  byHash: ReadonlyMap<string, KnownToken>
  /**
   * The newest version that the isolate had heard of when it asked for the copy. The copy is at least
   * as new, also if an object whose clock is behind has given it a lower number.
   */
  coveredVersion: number
  /** How often this isolate itself has changed the list, and how many of these the copy holds. */
  changes: number
  coveredChanges: number
  /** The latest question to the pool's object. */
  question: Question | null
  /** The number of the question that the copy is from. */
  answeredNumber: number
  /** Whether the pool's object did not answer the latest question. */
  isUnreachable: boolean
  readonly guesses: GuessAllowance
}

interface KnownToken {
  readonly caller: Caller
  readonly expiresAtMs: number | null
}

interface Question {
  readonly number: number
  readonly askedAtMs: number
  state: 'asked' | 'answered' | 'failed'
}

/** A copy is used for so long without a question. */
const FRESH_MS = 50_000

/** From this age on a busy isolate asks for a new copy beside its requests. */
const RENEW_MS = 25_000

/** While the pool's object does not answer, a copy is used for so long. Then a revocation must hold. */
const TRUSTED_MS = 60_000

/** A question without an answer after this time is lost: the request that asked it may have ended. */
const CALL_MS = 3_000

/** A promise of one request must not be awaited by another, so it looks for the result. */
const LOOK_AGAIN_MS = 20

export function createClientDirectory(): ClientDirectory {
  return {
    version: null,
    readAtMs: Number.NEGATIVE_INFINITY,
    byHash: new Map(),
    coveredVersion: 0,
    changes: 0,
    coveredChanges: 0,
    question: null,
    answeredNumber: 0,
    isUnreachable: false,
    guesses: createGuessAllowance(),
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
  readonly wait: (ms: number) => Promise<void>
  readonly background: (work: Promise<unknown>) => void
}

/** Tells the copy that this isolate has changed the list. */
export function outdate(directory: ClientDirectory): void {
  directory.changes += 1
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
  const known = directory.byHash.get(hash)
  const ageMs = ageOf(directory, access)
  if (ageMs < FRESH_MS) {
    if (known !== undefined) {
      if (ageMs >= RENEW_MS && !isAsking(directory, nowMs))
        access.background(renew(directory, access))
      return found(known, nowMs)
    }
    if (!spendOnGuess(directory.guesses, hash, address, nowMs)) return notFound(directory)
  }
  if (!(await consult(directory, hash, access))) return whileUnreachable(directory, hash, access)
  const now = directory.byHash.get(hash)
  if (now !== undefined) return found(now, access.nowMs())
  noteRefused(directory.guesses, hash, access.nowMs())
  return UNKNOWN
}

/** Finds a client by its id: one that calls without a token, since a batch of its runs. */
export async function findClientById(
  directory: ClientDirectory,
  id: ClientId,
  access: DirectoryAccess,
): Promise<Lookup> {
  const isFresh = ageOf(directory, access) < FRESH_MS || (await consult(directory, '', access))
  const known = [...directory.byHash.values()].find(({ caller }) => caller.id === id)
  if (known !== undefined && (isFresh || access.nowMs() - directory.readAtMs < TRUSTED_MS)) {
    return { kind: 'known', caller: known.caller }
  }
  return isFresh ? UNKNOWN : UNREACHABLE
}

const UNKNOWN: Lookup = { kind: 'unknown' }
const UNREACHABLE: Lookup = { kind: 'unreachable' }

function found({ caller, expiresAtMs }: KnownToken, nowMs: number): Lookup {
  return expiresAtMs !== null && nowMs >= expiresAtMs ? UNKNOWN : { kind: 'known', caller }
}

/** While nobody can be asked, a token that is not in the copy may be a new one. */
function notFound({ isUnreachable }: ClientDirectory): Lookup {
  return isUnreachable ? UNREACHABLE : UNKNOWN
}

/** A token that was valid a moment ago still is. After a minute it may have been revoked. */
function whileUnreachable(
  { byHash, readAtMs }: ClientDirectory,
  hash: string,
  { nowMs }: DirectoryAccess,
): Lookup {
  const known = byHash.get(hash)
  if (known === undefined || nowMs() - readAtMs >= TRUSTED_MS) return UNREACHABLE
  return found(known, nowMs())
}

/** How old the copy is. One that is known to be outdated is older than any. */
function ageOf(
  { version, readAtMs, coveredVersion, changes, coveredChanges }: ClientDirectory,
  { newestVersion, nowMs }: DirectoryAccess,
): number {
  // The pool says with each answer whether its clients have changed.
  const isOutdated =
    changes > coveredChanges || newestVersion > Math.max(version ?? 0, coveredVersion)
  return isOutdated ? Number.POSITIVE_INFINITY : nowMs() - readAtMs
}

function isAsking({ question }: ClientDirectory, nowMs: number): boolean {
  return question?.state === 'asked' && nowMs - question.askedAtMs < CALL_MS
}

/**
 * Has the copy renewed, by a question of its own or by one that another request asks: however many
 * requests come at once, they ask two questions at most. The answer to a question that was asked before
 * may not hold what has been made since.
 * @returns false if the pool's object did not answer
 */
async function consult(
  directory: ClientDirectory,
  hash: string,
  access: DirectoryAccess,
): Promise<boolean> {
  const before = directory.question?.number ?? 0
  for (;;) {
    const { question } = directory
    const outcome = outcomeSince(directory, before)
    if (outcome !== null) return outcome
    if (question === null || !isAsking(directory, access.nowMs())) {
      return await renew(directory, access)
    }
    await ended(directory, question, access)
    if (question.state === 'failed') return false
    if (directory.byHash.has(hash) && ageOf(directory, access) < FRESH_MS) return true
  }
}

/** What came of the questions after the one with this number; null for nothing yet. */
function outcomeSince({ question, answeredNumber }: ClientDirectory, number: number) {
  if (answeredNumber > number) return true
  return question?.state === 'failed' && question.number > number ? false : null
}

/** Waits until a question has an answer, is lost, or is followed by another. */
async function ended(directory: ClientDirectory, question: Question, access: DirectoryAccess) {
  while (directory.question === question && isAsking(directory, access.nowMs())) {
    await access.wait(LOOK_AGAIN_MS)
  }
}

/** @returns false if the pool's object did not answer */
async function renew(directory: ClientDirectory, access: DirectoryAccess): Promise<boolean> {
  const number = (directory.question?.number ?? 0) + 1
  const question: Question = { number, askedAtMs: access.nowMs(), state: 'asked' }
  directory.question = question
  const { changes } = directory
  const { newestVersion } = access
  const answer = await access.pool.clientDirectory(directory.version)
  question.state = answer.kind === 'answer' ? 'answered' : 'failed'
  // The answer to a later question may have come first.
  if (number < directory.answeredNumber) return question.state === 'answered'
  directory.isUnreachable = answer.kind === 'unavailable'
  if (answer.kind === 'unavailable') return false
  const { clientsVersion: version, entries } = answer.value
  directory.answeredNumber = number
  // As old as the question: what changed after it may not be in the answer.
  directory.readAtMs = question.askedAtMs
  directory.coveredVersion = Math.max(directory.coveredVersion, newestVersion)
  directory.coveredChanges = changes
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
