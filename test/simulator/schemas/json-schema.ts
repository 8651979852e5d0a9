// Short helpers for JSON Schemas. The schemas give only the required fields and the types. Further
// fields are always allowed, since OpenRouter adds some without notice.

export interface JsonSchema {
  readonly [keyword: string]: unknown
}

type Fields = Readonly<Record<string, JsonSchema>>

export const text: JsonSchema = { type: 'string' }
export const filled: JsonSchema = { type: 'string', minLength: 1 }
export const moment: JsonSchema = { type: 'string', format: 'date-time' }
export const number: JsonSchema = { type: 'number' }
export const count: JsonSchema = { type: 'integer', minimum: 0 }
export const dollars: JsonSchema = { type: 'number', minimum: 0 }
export const flag: JsonSchema = { type: 'boolean' }
export const nothing: JsonSchema = { type: 'null' }
export const anything: JsonSchema = {}

/** `gen-<unix seconds>-<20 letters and digits>`. */
export const generationId: JsonSchema = {
  type: 'string',
  pattern: '^gen-\\d{10}-[A-Za-z0-9]{20}$',
}

export const always = (value: string | number | boolean): JsonSchema => ({ const: value })

export const oneOf = (...values: (string | null)[]): JsonSchema => ({ enum: values })

export const either = (...schemas: JsonSchema[]): JsonSchema => ({ anyOf: schemas })

export const orNull = (schema: JsonSchema): JsonSchema => either(nothing, schema)

export const list = (items: JsonSchema, atLeast = 0): JsonSchema => ({
  type: 'array',
  items,
  minItems: atLeast,
})

/** An object with required and optional fields. */
export const object = (required: Fields, optional: Fields = {}): JsonSchema => ({
  type: 'object',
  required: Object.keys(required),
  properties: { ...required, ...optional },
})

/** An object's schema with further required and optional fields. */
export function extended(schema: JsonSchema, required: Fields, optional: Fields = {}): JsonSchema {
  return { type: 'object', allOf: [schema, object(required, optional)] }
}
