import type { BatchRecord } from '../../../src/batches/progress/batch-record.ts'
import { type BatchState, createBatchState } from '../../../src/batches/progress/batch-state.ts'

export const DAY_MS = 24 * 60 * 60_000

/** A batch that has not begun. */
export function newBatch(total: number, perRange = 4): BatchState {
  const batch: BatchRecord = {
    ...{ id: 'batch_1', clientId: 'tester', endpoint: '/v1/embeddings', inputFileId: 'file-1' },
    ...{ createdAtMs: 0, metadata: null, outputKeptMs: DAY_MS, faults: [], total },
    ...{ expiresAtMs: DAY_MS, status: 'validating', ending: null, times: {}, redrives: 0 },
    ...{ outputFileId: null, errorFileId: null, repeated: 0, tally: null },
  }
  const ranges = Array.from({ length: Math.ceil(total / perRange) }, (_, i) => ({
    firstRequest: i * perRange + 1,
    requests: Math.min(perRange, total - i * perRange),
    ...{ offset: i * 100, bytes: 100 },
  }))
  return createBatchState(batch, ranges)
}
