import type { Answer } from './answer.ts'
import type { Call, EventKind } from './api-shape.ts'
import type { Model } from './models.ts'
import type { Pacing } from './pacing.ts'
import type { Charges } from './prices.ts'

/** One write, and the time since the write before it. */
export interface Step {
  readonly kind: EventKind | 'body'
  readonly bytes: Uint8Array
  readonly afterMs: number
  /** How many completion tokens this write carries. */
  readonly tokens: number
}

/** The input of an answer. From it, a fault can make another answer. */
export interface Scene {
  readonly call: Call
  readonly model: Model
  readonly charges: Charges
  readonly answer: Answer
  readonly pacing: Pacing
}

/** An answer over time: the headers at once, then step by step. */
export interface Played {
  readonly kind: 'played'
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly steps: readonly Step[]
  /** After the last step: a clean end, a broken connection, or silence without an end. */
  readonly ending: 'close' | 'error' | 'silence'
  /** The error, for the log; null for a good answer. */
  readonly error: string | null
  /** null for a script, which has no model and costs nothing. */
  readonly scene: Scene | null
}

/** What the simulator does with a request. It is a value, so that faults can read and change it. */
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

/** A whole JSON answer. Every error status gets a label, by default the status itself. */
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
