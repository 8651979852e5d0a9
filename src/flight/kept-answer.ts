import { isJsonObject, type JsonObject, objectOf } from '../openrouter/json-value.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import { createSseScanner, parseSseEvent } from '../openrouter/sse.ts'
import type { AnswerHead } from './answer-head.ts'

/** The headers of an answer that are as true of it later. The others tell of one attempt. */
const KEPT_HEADERS: ReadonlySet<string> = new Set([
  ...['content-type', 'cache-control', 'x-generation-id', 'x-provider-name', 'x-switchyard-model'],
])

export function keptHead({ status, headers }: AnswerHead): AnswerHead {
  const kept = Object.entries(headers).filter(([name]) => KEPT_HEADERS.has(name))
  return { status, headers: Object.fromEntries(kept) }
}

/**
 * Whether an answer may be given to later requests too. Only one that ended by itself may: a cut or a
 * filtered one is of one moment, and a search is too. The journey has found it complete and without an
 * error; here it is asked how it ended.
 */
export function mayKeep(
  { ending, mayMatter }: ApiShape,
  { status, headers }: AnswerHead,
  bytes: Uint8Array,
): boolean {
  if (ending === undefined || status !== 200) return false
  const type = headers['content-type'] ?? ''
  const said = /^text\/event-stream\b/i.test(type) ? eventsOf(bytes, mayMatter) : wholeOf(bytes)
  if (said === null || said.some(hasServerTools)) return false
  if (ending.good === null) return true
  const reasons = said.flatMap((json) => ending.reasonsIn(json))
  return reasons.length > 0 && reasons.every((reason) => ending.good?.has(reason))
}

const decoder = new TextDecoder()

/** A search whose request does not tell of it: some models search by themselves. */
const CITED = /"url_citation"|"web_search_(?:call|tool_result)"/

function wholeOf(bytes: Uint8Array): readonly JsonObject[] | null {
  const text = decoder.decode(bytes)
  const json: unknown = CITED.test(text) ? null : parsed(text)
  return isJsonObject(json) ? [json] : null
}

/** The events that tell how a stream ended; null if it has any that forbids to keep it. */
function eventsOf(
  bytes: Uint8Array,
  mayMatter: ApiShape['mayMatter'],
): readonly JsonObject[] | null {
  const found: JsonObject[] = []
  const scanner = createSseScanner()
  const look = (block: Uint8Array): boolean => {
    if (CITED.test(decoder.decode(block))) return false
    if (!mayMatter(block)) return true
    const json = parsed(parseSseEvent(block)?.data ?? '')
    if (isJsonObject(json)) found.push(json)
    return true
  }
  const isFit =
    scanner.push(bytes).every(({ kind, bytes: block }) => kind === 'comment' || look(block)) &&
    look(scanner.tail())
  return isFit ? found : null
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Usage counts what tools did at the provider or at OpenRouter. */
function hasServerTools(json: JsonObject): boolean {
  const places = [json, json.response, json.message].map(objectOf)
  return places
    .map(({ usage }) => objectOf(usage))
    .flatMap((usage) => [usage.server_tool_use, usage.server_tool_use_details])
    .flatMap((counts) => Object.values(objectOf(counts)))
    .some((count) => typeof count === 'number' && count > 0)
}
