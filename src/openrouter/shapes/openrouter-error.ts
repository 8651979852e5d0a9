import type { JsonObject } from '../json-value.ts'
import type { ErrorNotice } from './api-shape.ts'

/** An error in OpenRouter's own shape, which all of its APIs have but Anthropic's. */
export function openRouterError({ code, message, metadata }: ErrorNotice): JsonObject {
  return { error: { code, message, metadata: metadata ?? {} } }
}
