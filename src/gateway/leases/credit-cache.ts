import type { KeyReport } from '../../balancing/health/key-report.ts'
import type { KeyId } from '../../balancing/ids.ts'

/** A key report of a valid key. */
export type KnownCredit = Extract<KeyReport, { kind: 'valid' }>

/**
 * The last report of each key, shared by all isolates in all places. It only saves lookups. Any
 * failure of the cache counts as a missing entry, and so does the report of another secret that the
 * key had before.
 */
export interface CreditCache {
  read(keyId: KeyId, fingerprint: string): Promise<KnownCredit | null>
  write(answer: KnownCredit): Promise<void>
}
