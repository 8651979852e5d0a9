/**
 * Where a row of characters beyond ASCII ends, or -1 if one of them is not UTF-8.
 * (https://www.rfc-editor.org/rfc/rfc3629#section-4)
 */
export function charactersEnd(bytes: Uint8Array, start: number): number {
  let at = start
  for (let lead = bytes[at] ?? 0; lead > 0x7f; lead = bytes[at] ?? 0) {
    const length = lengthOf(lead)
    if (length === 0 || !isSecond(bytes[at + 1] ?? 0, lead)) return -1
    for (let next = at + 2; next < at + length; next += 1) {
      if (!isContinuation(bytes[next] ?? 0)) return -1
    }
    at += length
  }
  return at
}

/** How many bytes the character has that begins with this one; 0 if none does. */
function lengthOf(lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 0
  if (lead < 0xe0) return 2
  return lead < 0xf0 ? 3 : 4
}

/** Of some characters the second byte has bounds: no long way to write a short one, no surrogate. */
function isSecond(byte: number, lead: number): boolean {
  switch (lead) {
    case 0xe0:
      return byte >= 0xa0 && byte <= 0xbf
    case 0xed:
      return byte >= 0x80 && byte <= 0x9f
    case 0xf0:
      return byte >= 0x90 && byte <= 0xbf
    case 0xf4:
      return byte >= 0x80 && byte <= 0x8f
    default:
      return isContinuation(byte)
  }
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80
}
