import { type JsonObject, listOf, objectOf } from '../json-value.ts'
import { fieldNames } from '../requests/field-names.ts'
import { createWalkNotes, fieldsOf, itemsOf } from '../requests/json-walk.ts'
import type { Span } from '../requests/span.ts'
import { parseSpan } from '../requests/walked-body.ts'

/**
 * Tools that OpenRouter or the provider runs. After each of their steps the model reads the prompt
 * anew, results included, and that is paid.
 * - `none`: the caller runs all tools himself
 * - `bounded`: searches, at most so many steps
 * - `unbounded`: nobody says how many, or a step may cost anything (a picture, another model)
 */
export type ServerTools =
  | { readonly kind: 'none' }
  | { readonly kind: 'bounded'; readonly steps: number }
  | { readonly kind: 'unbounded' }

const FIELDS = fieldNames(['type', 'max_uses', 'parameters'])

/** Tools that the caller's own program runs. A tool without a type is one of them. */
const CLIENT_TOOLS =
  /^(?:function|custom|local_shell|apply_patch|computer_use_preview|(?:bash|text_editor|computer|memory)_\d{8})$/

/** Each step of these costs a search at most. */
const SEARCHES = /^(?:openrouter:)?(?:web_search|web_fetch)(?:_[\w-]+)?$|^openrouter:datetime$/

/** OpenRouter runs no loop longer. */
const MAX_STEPS = 30

/** @param request the small fields of the body, and whether it is one of /responses */
export function serverToolsOf(
  bytes: Uint8Array,
  tools: Span | undefined,
  request: JsonObject & { readonly isResponses: boolean },
): ServerTools {
  if (listOf(request.mcp_servers).length > 0) return { kind: 'unbounded' }
  let uses = 0
  let isAny = false
  for (const span of tools === undefined ? [] : itemsOf(bytes, tools, createWalkNotes())) {
    const fields = fieldsOf(bytes, span, FIELDS, createWalkNotes())
    const read = (name: string) => {
      const field = fields?.get(name)
      return field === undefined ? undefined : parseSpan(bytes, field)
    }
    // A tool that is no object is refused upstream.
    const type = read('type')
    if (typeof type !== 'string' || CLIENT_TOOLS.test(type)) continue
    if (!SEARCHES.test(type)) return { kind: 'unbounded' }
    isAny = true
    uses += countOf(read('max_uses') ?? objectOf(read('parameters')).max_uses)
  }
  if (!isAny) return { kind: 'none' }
  const steps = Math.min(uses, stepsOf(request))
  return Number.isFinite(steps) ? { kind: 'bounded', steps } : { kind: 'unbounded' }
}

/** `stop_server_tools_when` sets aside `max_tool_calls`, which only /responses has. */
function stepsOf(request: JsonObject & { readonly isResponses: boolean }): number {
  const { stop_server_tools_when: stops, max_tool_calls: calls, isResponses } = request
  if ((stops ?? null) === null) {
    return isResponses ? Math.min(MAX_STEPS, countOf(calls)) : Number.POSITIVE_INFINITY
  }
  const counts = listOf(stops)
    .map(objectOf)
    .filter(({ type }) => type === 'step_count_is')
    .map(({ step_count: count }) => countOf(count))
  return Math.min(Number.POSITIVE_INFINITY, ...counts)
}

function countOf(value: unknown): number {
  const isCount = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
  return isCount ? value : Number.POSITIVE_INFINITY
}
