/** A JSON text's value, or why it is no JSON. The words never quote the text, which may be secret. */
export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly fault: string }

/**
 * Parses JSON that a person has written. The engine's own message will not do: it quotes the text
 * around the fault, and often gives no position.
 */
export function parseJson(text: string): ParsedJson {
  try {
    return { ok: true, value: JSON.parse(text) }
  } catch {
    return { ok: false, fault: faultAt(text, faultOffset(text) ?? text.length) }
  }
}

/** What a token may be followed by. The names say what comes next. */
type Next = 'value' | 'firstValue' | 'key' | 'firstKey' | 'colon' | 'separator'

const TOKEN =
  /"(?:[^"\\\p{Cc}]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[{}[\],:]/uy

/** The offset of the first token that cannot stand where it stands; null if the text is JSON. */
function faultOffset(text: string): number | null {
  const open: string[] = []
  let next: Next = 'value'
  let offset = 0
  for (;;) {
    offset += /^[ \t\r\n]*/.exec(text.slice(offset))?.[0].length ?? 0
    if (offset === text.length && open.length === 0 && next === 'separator') return null
    TOKEN.lastIndex = offset
    const token = TOKEN.exec(text)?.[0]
    const after: Next | null = token === undefined ? null : afterToken(token, next, open)
    if (token === undefined || after === null) return offset
    next = after
    offset += token.length
  }
}

/** What may follow a token; null if the token itself may not stand there. Keeps `open` up to date. */
function afterToken(token: string, next: Next, open: string[]): Next | null {
  const isValueNext = next === 'value' || next === 'firstValue'
  switch (token) {
    case '{':
    case '[':
      if (isValueNext) open.push(token)
      return isValueNext ? AFTER_OPENING[token] : null
    case '}':
    case ']':
      return afterClosing(OPENING[token], next, open.pop())
    case ',':
      return next === 'separator' ? afterComma(open.at(-1)) : null
    case ':':
      return next === 'colon' ? 'value' : null
    default:
      return isValueNext ? 'separator' : afterName(token, next)
  }
}

const OPENING = { '}': '{', ']': '[' } as const
const AFTER_OPENING = { '{': 'firstKey', '[': 'firstValue' } as const

function afterClosing(opening: '{' | '[', next: Next, opened: string | undefined): Next | null {
  const mayClose = next === 'separator' || next === AFTER_OPENING[opening]
  return mayClose && opened === opening ? 'separator' : null
}

function afterComma(around: string | undefined): Next | null {
  if (around === undefined) return null
  return around === '{' ? 'key' : 'value'
}

function afterName(token: string, next: Next): Next | null {
  return token.startsWith('"') && (next === 'key' || next === 'firstKey') ? 'colon' : null
}

function faultAt(text: string, offset: number): string {
  const lines = text.slice(0, offset).split('\n')
  const column = (lines.at(-1)?.length ?? 0) + 1
  return `not valid JSON: ${unexpected(text, offset)} at line ${lines.length}, column ${column}`
}

/** A letter or digit is not shown: it may belong to a secret. */
function unexpected(text: string, offset: number): string {
  const character = text.charAt(offset)
  if (character === '') return 'it ends too early,'
  if (/[“”„‘’«»]/.test(character)) return `a typographic quotation mark (JSON takes only ")`
  if (character === "'") return `a single quotation mark (JSON takes only ")`
  TOKEN.lastIndex = offset
  if (character === '"' && !TOKEN.test(text)) {
    return 'a string without an end, or with a line break or an odd backslash in it,'
  }
  return /[{}[\],:"]/.test(character) ? `unexpected ${character}` : 'an unexpected character'
}
