import { clientId, modelId } from '../../src/balancing/ids.ts'
import type { Grant } from '../../src/balancing/lease-request.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import type { Ask } from './pool-driver.ts'

/** A lease that the pool has granted, as the model of a history knows it. */
export interface Issued {
  readonly lease: string
  readonly keyId: string
  readonly request: Ask
  readonly grantedAtMs: number
  /** Whether the waiter's Worker is gone and does not fetch the lease. */
  readonly silent: boolean
  /** The grant as the Worker got it; null until the Worker fetched it. */
  grant: Grant | null
  expiresAtMs: number
  /** When it was settled, or null. An expired lease can still be settled once. */
  settledAtMs: number | null
}

/** A settlement about the size of its request repeats that size. */
export function sized(
  told: Partial<Settlement>,
  { request, grantedAtMs }: Issued,
): Partial<Settlement> {
  if (told.tooLargeFor === undefined) return told
  const { client = '', models = [''], tokens = 0, size = 0 } = request
  const named = { clientId: clientId(client), model: modelId(models[0] ?? '') }
  return { ...told, lease: { ...named, grantedAtMs, tokens, size } }
}

export function isLive({ settledAtMs, expiresAtMs }: Issued, nowMs: number): boolean {
  return settledAtMs === null && nowMs < expiresAtMs
}
