import type { JsonObject } from '../json-value.ts'

/** Receives the parts of a request that a model may read, one by one and in a fixed order. */
export interface PromptVisitor {
  /** A string or the name of a field; never empty. */
  text?(text: string): void
  /** A file, an image or a recording: in the request itself, or behind a link (`length` 0). */
  attachment?(attachment: Attachment): void
  /** A number, a boolean or null. In a prompt of token ids, each number is a token. */
  scalar?(value: unknown): void
}

export interface Attachment {
  /** Characters of its base64 in the request. */
  readonly length: number
  /** The attachment is a text file, which the model reads as text. */
  readonly isText: boolean
}

/**
 * Top-level fields that control the request and that no model reads. All other fields count as
 * prompt, in all API shapes: otherwise a new field of OpenRouter would be counted as nothing.
 */
const PARAMETERS: ReadonlySet<string> = new Set([
  ...['model', 'models', 'provider', 'route', 'plugins', 'fallbacks', 'service_tier', 'speed'],
  ...['user', 'metadata', 'trace', 'session_id', 'prompt_cache_key', 'prompt_cache_options'],
  ...['safety_identifier', 'previous_response_id', 'cache_control', 'debug', 'usage', 'include'],
  ...['stream_options', 'reasoning', 'reasoning_effort', 'thinking', 'modalities', 'logit_bias'],
  ...['stop', 'stop_sequences', 'truncation', 'encoding_format', 'voice'],
])

/**
 * Fields that a model reads as raw JSON: schemas of tools and answers, and arguments of tool calls.
 * A value in them that looks like an image is text. If it counted as an image, a caller could hide
 * a long text there.
 */
const LITERALS: ReadonlySet<string> = new Set([
  ...['tools', 'functions', 'response_format', 'json_schema', 'input_schema', 'schema'],
  ...['parameters', 'arguments'],
])

/** Fields that hold a link or a data URL, or an object with such a `url`. */
const MEDIA: ReadonlySet<string> = new Set([
  ...['image_url', 'video_url', 'file_url', 'file_data', 'image'],
])

/** A data URL, or bare base64. Base64 of fewer than 64 characters is too short to matter. */
const ENCODED = /^(?:data:|[\w+/-]{64})/i

const TEXT_FILE = /^data:text\//i

/** A list or an object on the path from the body to the current place of the walk. */
interface Frame {
  /** The field that holds it. The items of a list have the field of the list. */
  readonly field: string
  /** The names of an object's fields; null for a list. */
  readonly names: readonly string[] | null
  readonly values: readonly unknown[]
  readonly isLiteral: boolean
  readonly up: Frame | null
  next: number
}

/**
 * Walks through a request's JSON and calls the visitor for each part. It uses frames instead of
 * recursion, since JSON may nest deeper than the stack allows. The frame of a list refers to the
 * list itself and copies nothing, since a list may be as long as the body.
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

/** At the top level `input` is the prompt of an API; deeper, it is the input of a tool call. */
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
      // A plain-text document of /messages has its text in this field.
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
