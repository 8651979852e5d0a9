import { isRecord } from './json-schema-sample.ts'

/** One message of a prompt, or its instructions: what comes once in the order of a conversation. */
export interface Turn {
  readonly role: string
  readonly text: string
  /** The whole message as JSON: two turns are the same when this is. */
  readonly json: string
}

/** Roughly how many tokens that text has. */
export const tokensIn = (text: string) => Math.max(1, Math.ceil(text.length / 4))

/** Roughly how many tokens these turns have; 0 where there are none. */
export function tokensOf(turns: readonly Turn[]): number {
  return turns.length === 0 ? 0 : tokensIn(turns.map((turn) => turn.text).join(' '))
}

/** A message with a `role` and a `content` of text or parts, as most of the APIs have it. */
export function turnOf(message: unknown): Turn {
  const role = isRecord(message) && typeof message.role === 'string' ? message.role : ''
  const text = isRecord(message) ? contentText(message.content) : ''
  return { role, text, json: JSON.stringify(message) ?? '' }
}

/** Text alone, or the texts of a list of parts. */
export function contentText(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map(partText).join('')
}

/** A part's text, or that of the tool's result which it holds. */
function partText(part: unknown): string {
  if (!isRecord(part)) return ''
  return typeof part.text === 'string' ? part.text : contentText(part.content)
}

/** What the user said last, which an answer echoes. */
export function lastUserText(turns: readonly Turn[]): string {
  return turns.findLast((turn) => turn.role === 'user')?.text ?? ''
}

/** What stays the same over a conversation: its instructions and the first thing the user said. */
export function openingOf(turns: readonly Turn[]): readonly Turn[] {
  const instructions = turns.filter((turn) => turn.role === 'system' || turn.role === 'developer')
  const first = turns.find((turn) => turn.role === 'user')
  return first === undefined ? instructions : [...instructions, first]
}
