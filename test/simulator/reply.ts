import type { Answer } from './answer.ts'
import type { Call, EventKind } from './api-shape.ts'
import type { Model } from './models.ts'
import type { Pacing } from './pacing.ts'

/** One write, and how long after the one before. */
export interface Step {
  readonly kind: EventKind | 'body'
  readonly bytes: Uint8Array
  readonly afterMs: number
  /** Completion tokens that have reached the caller with this write. */
  readonly tokens: number
}

/** What an answer was made from, so that a fault can make another one. */
export interface Scene {
  readonly call: Call
  readonly model: Model
  readonly answer: Answer
  readonly pacing: Pacing
}

/** An answer that takes its time: headers at once, then step by step. */
export interface Played {
  readonly kind: 'played'
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly steps: readonly Step[]
  /** After the last step: a clean end, a broken connection, or no more bytes and no end. */
  readonly ending: 'close' | 'error' | 'silence'
  /** What went wrong, for the log; null for a good answer. */
  readonly error: string | null
  /** null for a script, which has no model and costs nothing. */
  readonly scene: Scene | null
}

/** What the simulator does with a request: a value, so that faults can look at it and change it. */
export type Reply =
  | {
      readonly kind: 'whole'
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly body: string | null
      readonly error: string | null
    }
  | Played
  | { readonly kind: 'late'; readonly ms: number; readonly after: Reply }
  | { readonly kind: 'hang'; readonly error: string }
  | { readonly kind: 'cut'; readonly error: string }

/** A whole JSON answer; every error status is labelled, by default with the status itself. */
export function json(
  status: number,
  body: unknown,
  options: { headers?: Readonly<Record<string, string>>; error?: string | null } = {},
): Reply {
  const error = status >= 400 ? String(status) : null
  return {
    kind: 'whole',
    status,
    headers: { 'content-type': 'application/json', ...options.headers },
    body: JSON.stringify(body),
    error: options.error === undefined ? error : options.error,
  }
}
