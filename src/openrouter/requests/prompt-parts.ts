import type { JsonObject } from '../json-value.ts'

/** What a model may get to read of a request, told piece by piece and always in the same order. */
export interface PromptVisitor {
  /** A string or the name of a field; never empty. */
  text?(text: string): void
  /** A file, an image or a recording: in the request itself, or behind a link (`length` 0). */
  attachment?(attachment: Attachment): void
  /** A number, a truth value or null. In a prompt of token ids each number is a token. */
  scalar?(value: unknown): void
}

export interface Attachment {
  /** Characters of its base64 in the request. */
  readonly length: number
  /** Its content is text, which the model reads as such. */
  readonly isText: boolean
}

/**
 * Fields of a request's top level that steer it and that no model reads. All others are taken for
 * prompt, in any of OpenRouter's shapes: a field that is new there must not be a hole here.
 */
const PARAMETERS: ReadonlySet<string> = new Set([
  ...['model', 'models', 'provider', 'route', 'plugins', 'fallbacks', 'service_tier', 'speed'],
  ...['user', 'metadata', 'trace', 'session_id', 'prompt_cache_key', 'prompt_cache_options'],
  ...['safety_identifier', 'previous_response_id', 'cache_control', 'debug', 'usage', 'include'],
  ...['stream_options', 'reasoning', 'reasoning_effort', 'thinking', 'modalities', 'logit_bias'],
  ...['stop', 'stop_sequences', 'truncation', 'encoding_format', 'voice'],
])

/**
 * What a model reads as the JSON that it is: schemas of tools and answers, and what a tool was
 * called with. Whatever looks like an image in there is text, and would be a place to hide it.
 */
const LITERALS: ReadonlySet<string> = new Set([
  ...['tools', 'functions', 'response_format', 'json_schema', 'input_schema', 'schema'],
  ...['parameters', 'arguments'],
])

/** Fields that hold a link or a data URL, or an object with such a `url`. */
const MEDIA: ReadonlySet<string> = new Set([
  ...['image_url', 'video_url', 'file_url', 'file_data', 'image'],
])

/** A data URL, or base64 without one. What is shorter than this weighs nothing anyway. */
const ENCODED = /^(?:data:|[\w+/-]{64})/i

const TEXT_FILE = /^data:text\//i

/** A list or an object on the way from the body to where the walk is. */
interface Frame {
  /** The field that it is in; the items of a list are in the list's field. */
  readonly field: string
  /** The names of an object's fields; null for a list. */
  readonly names: readonly string[] | null
  readonly values: readonly unknown[]
  readonly isLiteral: boolean
  readonly up: Frame | null
  next: number
}

/**
 * Walks through a request's JSON. Frames instead of recursion, since JSON may be nested deeper than
 * the stack, and none for the items of a list, since a list may be as long as the body.
 */
export function visitPrompt(body: JsonObject, visitor: PromptVisitor): void {
  const fields = Object.entries(body).filter(
    ([name, value]) => !PARAMETERS.has(name) && (typeof value === 'string' || isContainer(value)),
  )
  let frame: Frame | null = {
    field: '',
    names: fields.map(([name]) => name),
    values: fields.map(([, value]) => value),
    isLiteral: false,
    up: null,
    next: 0,
  }
  while (frame !== null) {
    if (frame.next === frame.values.length) {
      frame = frame.up
      continue
    }
    const field: string = frame.names?.[frame.next] ?? frame.field
    const value = frame.values[frame.next]
    frame.next += 1
    if (frame.names !== null && frame.up !== null && field !== '') visitor.text?.(field)
    if (isContainer(value)) frame = frameOf(value, field, frame)
    else if (typeof value === 'string') visitString(value, field, frame, visitor)
    else visitor.scalar?.(value)
  }
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

function frameOf(value: object, field: string, up: Frame): Frame {
  const isLiteral = up.isLiteral || (up.names !== null && isLiteralField(field, up))
  const shared = { field, isLiteral, up, next: 0 }
  return Array.isArray(value)
    ? { ...shared, names: null, values: value }
    : { ...shared, names: Object.keys(value), values: Object.values(value) }
}

/** At the top `input` is the prompt of a shape, further down it is what a tool was called with. */
function isLiteralField(field: string, frame: Frame): boolean {
  return LITERALS.has(field) || (field === 'input' && frame.up !== null)
}

function visitString(text: string, field: string, frame: Frame, visitor: PromptVisitor): void {
  if (text === '') return
  const isMedia = !frame.isLiteral && frame.names !== null && isMediaField(field, frame)
  const isEncoded = isMedia && ENCODED.test(text)
  if (isMedia) {
    visitor.attachment?.({
      length: isEncoded ? text.length : 0,
      isText: isEncoded && TEXT_FILE.test(text),
    })
  }
  if (!isEncoded) visitor.text?.(text)
}

function isMediaField(field: string, frame: Frame): boolean {
  switch (field) {
    case 'url':
      return MEDIA.has(frame.field) || frame.field === 'source'
    case 'data':
      // A plain text document of /messages has its text here.
      return frame.field === 'source'
        ? typeOf(frame) !== 'text'
        : frame.field === 'input_audio' || frame.field === 'audio'
    case 'result':
      return typeOf(frame) === 'image_generation_call'
    default:
      return MEDIA.has(field)
  }
}

function typeOf(frame: Frame): unknown {
  return frame.values[frame.names?.indexOf('type') ?? -1]
}
