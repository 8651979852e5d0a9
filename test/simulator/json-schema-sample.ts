export type Json = null | boolean | number | string | Json[] | { readonly [name: string]: Json }

const MAX_DEPTH = 8

/** Whether the value is a JSON object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A value that the schema accepts, with all its fields, required and optional. */
export function sampleOf(schema: unknown, depth = 0): Json {
  if (!isRecord(schema) || depth > MAX_DEPTH) return null
  const given = namedValue(schema)
  if (given !== undefined) return given
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
  switch (type) {
    case 'object':
    case undefined:
      return sampleObject(schema, depth)
    case 'array':
      return [sampleOf(schema.items, depth + 1)]
    case 'integer':
    case 'number':
      return typeof schema.minimum === 'number' ? schema.minimum : 1
    case 'boolean':
      return true
    case 'string':
      return 'sample'
    default:
      return null
  }
}

/** A value in the schema itself: its constant, default or first choice. */
function namedValue(schema: Readonly<Record<string, unknown>>): Json | undefined {
  for (const value of [schema.const, schema.default, first(schema.enum)]) {
    if (isScalar(value)) return value
  }
  const branch = first(schema.anyOf) ?? first(schema.oneOf)
  return branch === undefined ? undefined : sampleOf(branch, 1)
}

function sampleObject(schema: Readonly<Record<string, unknown>>, depth: number): Json {
  const properties = isRecord(schema.properties) ? schema.properties : {}
  return Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [name, sampleOf(property, depth + 1)]),
  )
}

const first = (list: unknown): unknown => (Array.isArray(list) ? list[0] : undefined)

function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}
