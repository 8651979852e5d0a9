import type { KeyId } from '../ids.ts'

/**
 * What an operator has told a key: to take no new lease. Requests that run go on, since the caller of
 * an answer that is half sent has paid for it.
 */
export interface Halt {
  /** `draining` becomes `paused` by itself, when the last of the key's leases has ended. */
  readonly kind: 'paused' | 'draining'
  /** In epoch milliseconds. */
  readonly sinceMs: number
}

/** A key, as far as it may be told to halt. */
export interface HaltedKey {
  readonly id: KeyId
  halt: Halt | null
  readonly inFlight: number
}

/** Why an operator's order keeps a key from new leases; null if none does. */
export function haltReason({ halt, inFlight }: HaltedKey): Halt['kind'] | null {
  if (halt === null) return null
  return halt.kind === 'draining' && inFlight > 0 ? 'draining' : 'paused'
}

/**
 * Halts a key, or lets it go on.
 * @param halted all keys that are halted: exchanges tell of them, and mostly there are none
 */
export function putHalt(halted: Set<KeyId>, key: HaltedKey, halt: Halt | null): void {
  key.halt = halt
  if (halt === null) halted.delete(key.id)
  else halted.add(key.id)
}
