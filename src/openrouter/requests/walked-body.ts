import type { JsonObject } from '../json-value.ts'
import { fieldNames } from './field-names.ts'
import { createWalkNotes, type Fields, ObjectWalk, type WalkNotes } from './json-walk.ts'
import type { Span } from './span.ts'

/** A JSON body whose top-level fields have been found, without parsing it. */
export interface WalkedBody {
  readonly bytes: Uint8Array
  readonly fields: Fields
  readonly notes: WalkNotes
}

/** The fields that routing needs whole. They are short in every request that upstream accepts. */
const SMALL_FIELDS = [
  ...['model', 'models', 'session_id', 'prompt_cache_key'],
  ...['max_tokens', 'max_completion_tokens', 'max_output_tokens'],
  // By these the parts of an answer are counted. A prompt that is longer counts as one.
  ...['n', 'prompt'],
] as const
/** The fields in which a conversation begins. */
const OPENING_FIELDS = ['messages', 'system', 'instructions', 'input'] as const
const NAMES = fieldNames([...SMALL_FIELDS, ...OPENING_FIELDS])

/** A longer value of a small field counts as absent. Upstream refuses it. */
const MAX_SMALL_BYTES = 16 * 1024

/**
 * Finds the top-level fields of a JSON body, as `JSON.parse` would: of several fields with one name
 * the last counts, and a name may be written with escapes.
 * @param pause lets other requests go on. Only a large body needs it
 * @returns null for what is certainly no JSON object in UTF-8; see `json-walk.ts` for what is checked
 */
export async function walkBody(
  bytes: Uint8Array,
  pause: () => Promise<void>,
): Promise<WalkedBody | null> {
  const notes = createWalkNotes()
  const walk = new ObjectWalk(bytes, { start: 0, end: bytes.length }, NAMES, notes)
  while (walk.goOn()) await pause()
  const fields = walk.fields()
  return fields === null ? null : { bytes, fields, notes }
}

/** The fields that routing needs whole, parsed one by one. */
export function smallFields({ bytes, fields }: WalkedBody): JsonObject {
  const small: JsonObject = {}
  for (const name of SMALL_FIELDS) {
    const span = fields.get(name)
    if (span === undefined || span.end - span.start > MAX_SMALL_BYTES) continue
    small[name] = parseSpan(bytes, span)
  }
  return small
}

const decoder = new TextDecoder()

/** The value in a span of a body, or undefined if it is not JSON. */
export function parseSpan(bytes: Uint8Array, { start, end }: Span): unknown {
  try {
    return JSON.parse(decoder.decode(bytes.subarray(start, end)))
  } catch {
    return undefined
  }
}
