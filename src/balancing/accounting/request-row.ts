import type { Usage } from '../settlement.ts'

/**
 * One request that has ended, for those who ask what became of it. Nothing of prompts or answers is in
 * it, and no secret. Names of models and of requests come from callers, so they are cut.
 */
export interface RequestRow {
  /** As in `x-request-id`. A caller may name two requests alike. */
  readonly id: string
  readonly clientId: string
  /** The group of the client at that time; null for none. */
  readonly groupId: string | null
  /** The path below the prefix: `chat/completions`. */
  readonly path: string
  /** The place of its route in the configuration, from 0; null if it was refused before it had one. */
  readonly route: number | null
  /** The model that the caller named; null if that was not read. */
  readonly asked: string | null
  /** The model of the last attempt; null without one. */
  readonly sent: string | null
  readonly outcome: RequestOutcome
  /** What the cache was to it; null where its route has none. */
  readonly cache: CacheOutcome | null
  /** Of the answer, or of the error in it; null if the client left before. */
  readonly status: number | null
  /** Of the gateway's own error; null if there was none. */
  readonly reason: string | null
  /** How many keys could not serve, by reason. */
  readonly reasons: Readonly<Record<string, number>>
  readonly streamed: boolean
  /** Whether a key was taken without the pool's object. */
  readonly degraded: boolean
  readonly attempts: readonly AttemptRow[]
  /** Of the attempts, how many are left out in the middle of the list. */
  readonly attemptsLeftOut: number
  readonly timingsMs: { readonly auth: number; readonly acquire: number; readonly wait: number }
  readonly usage: Usage | null
  readonly startedAtMs: number
  readonly endedAtMs: number
}

/** `refused`: by the Worker, which did not ask for a key. */
export const REQUEST_OUTCOMES = ['answered', 'failed', 'client_gone', 'refused'] as const

export type RequestOutcome = (typeof REQUEST_OUTCOMES)[number]

/** `bypass` is a request that made its own upstream call. */
export const CACHE_OUTCOMES = ['hit', 'miss', 'joined', 'bypass'] as const

export type CacheOutcome = (typeof CACHE_OUTCOMES)[number]

/** How many requests have ended, by outcome, and how many attempts they made beside their first. */
export interface RequestCounts extends Record<RequestOutcome, number> {
  retries: number
}

export function createRequestCounts(): RequestCounts {
  return { answered: 0, failed: 0, client_gone: 0, refused: 0, retries: 0 }
}

/** Counts a request. What says nothing of its outcome is not counted. */
export function countRequest(counts: RequestCounts, { outcome, attempts }: RequestNote): void {
  const known = REQUEST_OUTCOMES.find((one) => one === outcome)
  if (known === undefined) return
  counts[known] += 1
  if (Number.isInteger(attempts)) counts.retries += Math.max(0, Math.min(attempts ?? 0, 100) - 1)
}

/** One attempt of a request. */
export interface AttemptRow {
  readonly key: string
  readonly model: string
  /** The status of upstream's error; null without one. */
  readonly status: number | null
  /** Row, fault and words of the table of faults; null if it did not fail. */
  readonly row: string | null
  readonly fault: string | null
  readonly why: string | null
  /** From the beginning of the request, in milliseconds. */
  readonly beganMs: number
  /** How long it has waited in the queue, or for its time, since the attempt before. */
  readonly waitedMs: number
  /** To its end, and to its first output; null if there was none. */
  readonly tookMs: number | null
  readonly firstOutputMs: number | null
}

/** A row on its way, and as it is kept: only who asks for it has it parsed. */
export interface RequestNote {
  readonly id: string
  /** Of this row alone, so that one that is sent twice is kept once. */
  readonly mark: string
  /** The row as JSON. */
  readonly text: string
  /** What is counted of it, so that nobody has to read the text for that. An older Worker sends none. */
  readonly outcome?: RequestOutcome
  readonly attempts?: number
}

export const MAX_ROW_LENGTH = 4_000
export const MAX_REQUEST_ID_LENGTH = 255
