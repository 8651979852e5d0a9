import type { Bench } from '../health/bench.ts'
import type { ClientId, KeyId } from '../ids.ts'

/**
 * Which key made which answer. OpenRouter tells about a generation only to keys of
 * the account that paid for it, and the gateway only to the client that asked for it.
 */
export type Generations = Map<string, Generation>

export interface Generation {
  readonly keyId: KeyId
  readonly clientId: ClientId
  readonly atMs: number
}

/** A key, as far as asking about a generation needs it. */
interface GenerationKey {
  readonly id: KeyId
  /** Compared by identity: keys of one account share it. */
  readonly account: object
  readonly config: { readonly disabled: boolean }
  readonly bench: Bench | null
}

/** What is known of generations, and the keys that may ask about one. */
export interface GenerationSource {
  readonly generations: Generations
  readonly keys: ReadonlyMap<KeyId, GenerationKey>
}

const REMEMBER_MS = 24 * 60 * 60_000

/** About 1 MB, and as much again in the checkpoint. */
const MAX_REMEMBERED = 10_000

/** OpenRouter's ids have some 40 characters; what is longer is not one. */
const MAX_ID_LENGTH = 80

export function rememberGeneration(
  generations: Generations,
  id: string,
  generation: Generation,
): void {
  if (id.length > MAX_ID_LENGTH) return
  generations.delete(id)
  generations.set(id, generation)
  for (const [oldest, { atMs }] of generations) {
    const stale = atMs < generation.atMs - REMEMBER_MS || generations.size > MAX_REMEMBERED
    if (!stale) break
    generations.delete(oldest)
  }
}

/**
 * A key that can ask about a generation: the one that made it, or another of its
 * account where that has gone.
 * @returns null if it is not known, or was another client's
 */
export function keyForGeneration(
  { generations, keys }: GenerationSource,
  id: string,
  clientId: ClientId,
  nowMs: number,
): KeyId | null {
  const generation = generations.get(id)
  if (generation === undefined || generation.clientId !== clientId) return null
  if (generation.atMs < nowMs - REMEMBER_MS) return null
  const own = keys.get(generation.keyId)
  if (own === undefined) return null
  const sisters = [...keys.values()].filter(({ account }) => account === own.account)
  return (isWell(own) ? own : (sisters.find(isWell) ?? own)).id
}

function isWell({ config, bench }: GenerationKey): boolean {
  return !config.disabled && bench?.reason !== 'key_rejected'
}
