const BACKSLASH = 0x5c

/** Names to look for in an object; made once, since their bytes are compared. */
export interface FieldNames {
  readonly longest: number
  /** By their length. */
  readonly byLength: readonly (readonly { readonly name: string; readonly bytes: Uint8Array }[])[]
}

const encoder = new TextEncoder()

/** @param names ASCII */
export function fieldNames(names: readonly string[]): FieldNames {
  const longest = Math.max(...names.map((name) => name.length))
  const byLength = Array.from({ length: longest + 1 }, (_, length) =>
    names
      .filter((name) => name.length === length)
      .map((name) => ({ name, bytes: encoder.encode(name) })),
  )
  return { longest, byLength }
}

const scratch = new Uint8Array(64)

/**
 * Which of the names an object's key is; null for another key. A key may be written with escapes
 * (`"mod\u0065l"`). It is unescaped into memory that all keys share: a body may have millions.
 */
export function nameAt(
  body: Uint8Array,
  start: number,
  end: number,
  names: FieldNames,
): string | null {
  let length = 0
  for (let at = start + 1; at < end - 1; ) {
    if (length === names.longest) return null
    let byte = body[at] ?? 0
    at += 1
    if (byte === BACKSLASH) {
      // Of the escapes only `\uXXXX` can stand for a letter, a digit or an underscore.
      byte = body[at] === 0x75 ? hexAt(body, at + 1) : 0xff
      at += 5
    }
    if (byte > 0x7f) return null
    scratch[length] = byte
    length += 1
  }
  for (const { name, bytes } of names.byLength[length] ?? []) {
    if (isScratch(bytes)) return name
  }
  return null
}

function isScratch(bytes: Uint8Array): boolean {
  for (let index = 0; index < bytes.length; index += 1) {
    if (scratch[index] !== bytes[index]) return false
  }
  return true
}

/** The number that four hexadecimal digits write, or one that is no ASCII. */
function hexAt(body: Uint8Array, at: number): number {
  let value = 0
  for (let index = at; index < at + 4; index += 1) {
    const byte = body[index] ?? 0
    const lower = byte | 0x20
    if (byte >= 0x30 && byte <= 0x39) value = value * 16 + byte - 0x30
    else if (lower >= 0x61 && lower <= 0x66) value = value * 16 + lower - 0x57
    else return 0xff
  }
  return value
}
