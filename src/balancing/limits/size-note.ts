import type { KeyId } from '../ids.ts'

/**
 * A request was too large for the money of a key or of an account. Requests that are at least as
 * large would be refused as well, and smaller ones may pass.
 */
export interface SizeNote {
  /** In tokens. */
  readonly size: number
  /** The key that served the request. An account's note ends with a lookup of this key. */
  readonly keyId: KeyId
  readonly sinceMs: number
  readonly untilMs: number
}

/** No lookup shows an account's balance, so the next large request is the test after this time. */
const REMEMBER_MS = 300_000

/**
 * The note after a refusal. If a note still holds, the smaller size counts: what was too much before
 * has not become less.
 * @param resetsAtMs when the money resets that was short; null if that is unknown
 */
export function noteSize(
  old: SizeNote | null,
  refused: Pick<SizeNote, 'size' | 'keyId'>,
  resetsAtMs: number | null,
  nowMs: number,
): SizeNote {
  const lapseMs = nowMs + REMEMBER_MS
  const isAhead = resetsAtMs !== null && resetsAtMs > nowMs
  const size = isHeld(old, nowMs) ? Math.min(old.size, refused.size) : refused.size
  const untilMs = isAhead ? Math.min(lapseMs, resetsAtMs) : lapseMs
  return { keyId: refused.keyId, size, sinceMs: nowMs, untilMs }
}

function isHeld(note: SizeNote | null, nowMs: number): note is SizeNote {
  return note !== null && nowMs < note.untilMs
}

/** When a request of this size may be sent again; null if the note does not rule it out. */
export function tooLargeUntilMs(
  note: SizeNote | null,
  size: number | undefined,
  nowMs: number,
): number | null {
  return size !== undefined && isHeld(note, nowMs) && size >= note.size ? note.untilMs : null
}

/** Requests of this size, and larger ones, are ruled out by a note, if there is one. */
export function tooLargeFrom(note: SizeNote | null, nowMs: number): number {
  return isHeld(note, nowMs) ? note.size : Number.POSITIVE_INFINITY
}

/** The note after a lookup of a key. A lookup that was made before the refusal says nothing. */
export function afterLookup(
  note: SizeNote | null,
  lookup: { readonly keyId: KeyId; readonly askedAtMs: number },
): SizeNote | null {
  const ends = note !== null && lookup.keyId === note.keyId && lookup.askedAtMs >= note.sinceMs
  return ends ? null : note
}
