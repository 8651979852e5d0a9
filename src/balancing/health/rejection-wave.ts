import type { AccountId, KeyId } from '../ids.ts'
import { type Bench, isActive } from './bench.ts'

/**
 * Are keys refused with 401 for what they are, or does the platform refuse everybody? OpenRouter has
 * answered 401 to valid keys, and `GET /key` has then "confirmed" it. So when all keys of several
 * accounts are refused within seconds, and none was accepted in between, it is the platform's trouble:
 * accounts have nothing in common but the platform. Then keys rest for seconds, no lookup confirms
 * anything, and nothing counts against a key.
 *
 * An operator who revokes the keys of two accounts at once looks the same until a third account's key
 * serves. That costs a hidden attempt every few seconds, and the wave is over.
 */
export interface RejectionWave {
  /** The keys that were refused since a key was last accepted. */
  readonly refused: Map<KeyId, RefusedKey>
  isOn: boolean
}

interface RefusedKey {
  readonly lastAtMs: number
  /** When it was refused. A key's breaker opens after 100 failures at most. */
  readonly atMs: readonly number[]
}

/** How long a key rests while the platform refuses everybody. */
export const WAVE_BENCH_MS = 5_000

/** How far apart the refusals of one wave may be. */
const WITHIN_MS = 10_000

/** A wave of which nothing more is seen for so long is over. Longer than benches of a wave. */
const LAPSE_MS = 60_000

const MAX_MOMENTS = 100

export function createRejectionWave(): RejectionWave {
  return { refused: new Map(), isOn: false }
}

/** What tells whether all keys of an account are refused. */
interface AskedKey {
  readonly id: KeyId
  readonly account: { readonly id: AccountId }
  readonly config: { readonly disabled: boolean }
  readonly bench: Bench | null
}

/** What a refusal of a key shows. `begins`: of which keys the earlier refusals are to be taken back. */
export type WaveVerdict =
  | { readonly kind: 'keys_own' }
  | { readonly kind: 'platforms'; readonly begins: ReadonlyMap<KeyId, readonly number[]> | null }

/** Notes that a request was refused with 401 for its key. */
export function noteRefused(
  wave: RejectionWave,
  keys: Iterable<AskedKey>,
  keyId: KeyId,
  nowMs: number,
): WaveVerdict {
  forgetOld(wave, nowMs)
  const atMs = [...(wave.refused.get(keyId)?.atMs ?? []).slice(1 - MAX_MOMENTS), nowMs]
  wave.refused.set(keyId, { lastAtMs: nowMs, atMs })
  if (wave.isOn) return { kind: 'platforms', begins: null }
  if (wave.refused.size < 2 || !areSeveralAccountsRefused(wave, keys, nowMs)) {
    return { kind: 'keys_own' }
  }
  wave.isOn = true
  const begins = new Map([...wave.refused].map(([id, refused]) => [id, refused.atMs]))
  return { kind: 'platforms', begins }
}

/** Whether the platform refuses everybody now. */
export function isWaveOn(wave: RejectionWave, nowMs: number): boolean {
  if (wave.isOn) forgetOld(wave, nowMs)
  return wave.isOn
}

/**
 * Notes that OpenRouter accepted a key.
 * @param sinceMs when the request or the lookup began. What began before the wave proves nothing
 */
export function noteAccepted(wave: RejectionWave, sinceMs: number): void {
  if (wave.refused.size === 0) return
  const firstMs = Math.min(...[...wave.refused.values()].map(({ atMs: [first = 0] }) => first))
  if (sinceMs >= firstMs) wave.refused.clear()
}

/** Forgets that a key was refused: an operator says that it is well. */
export function forgetRefusals(wave: RejectionWave, keyId: KeyId): void {
  wave.refused.delete(keyId)
}

function forgetOld(wave: RejectionWave, nowMs: number): void {
  const keepMs = wave.isOn ? LAPSE_MS : WITHIN_MS
  for (const [id, { lastAtMs }] of wave.refused) {
    if (lastAtMs <= nowMs - keepMs) wave.refused.delete(id)
  }
  if (wave.refused.size === 0) wave.isOn = false
}

/** A key that is out for another reason could not be refused, so it is not asked for. */
function areSeveralAccountsRefused(
  { refused }: RejectionWave,
  keys: Iterable<AskedKey>,
  nowMs: number,
): boolean {
  const asked = new Set<AccountId>()
  const others = new Set<AccountId>()
  for (const { id, account, config, bench } of keys) {
    if (refused.has(id)) asked.add(account.id)
    else if (!(config.disabled || isActive(bench, nowMs))) others.add(account.id)
  }
  return [...asked].filter((id) => !others.has(id)).length >= 2
}
