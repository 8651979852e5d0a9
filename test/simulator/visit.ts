import type { ApiShape } from './api-shape.ts'
import type { Charge } from './charge-book.ts'
import type { ErrorContext } from './errors.ts'
import type { FaultParams } from './fault-params.ts'
import type { Generations } from './generations.ts'
import type { Journal, LogEntry } from './journal.ts'
import type { PromptCache } from './prompt-cache.ts'
import type { RateWindows } from './rate-limits.ts'
import type { ResponseCache } from './response-cache.ts'
import type { Rule } from './rules.ts'
import type { Script } from './scripts.ts'
import type { Account, Key, Settings, World } from './world.ts'

/** The state that a reset replaces. */
export interface Simulation {
  readonly world: World
  readonly rules: Rule[]
  readonly scripts: Map<string, Script>
  readonly journal: Journal
  readonly rates: RateWindows
  /** The most that the requests in flight can cost, by account, in USD. */
  readonly inFlightUsd: Map<string, number>
  readonly promptCache: PromptCache
  readonly responseCache: ResponseCache
  readonly generations: Generations
  /** What was charged, the oldest first. A charge of nothing is one too. */
  readonly charges: Charge[]
  readonly random: () => number
}

/** One request with its key and account, before its reply is decided. */
export interface Visit {
  readonly simulation: Simulation
  readonly entry: LogEntry
  readonly url: URL
  /** Whether it has a credential, known or unknown. */
  readonly credential: boolean
  readonly key: Key | null
  readonly account: Account | null
  readonly keyHash: string
  /** The body as JSON or as a form's fields; undefined if it is neither. */
  readonly body: unknown
  /** The API's name in GET /generation; null for a request that generates nothing. */
  readonly apiType: ApiShape['apiType']
  /** The simulation's time, in epoch milliseconds. The settings may freeze it. */
  readonly nowMs: number
  /** Gives back the request's reservation. It does nothing if there is none. */
  release: () => void
  /** Stores the served answer in the caches. Called once, after a good answer was sent in full. */
  remember: () => void
}

export function settingsOf(visit: Visit): Settings {
  return visit.simulation.world.settings
}

/** The values of this request that error texts mention. */
export function errorContext(
  visit: Visit,
  about: { model?: string; provider?: string; params?: FaultParams } = {},
): ErrorContext {
  return {
    model: about.model ?? 'unknown',
    provider: about.provider ?? 'DeepInfra',
    keyHash: visit.keyHash,
    nowMs: visit.nowMs,
    settings: settingsOf(visit),
    params: about.params ?? {},
  }
}

/** Lower-case hex of the SHA-256. */
export async function sha256Hex(data: ArrayBuffer | string): Promise<string> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  const digest = await crypto.subtle.digest('SHA-256', bytes)
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
