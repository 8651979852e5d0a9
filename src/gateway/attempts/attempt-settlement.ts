import type { Settlement, Usage } from '../../balancing/settlement.ts'
import type { Blame } from '../../openrouter/failures/blame.ts'
import type { StreamHead } from '../answers/client-reply.ts'
import type { Leased } from '../leases/lease-broker.ts'
import type { Attempt } from './attempt.ts'
import { UNUSED } from './estimated-usage.ts'

/** What an attempt showed besides its outcome. */
export type Observation = Pick<Settlement, 'firstOutputMs' | 'generationId'>

/**
 * The settlement of an attempt; none if the attempt was made without the pool.
 * @param verdict null for an answer that is proven good
 * @param usage null if it is not known
 */
export function settlementsOf(
  { leaseId, keyId, terms }: Leased,
  verdict: Blame | null,
  usage: Usage | null,
  observation: Observation,
): Settlement[] {
  if (leaseId === null) return []
  const common = {
    leaseId,
    keyId,
    ...(usage === null ? {} : { usage }),
    ...(usage === UNUSED ? { unused: true as const } : {}),
    ...(terms === null ? {} : { lease: terms }),
    ...observation,
  }
  if (verdict === null) return [{ ...common, outcome: 'success', benches: [], suspect: false }]
  const { outcome, fault, benches, suspect, affordableTokens, tooLargeFor } = verdict
  const note = {
    ...(affordableTokens === undefined ? {} : { affordableTokens }),
    ...(tooLargeFor === undefined ? {} : { tooLargeFor }),
  }
  return [{ ...common, ...note, outcome, fault, benches, suspect }]
}

/**
 * The observation of an attempt. An error answer comes quickly and says nothing about the key's
 * latency. A timeout does: the latency is at least `tookMs`. Of an answer that is not streamed the
 * headers count, which come when a provider has taken the request: its whole time depends on its
 * length, and one long answer would cost its key a minute of traffic.
 */
export function observationOf(
  result: Attempt,
  { tookMs, headersMs }: { readonly tookMs: number; readonly headersMs: number | null },
): Observation {
  switch (result.kind) {
    case 'client_gone':
      return {}
    case 'failed':
      return result.failure.kind === 'timeout' ? { firstOutputMs: tookMs } : {}
    case 'whole':
    case 'bytes':
    case 'stream': {
      const generationId = headOf(result).headers.get('x-generation-id')
      const firstOutputMs = result.kind === 'whole' ? (headersMs ?? tookMs) : tookMs
      return { firstOutputMs, ...(generationId === null ? {} : { generationId }) }
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
