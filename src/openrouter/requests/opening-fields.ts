import { isJsonObject, type JsonObject } from '../json-value.ts'
import { fieldNames } from './field-names.ts'
import { createWalkNotes, fieldsOf, itemsOf, structureOf } from './json-walk.ts'
import type { Span } from './span.ts'
import { parseSpan, type WalkedBody } from './walked-body.ts'

/**
 * The most messages of a conversation's opening. A conversation that has no user message among them
 * has no opening.
 */
const MAX_MESSAGES = 64

/**
 * A larger part of an opening is not parsed; a few of its bytes stand for it. Parsing what is within
 * these bounds takes 2 ms and some megabytes.
 */
const MAX_PART_BYTES = 512 * 1024
const MAX_PART_STRUCTURE = 20_000
/** Of all parts together, so that many large parts cost no more than one. */
const MAX_OPENING_BYTES = 1024 * 1024
const EXCERPT_BYTES = 1024
/** How far into the messages the opening is looked for. */
const MAX_WALKED_BYTES = 4 * 1024 * 1024

const ROLE = fieldNames(['role'])
const decoder = new TextDecoder()

/**
 * The fields in which a conversation begins, without what follows the first user message. The rest
 * of the body is not parsed. It depends on nothing that comes later in the conversation, so all of
 * its turns give the same.
 */
export function openingFields({ bytes, fields }: WalkedBody): JsonObject {
  const opening: JsonObject = {}
  let left = MAX_OPENING_BYTES
  const read = (span: Span): unknown => {
    const length = span.end - span.start
    const isSmall = length <= Math.min(MAX_PART_BYTES, left)
    if (!isSmall || structureOf(bytes, span) > MAX_PART_STRUCTURE) return standIn(bytes, span)
    left -= length
    return parseSpan(bytes, span)
  }
  for (const name of ['system', 'instructions'] as const) {
    const span = fields.get(name)
    const value = span === undefined ? undefined : read(span)
    if (value !== undefined) opening[name] = value
  }
  for (const name of ['messages', 'input'] as const) {
    const span = fields.get(name)
    if (span === undefined) continue
    opening[name] = isList(bytes, span) ? firstMessages(bytes, span, read) : read(span)
  }
  return opening
}

function firstMessages(
  bytes: Uint8Array,
  list: Span,
  read: (span: Span) => unknown,
): readonly unknown[] {
  const messages: unknown[] = []
  const walked = bytes.subarray(0, Math.min(bytes.length, list.start + MAX_WALKED_BYTES))
  for (const span of itemsOf(walked, list, createWalkNotes())) {
    const message = read(span)
    messages.push(message)
    const isFirstOfUser = isJsonObject(message) && message.role === 'user'
    if (isFirstOfUser || messages.length === MAX_MESSAGES) break
  }
  return messages
}

function isList(bytes: Uint8Array, { start }: Span): boolean {
  return bytes[start] === 0x5b
}

/** Both ends of a part: parts that are so large and made from one template differ at one of them. */
function standIn(bytes: Uint8Array, span: Span): unknown {
  const { start, end } = span
  const text = (from: number, to: number) => decoder.decode(bytes.subarray(from, to))
  const first = text(start, start + EXCERPT_BYTES)
  const last = text(end - EXCERPT_BYTES, end)
  const excerpt = `${first}…${end - start}…${last}`
  if (end - start > MAX_WALKED_BYTES) return excerpt
  const role = fieldsOf(bytes, span, ROLE, createWalkNotes())?.get('role')
  const isShort = role !== undefined && role.end - role.start <= EXCERPT_BYTES
  return isShort ? { role: parseSpan(bytes, role), content: excerpt } : excerpt
}
