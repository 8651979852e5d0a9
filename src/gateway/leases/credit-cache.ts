import type { KeyReport } from '../../balancing/health/key-report.ts'
import type { KeyId } from '../../balancing/ids.ts'

/** An answer of `/key` that proved the key good. */
export type KnownCredit = Extract<KeyReport, { kind: 'valid' }>

/**
 * The last answer about each key, shared by all isolates wherever they run. It
 * saves lookups and nothing depends on it: whatever goes wrong in here counts as
 * an answer that is not there.
 */
export interface CreditCache {
  read(keyId: KeyId): Promise<KnownCredit | null>
  write(answer: KnownCredit): Promise<void>
}
