import type { JsonObject } from '../json-value.ts'
import type { ErrorNotice } from './api-shape.ts'

/** The error body that all of OpenRouter's APIs have except Anthropic's messages. */
export function openRouterError({ code, message, metadata }: ErrorNotice): JsonObject {
  return { error: { code, message, metadata: metadata ?? {} } }
}
