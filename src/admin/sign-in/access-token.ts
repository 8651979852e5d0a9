import * as z from 'zod/mini'
import { parseJson } from '../../config/json-text.ts'
import type { Access } from '../../config/operators/access.ts'
import type { Ports } from '../../gateway/ports.ts'
import { type AccessKeys, keyOf } from './access-keys.ts'

/**
 * The token with which Cloudflare Access says who a request is from, in `Cf-Access-Jwt-Assertion`: a
 * JWT (RFC 7519) signed as RFC 7515 says. That the header is there proves nothing: whoever reaches
 * the Worker past Access can send one. So its signature, issuer, audience and times are checked here.
 *
 * By hand, since one algorithm of the many is allowed, and libraries bring them all. RFC 8725 says
 * what goes wrong with such tokens: an algorithm that the token chooses (`none`, or HMAC with the
 * public key as its secret), a token for another application, and a key that the token brings along.
 */
export interface AccessIdentity {
  /** An e-mail address, or for a service the name of its token. */
  readonly name: string
  readonly expiresAtMs: number
}

/** Access's own tokens have some 1,000 characters. */
const MAX_TOKEN_LENGTH = 8_192

/** How much later than here it may be at Access, where the token becomes valid. */
const CLOCK_SKEW_S = 30

const headerSchema = z.object({
  alg: z.literal('RS256'),
  kid: z.string().check(z.maxLength(256)),
  // Extensions that a reader must understand (RFC 7515, 4.1.11): this one understands none.
  crit: z.optional(z.never()),
})

const claimsSchema = z.object({
  iss: z.string(),
  aud: z.union([z.string(), z.array(z.string())]),
  exp: z.number(),
  nbf: z.optional(z.number()),
  email: z.optional(z.string()),
  common_name: z.optional(z.string()),
  sub: z.optional(z.string()),
})

/** Who an Access token is from; null unless all of it is right. */
export async function identityOf(
  token: string,
  access: Access,
  keys: AccessKeys,
  ports: Ports,
): Promise<AccessIdentity | null> {
  if (token.length > MAX_TOKEN_LENGTH) return null
  const parts = token.split('.')
  const [head, body, signature] = parts
  if (parts.length !== 3 || !head || !body || !signature) return null
  const header = headerSchema.safeParse(jsonOf(head))
  const claims = claimsSchema.safeParse(jsonOf(body))
  const signed = bytesOf(signature)
  if (!header.success || !claims.success || signed === null) return null
  // Before the signature: a token for somebody else must not make this isolate fetch keys.
  const nowS = ports.nowMs() / 1000
  const { iss, aud, exp, nbf = 0 } = claims.data
  if (iss !== access.issuer || ![aud].flat().includes(access.audience)) return null
  if (exp <= nowS || nbf > nowS + CLOCK_SKEW_S) return null
  const key = await keyOf(keys, header.data.kid, access.issuer, ports)
  if (key === null) return null
  const data = new TextEncoder().encode(`${head}.${body}`)
  const isSigned = await crypto.subtle.verify('RSASSA-PKCS1-v1_5', key, signed, data)
  return isSigned ? { name: nameOf(claims.data), expiresAtMs: exp * 1000 } : null
}

/** Names stand in the log, in the audit and on pages. */
const PLAIN_NAME = /^[\x21-\x7e]{1,200}$/

function nameOf({ email, common_name, sub }: z.output<typeof claimsSchema>): string {
  return [email, common_name, sub].find((name) => name && PLAIN_NAME.test(name)) ?? 'unnamed'
}

function jsonOf(part: string): unknown {
  const bytes = bytesOf(part)
  if (bytes === null) return null
  const parsed = parseJson(new TextDecoder().decode(bytes))
  return parsed.ok ? parsed.value : null
}

/** What base64url (RFC 4648, 5) without padding stands for; null if it is none. */
function bytesOf(part: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[\w-]+$/.test(part) || part.length % 4 === 1) return null
  const text = atob(part.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}
