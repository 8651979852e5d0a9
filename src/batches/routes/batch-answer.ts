import type { BatchView } from '../progress/batch-host.ts'
import { seconds } from './batches-on.ts'

/** A batch as OpenAI's client reads it. */
export function batchAnswer({ record, tally }: BatchView) {
  const { times, faults, total } = record
  const { completed, failed, dead } = tally
  return {
    ...{ id: record.id, object: 'batch' as const, endpoint: record.endpoint },
    ...(faults.length === 0 ? {} : { errors: { object: 'list', data: faults } }),
    ...{ input_file_id: record.inputFileId, completion_window: '24h', status: record.status },
    output_file_id: record.outputFileId ?? undefined,
    error_file_id: record.errorFileId ?? undefined,
    created_at: seconds(record.createdAtMs),
    expires_at: seconds(record.expiresAtMs),
    in_progress_at: secondsOr(times.in_progress),
    finalizing_at: secondsOr(times.finalizing),
    completed_at: secondsOr(times.completed),
    failed_at: secondsOr(times.failed),
    expired_at: secondsOr(times.expired),
    cancelling_at: secondsOr(times.cancelling),
    cancelled_at: secondsOr(times.cancelled),
    request_counts: { total, completed, failed },
    metadata: record.metadata,
    usage: usageAnswer(tally),
    // Not OpenAI's: what its counts do not tell.
    switchyard: {
      ...{ dead, repeated: record.repeated, rerun: record.rerun ?? 0, redrives: record.redrives },
      cost_usd: tally.costUsd,
    },
  }
}

function usageAnswer(tally: BatchView['tally']) {
  return {
    input_tokens: tally.promptTokens,
    input_tokens_details: { cached_tokens: tally.cachedTokens },
    output_tokens: tally.completionTokens,
    output_tokens_details: { reasoning_tokens: tally.reasoningTokens },
    total_tokens: tally.promptTokens + tally.completionTokens,
  }
}

const secondsOr = (ms: number | undefined): number | undefined =>
  ms === undefined ? undefined : seconds(ms)
