import type { Settlement, Usage } from '../../balancing/settlement.ts'
import type { Blame } from '../../openrouter/failures/blame.ts'
import type { Leased } from '../leases/lease-broker.ts'
import type { Attempt } from './attempt.ts'
import { UNUSED } from './estimated-usage.ts'

/** What an attempt showed besides its outcome. */
export type Observation = Pick<Settlement, 'firstOutputMs' | 'tookMs' | 'generationId'>

/**
 * The settlement of an attempt; none if the attempt was made without the pool.
 * @param verdict null for an answer that is proven good
 * @param usage null if it is not known
 */
export function settlementsOf(
  { leaseId, keyId, terms }: Leased,
  verdict: Blame | null,
  usage: Usage | null,
  { generationId, ...observation }: Observation,
): Settlement[] {
  if (leaseId === null) return []
  // An error that costs nothing has an id too, which nobody asks for.
  const isAnswer = generationId !== undefined && (verdict === null || usage !== null)
  const common = {
    leaseId,
    keyId,
    ...(usage === null ? {} : { usage }),
    ...(usage === UNUSED ? { unused: true as const } : {}),
    ...(terms === null ? {} : { lease: terms }),
    ...observation,
    ...(isAnswer ? { generationId } : {}),
  }
  if (verdict === null) return [{ ...common, outcome: 'success', benches: [], suspect: false }]
  const { outcome, fault, benches, suspect, affordableTokens, tooLargeFor, unknownError } = verdict
  const note = {
    ...(affordableTokens === undefined ? {} : { affordableTokens }),
    ...(tooLargeFor === undefined ? {} : { tooLargeFor }),
    ...(unknownError === undefined ? {} : { unknownError }),
  }
  return [{ ...common, ...note, outcome, fault, benches, suspect }]
}

/** What a call has shown of an answer. */
export interface CallTimes {
  readonly tookMs: number
  readonly headersMs: number | null
  readonly generationId: string | null
}

/**
 * The observation of an attempt. An error answer comes quickly and says nothing about the key's
 * latency. A timeout does: the latency is at least `tookMs`. Of an answer that is not streamed the
 * headers count, which come when a provider has taken the request: its whole time depends on its
 * length, and one long answer would cost its key a minute of traffic. An answer that broke off, or that
 * its client left, has an id all the same: by it OpenRouter tells what it has cost.
 */
export function observationOf(
  result: Attempt,
  { tookMs, headersMs, generationId: id }: CallTimes,
): Observation {
  const generationId = id === null ? {} : { generationId: id }
  switch (result.kind) {
    case 'client_gone':
      return generationId
    case 'failed':
      return result.failure.kind === 'timeout'
        ? { firstOutputMs: tookMs, ...generationId }
        : generationId
    case 'whole':
      return { firstOutputMs: headersMs ?? tookMs, ...generationId }
    case 'bytes':
    case 'stream':
      return { firstOutputMs: tookMs, ...generationId }
  }
}
