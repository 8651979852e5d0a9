import type { GenerationDuty, GenerationReport } from '../../balancing/accounting/reconciliation.ts'
import { readGeneration } from '../../openrouter/generation-answer.ts'
import type { Ports } from '../ports.ts'
import type { KeyRing } from './key-ring.ts'
import { createTurns } from './turns.ts'

/**
 * Asks OpenRouter what some answers have really cost whose usage was estimated. The function never
 * rejects: what could not be asked is reported as `unknown`.
 */
export type GenerationLookups = (
  duties: readonly GenerationDuty[],
) => Promise<readonly GenerationReport[]>

const TIMEOUT_MS = 10_000

/** Fewer than the connections of an invocation: key lookups and a request may need some too. */
const MAX_CONNECTIONS = 2

export interface GenerationLookupParts {
  readonly ports: Pick<Ports, 'fetch' | 'timer'>
  readonly upstreamUrl: string
  readonly ring: Pick<KeyRing, 'secret'>
}

export function createGenerationLookups(parts: GenerationLookupParts): GenerationLookups {
  const { ring } = parts
  const inTurn = createTurns(MAX_CONNECTIONS)
  const ask = async ({ generationId, keyId }: GenerationDuty): Promise<GenerationReport> => {
    const secret = ring.secret(keyId)
    if (secret === null) return { generationId, kind: 'unknown' }
    const { status, body } = await inTurn(() => fetchGeneration(parts, generationId, secret))
    return { generationId, ...readGeneration(status, body) }
  }
  return (duties) => Promise.all(duties.map(ask))
}

async function fetchGeneration(
  { ports, upstreamUrl }: GenerationLookupParts,
  id: string,
  secret: string,
): Promise<{ readonly status: number; readonly body: unknown }> {
  const controller = new AbortController()
  const cancel = ports.timer(TIMEOUT_MS, () => controller.abort())
  try {
    const url = `${upstreamUrl}/generation?${new URLSearchParams({ id })}`
    const response = await ports.fetch(url, {
      headers: { accept: 'application/json', authorization: `Bearer ${secret}` },
      redirect: 'manual',
      signal: controller.signal,
    })
    const body: unknown = await response.json().catch(() => undefined)
    return { status: response.status, body }
  } catch {
    return { status: 0, body: undefined }
  } finally {
    cancel()
  }
}
