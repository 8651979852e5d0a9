import type { GenerationDuty, GenerationReport } from '../../balancing/accounting/reconciliation.ts'
import { readGeneration } from '../../openrouter/generation-answer.ts'
import type { Ports } from '../ports.ts'
import { createAccountQuery } from './account-query.ts'
import type { KeyRing } from './key-ring.ts'
import { createTurns } from './turns.ts'

/**
 * Asks OpenRouter what some answers have really cost whose usage was estimated. The function never
 * rejects: what could not be asked is reported as `unknown`.
 */
export type GenerationLookups = (
  duties: readonly GenerationDuty[],
) => Promise<readonly GenerationReport[]>

/** Fewer than the connections of an invocation: key lookups and a request may need some too. */
const MAX_CONNECTIONS = 2

export interface GenerationLookupParts {
  readonly ports: Pick<Ports, 'fetch' | 'timer'>
  readonly upstreamUrl: string
  readonly ring: Pick<KeyRing, 'secret'>
}

export function createGenerationLookups(parts: GenerationLookupParts): GenerationLookups {
  const { ports, upstreamUrl, ring } = parts
  const query = createAccountQuery(ports, upstreamUrl)
  const inTurn = createTurns(MAX_CONNECTIONS)
  const ask = async ({ generationId, keyId }: GenerationDuty): Promise<GenerationReport> => {
    const secret = ring.secret(keyId)
    if (secret === null) return { generationId, kind: 'unknown' }
    const path = `generation?${new URLSearchParams({ id: generationId })}`
    const { status, body } = await inTurn(() => query(path, secret))
    return { generationId, ...readGeneration(status, body) }
  }
  return (duties) => Promise.all(duties.map(ask))
}
