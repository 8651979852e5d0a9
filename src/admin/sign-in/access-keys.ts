import * as z from 'zod/mini'
import { parseJson } from '../../config/json-text.ts'
import { type Ports, withinTime } from '../../gateway/ports.ts'

/** The public keys of a team's Access, as this isolate knows them. */
export interface AccessKeys {
  byId: ReadonlyMap<string, CryptoKey>
  fetchedAtMs: number
  /** When they were asked for last, the last times only. */
  askedAtMs: readonly number[]
}

/** Access changes its keys every six weeks, and shows a new one before it signs with it. */
const FRESH_MS = 60 * 60_000

/** While they cannot be fetched, known keys are used for so long. */
const USABLE_MS = 24 * 60 * 60_000

/** Whoever sends tokens with made-up key ids must not make this Worker ask at each of them. */
const MOST_QUESTIONS = { count: 10, inMs: 60_000 }

const GIVE_UP_MS = 3_000

/** Two keys with their certificates have some 8,000 characters. */
const MAX_LENGTH = 65_536

export function createAccessKeys(): AccessKeys {
  return { byId: new Map(), fetchedAtMs: Number.NEGATIVE_INFINITY, askedAtMs: [] }
}

/** The key with that id; null if Access has none, or does not answer. */
export async function keyOf(
  keys: AccessKeys,
  id: string,
  issuer: string,
  ports: Ports,
): Promise<CryptoKey | null> {
  const ageMs = () => ports.nowMs() - keys.fetchedAtMs
  if (!keys.byId.has(id) || ageMs() >= FRESH_MS) await renew(keys, issuer, ports)
  return ageMs() < USABLE_MS ? (keys.byId.get(id) ?? null) : null
}

async function renew(keys: AccessKeys, issuer: string, ports: Ports): Promise<void> {
  const nowMs = ports.nowMs()
  const recent = keys.askedAtMs.filter((atMs) => nowMs - atMs < MOST_QUESTIONS.inMs)
  if (recent.length >= MOST_QUESTIONS.count) return
  keys.askedAtMs = [...recent, nowMs]
  const byId = await fetchKeys(issuer, ports)
  if (byId === null || nowMs < keys.fetchedAtMs) return
  keys.byId = byId
  keys.fetchedAtMs = nowMs
}

/** A redirect is not followed: keys come from the team's own host, or from nowhere. */
async function fetchKeys(issuer: string, ports: Ports) {
  const abort = new AbortController()
  const init = { redirect: 'manual', signal: abort.signal } as const
  const asked = readKeys(ports.fetch(`${issuer}/cdn-cgi/access/certs`, init)).catch(() => null)
  const byId = await withinTime(ports, GIVE_UP_MS, asked)
  if (byId === null) abort.abort()
  return byId
}

const keySet = z.object({ keys: z.array(z.unknown()) })

/** RFC 7517; `n` of 2,048 bits has 342 characters or more. */
const publicKey = z.object({
  kty: z.literal('RSA'),
  kid: z.string(),
  n: z.string().check(z.minLength(342)),
  e: z.string(),
  alg: z.optional(z.literal('RS256')),
  use: z.optional(z.literal('sig')),
})

async function readKeys(fetched: Promise<Response>) {
  const response = await fetched
  if (response.status !== 200) {
    await response.body?.cancel()
    return null
  }
  const text = await response.text()
  const json = text.length > MAX_LENGTH ? null : parseJson(text)
  const parsed = keySet.safeParse(json?.ok ? json.value : null)
  if (!parsed.success) return null
  const imported = await Promise.all(parsed.data.keys.map(importKey))
  const byId = new Map(imported.filter((entry) => entry !== null))
  return byId.size === 0 ? null : byId
}

async function importKey(jwk: unknown): Promise<readonly [string, CryptoKey] | null> {
  const parsed = publicKey.safeParse(jwk)
  if (!parsed.success) return null
  const { kty, kid, n, e } = parsed.data
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  try {
    const key = await crypto.subtle.importKey('jwk', { kty, n, e }, algorithm, false, ['verify'])
    return [kid, key] as const
  } catch {
    return null
  }
}
