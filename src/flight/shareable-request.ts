import { isJsonObject, type JsonObject, listOf, objectOf } from '../openrouter/json-value.ts'
import { readPricedFields } from '../openrouter/prices/priced-fields.ts'
import { fieldNames } from '../openrouter/requests/field-names.ts'
import { createWalkNotes, ObjectWalk } from '../openrouter/requests/json-walk.ts'
import { parseSpan } from '../openrouter/requests/walked-body.ts'

/** What of a body says whether its answer may be given to somebody else, or again. */
export interface ShareableFields {
  readonly isStream: boolean
  /** False if the answer is for this request alone. */
  readonly isShareable: boolean
}

const NAMES = ['stream', 'provider', 'zdr', 'data_collection', 'plugins', 'background'] as const
const STATE_NAMES = ['previous_response_id', 'conversation'] as const
const WALKED = fieldNames([...NAMES, ...STATE_NAMES])

/** A longer field may hold what forbids it. */
const MAX_BYTES = 64 * 1024

/**
 * Whether the answer of a request may be shared and kept. It may not where
 * - the request wants its data kept by nobody (`zdr`, `data_collection: "deny"`)
 * - tools run at OpenRouter or the provider, which see another world each time; a search above all
 * - a preset, a stored conversation or an earlier response changes what is asked, unseen
 * - any of this cannot be read
 * @param models all models that it may be sent to
 */
export async function readShareableFields(
  bytes: Uint8Array,
  models: readonly string[],
  pause: () => Promise<void>,
): Promise<ShareableFields> {
  const walk = new ObjectWalk(bytes, { start: 0, end: bytes.length }, WALKED, createWalkNotes())
  while (walk.goOn()) await pause()
  const fields: JsonObject = {}
  let isReadable = true
  for (const [name, span] of walk.fields() ?? []) {
    const value = span.end - span.start > MAX_BYTES ? undefined : parseSpan(bytes, span)
    if (value === undefined) isReadable = false
    fields[name] = value
  }
  const priced = await readPricedFields(bytes, pause)
  const isShareable =
    isReadable &&
    priced.isReadable &&
    priced.serverTools.kind === 'none' &&
    priced.searchResults === 0 &&
    !priced.hasPreset &&
    !isPrivate(fields) &&
    !hasState(fields) &&
    ![...models, ...priced.models].some((name) => /:online\b|@preset\//.test(name))
  return { isStream: fields.stream === true, isShareable }
}

/** Whatever stands there but a plain no is a yes. */
const isSet = (value: unknown): boolean => (value ?? false) !== false

function isPrivate({ provider, ...top }: JsonObject): boolean {
  // A provider that is no object is refused upstream, and an error is kept nowhere.
  return [top, objectOf(provider)].some(
    ({ zdr, data_collection: collection }) =>
      isSet(zdr) || (isSet(collection) && collection !== 'allow'),
  )
}

function hasState(fields: JsonObject): boolean {
  if (STATE_NAMES.some((name) => (fields[name] ?? null) !== null)) return true
  if (isSet(fields.background)) return true
  // Every search is a plugin by some name: only those are known that change the answer's form alone.
  return listOf(fields.plugins).some(
    (plugin) => !(isJsonObject(plugin) && HARMLESS_PLUGINS.has(plugin.id)),
  )
}

const HARMLESS_PLUGINS: ReadonlySet<unknown> = new Set([
  ...['file-parser', 'response-healing', 'context-compression'],
])
