/** A range of bytes, from `start` (included) to `end` (excluded). */
export interface Span {
  readonly start: number
  readonly end: number
}

/** The body with other bytes in place of the span. Every other byte is kept. */
export function replaceSpan(body: Uint8Array, { start, end }: Span, value: Uint8Array): Uint8Array {
  const replaced = new Uint8Array(body.length - (end - start) + value.length)
  replaced.set(body.subarray(0, start))
  replaced.set(value, start)
  replaced.set(body.subarray(end), start + value.length)
  return replaced
}
