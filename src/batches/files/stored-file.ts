import type { BatchEndpoint } from './batch-endpoint.ts'
import type { LineRange } from './line-ranges.ts'

/** A file of a client. What it holds lies in the bucket. */
export interface StoredFile {
  readonly id: string
  readonly purpose: 'batch' | 'batch_output'
  readonly filename: string
  readonly bytes: number
  readonly createdAtMs: number
  readonly expiresAtMs: number
}

/** What the lines of an uploaded file were found to be, when it came. */
export interface InputLines {
  readonly endpoint: BatchEndpoint
  readonly requests: number
  readonly ranges: readonly LineRange[]
  /** Absent where nobody counted the client's money when the file came. */
  readonly estimate?: LinesEstimate
}

/** What lines can cost at most. */
export interface LinesEstimate {
  /** In whole nano-dollars. */
  readonly nanos: number
  /** How many lines have no bound besides. */
  readonly unbounded: number
}

/** A file is kept for so long, unless its client says otherwise. */
export const KEPT_MS = 30 * 24 * 60 * 60_000

/** Where a file lies in the bucket. No client's path begins as that of another. */
export function fileKey(clientId: string, fileId: string): string {
  return `files/${encodeURIComponent(clientId)}/${fileId}`
}

/** The name of a batch's object. */
export function batchObjectName(batchId: string): string {
  return `batch/${batchId}`
}

/** The name of the object that lists a client's files and batches. */
export function fileListName(clientId: string): string {
  return `files/${clientId}`
}
