import type { Context } from 'hono'
import { deleteCookie, getSignedCookie, setSignedCookie } from 'hono/cookie'
import { sha256Hex } from '../../config/secrets.ts'
import type { HttpEnvironment } from '../../http/context.ts'

/**
 * A session of the pages: a cookie that says when it ends, signed with a key that is made of the token
 * by which it began. So nothing is stored, and a token that is taken out of the configuration takes
 * its sessions with it.
 *
 * Only pages of this origin send it (`Strict`), no script reads it, and apps that call the gateway
 * from a browser never carry it (`Path`). For the prefix see RFC 6265bis, 4.1.3: no plain-text page of
 * the same host can plant one. `__Host-` would be stricter, but must have the path `/`.
 */
const NAME = 'switchyard'
const ATTRIBUTES = {
  prefix: 'secure',
  path: '/admin',
  httpOnly: true,
  secure: true,
  sameSite: 'Strict',
} as const

/** A working day. */
export const SESSION_MS = 12 * 60 * 60_000

type AdminContext = Context<HttpEnvironment>

export async function beginSession(c: AdminContext, tokenHash: string): Promise<void> {
  const endsAtMs = c.var.gateway.ports.nowMs() + SESSION_MS
  const maxAge = SESSION_MS / 1000
  const value = `${endsAtMs}`
  await setSignedCookie(c, NAME, value, signingKey(tokenHash), { ...ATTRIBUTES, maxAge })
}

export function endSession(c: AdminContext): void {
  deleteCookie(c, NAME, ATTRIBUTES)
}

/** By which of these tokens a request's session began; null without a valid session. */
export async function sessionOf(
  c: AdminContext,
  tokenHashes: readonly string[],
): Promise<{ readonly tokenHash: string; readonly endsAtMs: number } | null> {
  if (!c.req.raw.headers.has('cookie')) return null
  for (const tokenHash of tokenHashes) {
    const value = await getSignedCookie(c, signingKey(tokenHash), NAME, ATTRIBUTES.prefix)
    if (typeof value !== 'string') continue
    const endsAtMs = Number(value)
    return endsAtMs > c.var.gateway.ports.nowMs() ? { tokenHash, endsAtMs } : null
  }
  return null
}

/** The configuration keeps the hash of a token only; whoever does not know the token knows neither. */
function signingKey(tokenHash: string): string {
  return sha256Hex(`switchyard session ${tokenHash}`)
}
