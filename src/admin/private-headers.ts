import { createMiddleware } from 'hono/factory'
import type { HttpEnvironment } from '../http/context.ts'

/**
 * No page of another site shows, loads or reads anything of the operators', no cache keeps it, and
 * no text on a page of theirs becomes a script, whoever managed to get it there.
 */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ].join('; '),
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
}

/** Gives every answer under `/admin`, and `/metrics`, these headers, also those that say that nothing is there. */
export const privateHeaders = createMiddleware<HttpEnvironment>(async function hide(c, next) {
  await next()
  for (const [name, value] of Object.entries(HEADERS)) c.res.headers.set(name, value)
})
