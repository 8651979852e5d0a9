import type { Bench } from '../health/bench.ts'
import type { ClientId, KeyId } from '../ids.ts'
import {
  createRotatingMap,
  entriesOf,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../limits/rotating-map.ts'

/**
 * Which key made which answer, by the generation's id. OpenRouter shows a generation only to keys
 * of the account that paid for it. The gateway shows it only to the client that requested it.
 */
export type Generations = RotatingMap<string, Generation>

export interface Generation {
  readonly keyId: KeyId
  readonly clientId: ClientId
  readonly atMs: number
}

/** What a query about a generation needs of a key. */
interface GenerationKey {
  readonly id: KeyId
  /** Compared by identity: keys of one account share it. */
  readonly account: object
  readonly config: { readonly disabled: boolean }
  readonly bench: Bench | null
}

/** The known generations, and the pool's keys. */
export interface GenerationSource {
  readonly generations: Generations
  readonly keys: ReadonlyMap<KeyId, GenerationKey>
}

const REMEMBER_MS = 24 * 60 * 60_000

/** At least this many are remembered, and this many are stored: they take 1 to 2 MB. */
const REMEMBERED = 10_000

/** OpenRouter's ids have about 40 characters. A longer text than this is no such id. */
export const MAX_ID_LENGTH = 80

export function createGenerations(): Generations {
  return createRotatingMap({ termMs: REMEMBER_MS, capacity: REMEMBERED })
}

/** Remembers a generation for a day, unless too many follow. */
export function rememberGeneration(
  generations: Generations,
  id: string,
  generation: Generation,
): void {
  if (id.length <= MAX_ID_LENGTH) setEntry(generations, id, generation, generation.atMs)
}

/** The generations to be stored, the youngest last. */
export function youngestGenerations(generations: Generations): readonly [string, Generation][] {
  return entriesOf(generations).slice(-REMEMBERED)
}

/**
 * A key that can ask OpenRouter about a generation: the key that made it, or another key of its
 * account if that key is disabled or rejected.
 * @returns null if the generation is unknown or too old, if another client requested it, or if the
 * key that made it is no longer configured
 */
export function keyForGeneration(
  { generations, keys }: GenerationSource,
  id: string,
  clientId: ClientId,
  nowMs: number,
): KeyId | null {
  const generation = getEntry(generations, id)
  if (generation === undefined || generation.clientId !== clientId) return null
  if (generation.atMs < nowMs - REMEMBER_MS) return null
  return keyOfAccount(keys, generation.keyId)
}

/** The key itself, or another one of its account if it cannot ask; null if it is gone. */
export function keyOfAccount(keys: GenerationSource['keys'], keyId: KeyId): KeyId | null {
  const own = keys.get(keyId)
  if (own === undefined) return null
  const sisters = [...keys.values()].filter(({ account }) => account === own.account)
  return (isWell(own) ? own : (sisters.find(isWell) ?? own)).id
}

function isWell({ config, bench }: GenerationKey): boolean {
  return !config.disabled && bench?.reason !== 'key_rejected'
}
