import type { Settlement, Usage } from '../../balancing/settlement.ts'
import type { Blame } from '../../openrouter/failures/blame.ts'
import type { StreamHead } from '../answers/client-reply.ts'
import type { Leased } from '../leases/lease-broker.ts'
import type { Attempt } from './attempt.ts'
import type { StreamSummary } from './stream-watch.ts'

/** What an attempt showed before it was over. */
export type Observation = Pick<Settlement, 'firstOutputMs' | 'generationId'>

/**
 * What the pool is told of an attempt: nothing, if it was made without the pool.
 * @param verdict null for an answer that is proven good
 * @param seen what else an answer showed, where there was one
 */
export function settlementsOf(
  { leaseId, keyId }: Leased,
  verdict: Blame | null,
  usage: Usage | null,
  observation: Observation,
): Settlement[] {
  if (leaseId === null) return []
  const common = {
    leaseId,
    keyId,
    ...(usage === null ? {} : { usage }),
    ...observation,
  }
  if (verdict === null) return [{ ...common, outcome: 'success', benches: [], suspect: false }]
  const { outcome, fault, benches, suspect, affordableTokens } = verdict
  const note = affordableTokens === undefined ? {} : { affordableTokens }
  return [{ ...common, ...note, outcome, fault, benches, suspect }]
}

/** Of a lease with which no call was made: what was reserved for it is free again. */
export const UNUSED: Usage = {
  promptTokens: 0,
  completionTokens: 0,
  cachedTokens: 0,
  reasoningTokens: 0,
  costUsd: 0,
  estimated: true,
}

/**
 * The usage of an answer that was cut before it reported any. Prompts average
 * about four bytes a token; an event of a stream is about one token.
 */
function estimateUsage(body: Uint8Array, events: number): Usage {
  return { ...UNUSED, promptTokens: Math.ceil(body.length / 4), completionTokens: events }
}

/**
 * What a stream used. One of /messages tells of its prompt as it begins: that alone
 * is no account of an answer that was cut.
 */
export function usageOf(
  { usage, finished, events }: Pick<StreamSummary, 'usage' | 'finished' | 'events'>,
  body: Uint8Array,
): Usage {
  if (usage === null) return estimateUsage(body, events)
  if (finished) return usage
  const completionTokens = Math.max(usage.completionTokens, events)
  return { ...usage, completionTokens, estimated: true }
}

/**
 * What an attempt tells of its key. A refusal comes quickly and says nothing of how
 * fast the key is; a clock that ran out says that it is at least as slow as that.
 */
export function observationOf(result: Attempt, tookMs: number): Observation {
  switch (result.kind) {
    case 'client_gone':
      return {}
    case 'failed':
      return result.failure.kind === 'timeout' ? { firstOutputMs: tookMs } : {}
    case 'whole':
    case 'bytes':
    case 'stream': {
      const generationId = headOf(result).headers.get('x-generation-id')
      return { firstOutputMs: tookMs, ...(generationId === null ? {} : { generationId }) }
    }
  }
}

function headOf(answered: Extract<Attempt, { kind: 'whole' | 'bytes' | 'stream' }>): StreamHead {
  switch (answered.kind) {
    case 'whole':
      return answered.answer
    case 'bytes':
      return answered.head
    case 'stream':
      return answered.stream.head
  }
}
