import type { Caller } from '../balancing/clients/caller.ts'
import type { ClientId, GroupId, ModelId } from '../balancing/ids.ts'
import type { CacheScope } from '../config/cache-policy.ts'

/** Who may get an answer. */
export type KeyScope =
  | { readonly kind: 'client'; readonly id: ClientId }
  | { readonly kind: 'group'; readonly id: GroupId }
  | { readonly kind: 'pool' }

/** Everything that has to be the same for a request to get the answer of another. */
export interface KeyedRequest {
  readonly scope: KeyScope
  /** What purges have made of the answers so far; see purge-epochs.ts. */
  readonly epoch: string
  readonly upstreamUrl: string
  readonly path: string
  readonly search: string
  /**
   * As they may be sent, in this order: an alias is the model behind it. Fallbacks are among them, since
   * a client that may not use one must not get its answer either.
   */
  readonly models: readonly ModelId[]
  readonly isStream: boolean
  readonly headers: Headers
  readonly body: Uint8Array
}

/** A client without a group shares with nobody. */
export function scopeOf(scope: CacheScope, { id, groupId = null }: Caller): KeyScope {
  if (scope === 'pool') return { kind: 'pool' }
  return scope === 'group' && groupId !== null
    ? { kind: 'group', id: groupId }
    : { kind: 'client', id }
}

/** Node's types and the platform's have no common name for it. */
type HmacKey = Parameters<typeof crypto.subtle.sign>[1]

/** Raised when keys of an earlier release must not be met any more. */
const VERSION = 1

const encoder = new TextEncoder()

/**
 * The secret of the keys, derived from those of the gateway. Names of objects are written into the
 * platform's logs: without it, whoever reads those could try which prompts were sent. A rotation of the
 * upstream keys makes another secret, and with it an empty cache.
 */
async function keySecret(upstreamSecrets: readonly string[]): Promise<HmacKey> {
  const material = encoder.encode(JSON.stringify(upstreamSecrets.toSorted()))
  const base = await crypto.subtle.importKey('raw', material, 'HKDF', false, ['deriveKey'])
  const info = encoder.encode('switchyard: names of kept answers')
  return await crypto.subtle.deriveKey(
    { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(32), info },
    base,
    { name: 'HMAC', hash: 'SHA-256', length: 256 },
    false,
    ['sign'],
  )
}

/** The names of answers, by one secret. All of them are 64 hex digits. */
export interface AnswerKeys {
  /** Of the answer that a request and all that are the same get. */
  ofRequest(request: KeyedRequest): Promise<string>
  /** Of the object that holds the durable answers of a client. */
  ofClient(id: ClientId): Promise<string>
  /** Tells whether two bodies are the same without saying what is in them. */
  ofBody(request: Pick<KeyedRequest, 'path' | 'search' | 'body'>): Promise<string>
}

export function createAnswerKeys(upstreamSecrets: readonly string[]): AnswerKeys {
  // The key and not its promise: no request may wait for what another has begun.
  let known: HmacKey | null = null
  const signed = async (parts: readonly Part[]): Promise<string> => {
    known ??= await keySecret(upstreamSecrets)
    return await sign(known, parts)
  }
  return {
    async ofRequest({ scope, epoch, upstreamUrl, path, search, models, isStream, headers, body }) {
      const owner = scope.kind === 'pool' ? null : scope.id
      const asked = [upstreamUrl, path, search, JSON.stringify(models), isStream] as const
      const sent = [keyedHeaders(headers), await digest(body)] as const
      return await signed(['answer', VERSION, scope.kind, owner, epoch, ...asked, ...sent])
    },
    ofClient: (id) => signed(['durable', VERSION, id]),
    ofBody: async ({ path, search, body }) =>
      await signed(['body', VERSION, path, search, await digest(body)]),
  }
}

const KEYED_NAMES = ['accept', 'anthropic-version', 'anthropic-beta', 'x-anthropic-beta'] as const
const KEYED_PREFIX = 'x-openrouter-'

/** A header that is absent is another thing than an empty one. */
function keyedHeaders(headers: Headers): readonly (readonly [string, string | null])[] {
  const others: [string, string][] = []
  headers.forEach((value, name) => {
    if (name.startsWith(KEYED_PREFIX)) others.push([name, value])
  })
  others.sort(([a], [b]) => (a < b ? -1 : 1))
  return [...KEYED_NAMES.map((name) => [name, headers.get(name)] as const), ...others]
}

type Part = string | number | boolean | null | readonly (readonly [string, string | null])[]

/** JSON writes no two lists alike, whatever is in them: where one part ends, no other can begin. */
async function sign(secret: HmacKey, parts: readonly Part[]): Promise<string> {
  const bytes = encoder.encode(JSON.stringify(parts))
  return hexOf(await crypto.subtle.sign('HMAC', secret, bytes))
}

async function digest(bytes: Uint8Array): Promise<string> {
  return hexOf(await crypto.subtle.digest('SHA-256', bytes))
}

function hexOf(buffer: ArrayBuffer): string {
  return [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
