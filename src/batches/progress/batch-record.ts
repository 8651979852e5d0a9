import type { BatchEndpoint } from '../files/batch-endpoint.ts'

/** As OpenAI names them. */
export type BatchStatus =
  | 'validating'
  | 'failed'
  | 'in_progress'
  | 'finalizing'
  | 'completed'
  | 'expired'
  | 'cancelling'
  | 'cancelled'

/** How a batch ends once its files are written. */
export type BatchEnding = 'completed' | 'expired' | 'cancelled'

/** Why a batch failed before any of its lines ran. */
export interface BatchFault {
  readonly code: string
  readonly message: string
  readonly line: number | null
  readonly param: string | null
}

/** What the lines that have a record came to. */
export interface Tally {
  completed: number
  failed: number
  /** Of the failed ones, those that ended their Worker each time. */
  dead: number
  promptTokens: number
  cachedTokens: number
  completionTokens: number
  reasoningTokens: number
  costUsd: number
}

/** A batch without its lines. Times are in epoch milliseconds. */
export interface BatchRecord {
  readonly id: string
  readonly clientId: string
  readonly endpoint: BatchEndpoint
  readonly inputFileId: string
  readonly createdAtMs: number
  readonly metadata: Readonly<Record<string, string>> | null
  /** For how long its files are kept, in milliseconds. */
  readonly outputKeptMs: number
  readonly faults: readonly BatchFault[]
  /** How many requests it has. */
  readonly total: number
  expiresAtMs: number
  status: BatchStatus
  /** Set from the moment in which nothing new may start. */
  ending: BatchEnding | null
  /** When it got into each status. */
  readonly times: Partial<Record<Exclude<BatchStatus, 'validating'>, number>>
  outputFileId: string | null
  errorFileId: string | null
  /** Answers to lines that had a record already: paid for twice, since a Worker was thought dead. */
  repeated: number
  /**
   * Consumers that died. Each may have had a line in hand, which ran again and may be paid for twice.
   * Absent from a batch of the first release.
   */
  rerun?: number
  /** How often an operator has sent its dead lines again. */
  redrives: number
  /** Whether its end is told of. Absent in the record of an earlier release. */
  isEndTold?: boolean
  /** Kept here from the end on, when the lines' own records may go. */
  tally: Tally | null
}

export function emptyTally(): Tally {
  return {
    ...{ completed: 0, failed: 0, dead: 0 },
    ...{ promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0, costUsd: 0 },
  }
}
