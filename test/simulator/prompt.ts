import { isRecord } from './json-schema-sample.ts'

/** One message of a prompt, or its instructions: one element in the order of a conversation. */
export interface Turn {
  readonly role: string
  readonly text: string
  /** The whole message as JSON. Two turns with the same JSON are the same turn. */
  readonly json: string
}

/** The approximate number of tokens of a text. */
export const tokensIn = (text: string) => Math.max(1, Math.ceil(text.length / 4))

/** The approximate number of tokens of these turns; 0 if there are none. */
export function tokensOf(turns: readonly Turn[]): number {
  return turns.length === 0 ? 0 : tokensIn(turns.map((turn) => turn.text).join(' '))
}

/** The turn of a message with a `role` and a `content` of text or parts, as in most APIs. */
export function turnOf(message: unknown): Turn {
  const role = isRecord(message) && typeof message.role === 'string' ? message.role : ''
  const text = isRecord(message) ? contentText(message.content) : ''
  return { role, text, json: JSON.stringify(message) ?? '' }
}

/** The text of a content: the text itself, or the texts of a list of parts. */
export function contentText(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map(partText).join('')
}

/** The text of a part, or of the tool result in the part. */
function partText(part: unknown): string {
  if (!isRecord(part)) return ''
  return typeof part.text === 'string' ? part.text : contentText(part.content)
}

/** The last text of the user. The answer echoes it. */
export function lastUserText(turns: readonly Turn[]): string {
  return turns.findLast((turn) => turn.role === 'user')?.text ?? ''
}

/** The turns that stay the same in a conversation: its instructions and the first user message. */
export function openingOf(turns: readonly Turn[]): readonly Turn[] {
  const instructions = turns.filter((turn) => turn.role === 'system' || turn.role === 'developer')
  const first = turns.find((turn) => turn.role === 'user')
  return first === undefined ? instructions : [...instructions, first]
}
