import type { Call } from './api-shape.ts'
import { isRecord } from './json-schema-sample.ts'
import { openingOf, tokensOf } from './prompt.ts'
import type { Visit } from './visit.ts'

/** How long a conversation stays with its provider after its last request. */
const IDLE_MS = 600_000
/** For how many conversations prompts are kept. The least recently used one is dropped first. */
const MAX_CONVERSATIONS = 10_000

interface Prompt {
  /** A fingerprint of each turn that was served, in order. */
  readonly turns: readonly string[]
  readonly usedAtMs: number
}

/**
 * The prompts in the caches of providers, by account, model and conversation. OpenRouter keeps a
 * conversation with the provider that has its prefix, separately for each account.
 */
export type PromptCache = Map<string, Prompt>

/**
 * How many of the call's prompt tokens are in a prefix that this conversation has sent before. The
 * last turn never counts: it is new, even if its text is the same.
 */
export function cachedTokens(visit: Visit, call: Call): number {
  const { promptCache } = visit.simulation
  const kept = promptCache.get(nameOf(visit, call))
  if (kept === undefined || visit.nowMs - kept.usedAtMs >= IDLE_MS) return 0
  const earlier = call.turns.slice(0, -1)
  const differs = earlier.findIndex((turn, index) => fingerprint(turn.json) !== kept.turns[index])
  const common = differs === -1 ? earlier : earlier.slice(0, differs)
  return Math.min(call.promptTokens, tokensOf(common))
}

/** Stores a served prompt, so that the conversation's next request finds it. */
export function keepPrompt(visit: Visit, call: Call): void {
  if (call.turns.length === 0) return
  const { promptCache } = visit.simulation
  const name = nameOf(visit, call)
  promptCache.delete(name)
  const turns = call.turns.map((turn) => fingerprint(turn.json))
  promptCache.set(name, { turns, usedAtMs: visit.nowMs })
  const oldest = promptCache.keys().next()
  if (promptCache.size > MAX_CONVERSATIONS && !oldest.done) promptCache.delete(oldest.value)
}

function nameOf(visit: Visit, call: Call): string {
  return JSON.stringify([visit.account?.id, call.model, conversationOf(visit, call)])
}

/** The caller's name for the conversation, else a fingerprint of its opening. */
function conversationOf(visit: Visit, call: Call): string {
  const body = isRecord(visit.body) ? visit.body : {}
  const named = [body.session_id, visit.entry.headers['x-session-id'], body.prompt_cache_key]
  const id = named.find((name) => typeof name === 'string' && name !== '')
  if (id !== undefined) return `id ${String(id)}`
  return fingerprint(JSON.stringify(openingOf(call.turns).map((turn) => turn.json)))
}

/**
 * A short fingerprint, since prompts may have megabytes and need not be kept: two 32-bit hashes in
 * the manner of FNV-1a, over UTF-16 code units, and the length.
 */
function fingerprint(text: string): string {
  let [low, high] = [0x811c9dc5, 0xcbf29ce4]
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index)
    low = Math.imul(low ^ unit, 0x01000193)
    high = Math.imul(high ^ unit, 0x01000197)
  }
  return `${(low >>> 0).toString(16)}-${(high >>> 0).toString(16)}-${text.length}`
}
