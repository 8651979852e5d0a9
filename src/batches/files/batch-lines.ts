import { fieldNames } from '../../openrouter/requests/field-names.ts'
import { createWalkNotes, fieldsOf } from '../../openrouter/requests/json-walk.ts'
import { parseSpan } from '../../openrouter/requests/walked-body.ts'

/** One request of a file. */
export interface BatchLine {
  /** Its number among the requests of the file, from 1. */
  readonly line: number
  readonly customId: string
  /** The bytes of its body, exactly as they stand in the file. */
  readonly body: Uint8Array
}

const LF = 0x0a
const NAMES = fieldNames(['custom_id', 'body'])

/**
 * The requests in the bytes of a range.
 * @param first the number of the first one
 */
export function linesOf(bytes: Uint8Array, first: number): readonly BatchLine[] {
  const lines: BatchLine[] = []
  for (let start = 0; start < bytes.length; ) {
    const at = bytes.indexOf(LF, start)
    const end = at === -1 ? bytes.length : at
    const request = requestOf(bytes.subarray(start, end))
    if (request !== null) lines.push({ line: first + lines.length, ...request })
    start = end + 1
  }
  return lines
}

/** Null for a blank line: every other was checked when the file came. */
function requestOf(bytes: Uint8Array): Omit<BatchLine, 'line'> | null {
  const fields = fieldsOf(bytes, { start: 0, end: bytes.length }, NAMES, createWalkNotes())
  const id = fields?.get('custom_id')
  const body = fields?.get('body')
  if (id === undefined || body === undefined) return null
  const customId = parseSpan(bytes, id)
  if (typeof customId !== 'string') return null
  return { customId, body: bytes.subarray(body.start, body.end) }
}
