import type { Affinity } from '../../balancing/routes.ts'
import { type JsonObject, textOf } from '../json-value.ts'

/** OpenRouter's limit for the length of a `session_id`. */
const MAX_NAME_LENGTH = 256

/** How many texts and numbers of an opening are kept. */
const MAX_PIECES = 64
/** How many characters of a long text are kept at each end. */
const EXCERPT_LENGTH = 1024
/** No real message nests this deep. */
const MAX_DEPTH = 8

/**
 * Fields that may change from turn to turn although the message is the same. A client may give new
 * ids, and it moves the cache mark to newer messages.
 */
const LABELS: ReadonlySet<string> = new Set(['type', 'role', 'id', 'status', 'cache_control'])

/**
 * Identifies the conversation of a request: by the name that the caller gave, or else, if the
 * affinity is `conversation`, by the opening.
 * @param body its small fields
 * @param opening reads the system prompt and the first user message, as their API has them
 * @returns a text to hash, of at most about 130,000 characters before JSON escapes; or null if the
 *   request has nothing that identifies a conversation
 */
export function conversationOf(
  body: JsonObject,
  headers: Headers,
  opening: () => readonly unknown[],
  affinity: Affinity,
): string | null {
  if (affinity === 'none') return null
  const name =
    textOf(body.session_id) ?? textOf(headers.get('x-session-id')) ?? textOf(body.prompt_cache_key)
  if (name !== null) return name.slice(0, MAX_NAME_LENGTH)
  return affinity === 'conversation' ? openingText(opening()) : null
}

/**
 * The texts and numbers of an opening, without its structure. The content of a message may be a
 * text, or a list with one text: clients switch between the two when they mark a message for the
 * cache. Both must give the same result.
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

/** Keeps both ends: texts from one template, or images of one format, differ at one of them. */
function excerpt(text: string): string {
  return text.length <= 2 * EXCERPT_LENGTH
    ? text
    : `${text.slice(0, EXCERPT_LENGTH)}…${text.length}…${text.slice(-EXCERPT_LENGTH)}`
}

/**
 * The caller's limit for the tokens of the answer, under any of its names in the API shapes. Of
 * several limits the largest counts: the value is for reservations, and too much is safer.
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
