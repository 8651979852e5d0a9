import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { type Caller, callerWithoutLimits } from '../balancing/clients/caller.ts'
import { type ClientId, clientId } from '../balancing/ids.ts'
import { mayMakeClients } from '../config/config.ts'
import { sha256Hex } from '../config/secrets.ts'
import { gatewayError, poolUnavailable } from '../gateway/answers/gateway-error.ts'
import { type DirectoryAccess, findClient, findClientById } from './client-directory.ts'
import type { Gateway } from './composition-root.ts'
import type { HttpEnvironment } from './context.ts'
import { errorResponse } from './error-response.ts'

const ANONYMOUS = callerWithoutLimits(clientId('anonymous'))

/**
 * Lets in requests with a client key: a bearer token, or `x-api-key` as Anthropic's SDK sends it. In
 * anonymous mode it lets in every request without one. A request that carries a token is never
 * anonymous: whoever was given a key must not lose its limits with it.
 */
export const authenticate = createMiddleware<HttpEnvironment>(async function authenticate(c, next) {
  const { ports } = c.get('gateway')
  const beganMs = ports.nowMs()
  const caller = await identify(c)
  if (caller === 'unreachable') {
    const message = 'This gateway cannot check that client key now. Try again.'
    return errorResponse(c, poolUnavailable(message))
  }
  if (caller !== null) {
    c.set('caller', caller)
    c.set('clientId', caller.id)
  }
  if (caller === null || isOver(caller, ports.nowMs())) {
    const response = errorResponse(c, gatewayError('unauthorized', UNAUTHORIZED))
    response.headers.set('www-authenticate', 'Bearer')
    return response
  }
  c.set('authMs', ports.nowMs() - beganMs)
  return await next()
})

/** Who a request is from; null if it has no valid client key. */
export async function identify(
  c: Context<HttpEnvironment>,
): Promise<Caller | 'unreachable' | null> {
  const { headers } = c.req.raw
  if (c.get('gateway').config.anonymous && hasNoCredentials(headers)) return ANONYMOUS
  const tokens = presentedTokens(headers)
  return known(c.get('gateway'), tokens) ?? (await ask(c, tokens))
}

const UNAUTHORIZED =
  'The request has no valid client key. Send one as "Authorization: Bearer <token>". ' +
  'The operator of this gateway gives out client keys. An OpenRouter key does not work here.'

function isOver({ expiresAtMs }: Caller, nowMs: number): boolean {
  return expiresAtMs !== null && nowMs >= expiresAtMs
}

/** An SDK that finds two credentials in its environment sends both. Either may be a client key. */
function presentedTokens(headers: Headers): string[] {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '') ?? []
  // SDKs without a key send an empty one.
  return [bearer, headers.get('x-api-key')].filter(isGiven)
}

/** Credentials of another form are some that nobody has, and not none. */
function hasNoCredentials(headers: Headers): boolean {
  const isBlank = /^(?:Bearer)? *$/i.test(headers.get('authorization') ?? '')
  return isBlank && presentedTokens(headers).length === 0
}

const isGiven = (token: string | null | undefined): token is string =>
  token !== null && token !== undefined && token !== ''

/**
 * Finds the client of the configuration that a token belongs to, by the token's hash. How long that
 * takes says something of the hash, and nothing of the token: whoever sends guesses cannot choose
 * hashes that are close to one.
 */
function known({ callers }: Gateway, tokens: readonly string[]): Caller | null {
  for (const token of tokens) {
    const caller = callers.get(sha256Hex(token))
    if (caller !== undefined) return caller
  }
  return null
}

/**
 * Who a client is now, for a request that it does not make itself; null if it may not call any more.
 */
export async function callerOfClient(
  gateway: Gateway,
  id: ClientId,
  background: (work: Promise<unknown>) => void,
): Promise<Caller | 'unreachable' | null> {
  const { config, callers, directory, ports } = gateway
  if (config.anonymous && id === ANONYMOUS.id) return ANONYMOUS
  let caller = [...callers.values()].find((each) => each.id === id) ?? null
  if (caller === null && mayMakeClients(config)) {
    const lookup = await findClientById(directory, id, accessOf(gateway, background))
    if (lookup.kind === 'unreachable') return 'unreachable'
    caller = lookup.kind === 'known' ? lookup.caller : null
  }
  return caller !== null && isOver(caller, ports.nowMs()) ? null : caller
}

function accessOf(
  { pool, ports, leases }: Gateway,
  background: (work: Promise<unknown>) => void,
): DirectoryAccess {
  return {
    pool,
    // Read anew whenever it is asked for: it may rise while a request waits.
    get newestVersion() {
      return leases.clientsVersion
    },
    nowMs: ports.nowMs,
    wait: (ms) => new Promise((resolve) => void ports.timer(ms, resolve)),
    background,
  }
}

/** Finds a client that was made at run time. Without an admin token there are none. */
async function ask(
  c: Context<HttpEnvironment>,
  tokens: readonly string[],
): Promise<Caller | 'unreachable' | null> {
  const { config, directory } = c.var.gateway
  if (config.admin.writers.length === 0) return null
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const access = accessOf(c.var.gateway, background)
  const address = c.req.raw.headers.get('cf-connecting-ip') ?? ''
  let isUnreachable = false
  for (const token of tokens) {
    const lookup = await findClient(directory, sha256Hex(token), address, access)
    if (lookup.kind === 'known') return lookup.caller
    isUnreachable ||= lookup.kind === 'unreachable'
  }
  return isUnreachable ? 'unreachable' : null
}
