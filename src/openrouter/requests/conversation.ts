import type { Affinity } from '../../balancing/routes.ts'
import { type JsonObject, textOf } from '../json-value.ts'

/** What OpenRouter allows for a `session_id`. */
const MAX_NAME_LENGTH = 256

/** Of an opening: texts and numbers that are kept, and characters of a text at either end. */
const MAX_PIECES = 64
const EXCERPT_LENGTH = 1024
/** Deeper than any real message. */
const MAX_DEPTH = 8

/**
 * What may differ from one turn of a conversation to the next, though nothing has been said: names
 * that a client gives anew, and the mark of what to cache, which wanders on to newer messages.
 */
const LABELS: ReadonlySet<string> = new Set(['type', 'role', 'id', 'status', 'cache_control'])

/**
 * What tells a request's conversation from others: the name that the caller gave it, or else, if
 * any conversation is to be kept together, how it began.
 * @param opening its system prompt and first user message, in whatever form their shape has
 * @returns a text to be hashed, of some 130 KB at most, or null if there is nothing to go by
 */
export function conversationOf(
  body: JsonObject,
  headers: Headers,
  opening: readonly unknown[],
  affinity: Affinity,
): string | null {
  if (affinity === 'none') return null
  const name =
    textOf(body.session_id) ?? textOf(headers.get('x-session-id')) ?? textOf(body.prompt_cache_key)
  if (name !== null) return name.slice(0, MAX_NAME_LENGTH)
  return affinity === 'conversation' ? openingText(opening) : null
}

/**
 * A message says the same whether its content is a text or a list with one text in it: clients
 * change from one to the other when they mark it for the cache. So only what is said counts.
 */
function openingText(opening: readonly unknown[]): string | null {
  const pieces: (string | number)[] = []
  collect(opening, 0, pieces)
  return pieces.length === 0 ? null : JSON.stringify(pieces)
}

function collect(value: unknown, depth: number, pieces: (string | number)[]): void {
  if (pieces.length === MAX_PIECES || depth > MAX_DEPTH) return
  if (typeof value === 'number') pieces.push(value)
  else if (typeof value === 'string' && value !== '') pieces.push(excerpt(value))
  else if (Array.isArray(value)) for (const item of value) collect(item, depth + 1, pieces)
  else if (typeof value === 'object' && value !== null) {
    for (const [name, item] of Object.entries(value)) {
      if (!LABELS.has(name)) collect(item, depth + 1, pieces)
    }
  }
}

/** Both ends: a template differs at one of them, and so do images of one format. */
function excerpt(text: string): string {
  return text.length <= 2 * EXCERPT_LENGTH
    ? text
    : `${text.slice(0, EXCERPT_LENGTH)}…${text.length}…${text.slice(-EXCERPT_LENGTH)}`
}

/**
 * The most tokens that the caller lets the answer have, by whichever name its shape has for it. If
 * it gives several, the largest: this is for reservations, which shall rather be too large.
 * @returns a whole number above 0, or null if the request sets no limit
 */
export function maxTokensOf(body: JsonObject): number | null {
  const limits = [body.max_completion_tokens, body.max_tokens, body.max_output_tokens].filter(
    (limit) => typeof limit === 'number' && Number.isFinite(limit) && limit > 0,
  )
  return limits.length === 0
    ? null
    : Math.min(Math.ceil(Math.max(...limits.map(Number))), Number.MAX_SAFE_INTEGER)
}
