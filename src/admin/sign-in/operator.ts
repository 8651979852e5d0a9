import type { Context } from 'hono'
import { sha256Hex } from '../../config/secrets.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { type AccessKeys, createAccessKeys } from './access-keys.ts'
import { identityOf } from './access-token.ts'
import { sessionOf } from './session.ts'
import { createWrongTokens, noteWrongToken, type WrongTokens, waitMs } from './wrong-tokens.ts'

type AdminContext = Context<HttpEnvironment>

/** Who is signed in. */
export interface Operator {
  /** By what, for the log and the audit. */
  readonly name: string
  readonly mayWrite: boolean
  /** Whether a browser adds the credential to every request, also to one that another site makes. */
  readonly isAmbient: boolean
  /** When the credential ends; null if it does not by itself. */
  readonly endsAtMs: number | null
}

/** What a request's credentials come to. */
export type Admission =
  | { readonly kind: 'operator'; readonly operator: Operator }
  | { readonly kind: 'stranger' }
  /** That network has sent too many wrong tokens. */
  | { readonly kind: 'too_many_guesses'; readonly waitMs: number }

/** Whether there is any way to sign in. If not, all of `/admin` is not there. */
export function hasOperators(c: AdminContext): boolean {
  const { admin, access } = c.var.gateway.config
  return admin.writers.length + admin.readers.length > 0 || access !== null
}

/**
 * Who a request is from: by its bearer token, by its session, or by Cloudflare Access. A token that
 * is sent decides alone: a wrong one is not made good by where it came through.
 */
export async function admissionOf(c: AdminContext): Promise<Admission> {
  const [, token] = /^Bearer +(\S+) *$/i.exec(c.req.raw.headers.get('authorization') ?? '') ?? []
  if (token !== undefined) return admissionByToken(c, token, false)
  const operator = (await bySession(c)) ?? (await byAccess(c))
  return operator === null ? { kind: 'stranger' } : { kind: 'operator', operator }
}

/**
 * Who a token is from. Wrong ones are counted, by the network that sends them.
 * @param isTyped whether it comes from a form, else from a script
 */
export function admissionByToken(c: AdminContext, token: string, isTyped: boolean): Admission {
  const { wrongTokens } = memoryOf(c)
  const nowMs = c.var.gateway.ports.nowMs()
  const address = c.req.raw.headers.get('cf-connecting-ip') ?? ''
  const toWaitMs = waitMs(wrongTokens, address, nowMs)
  if (toWaitMs > 0) return { kind: 'too_many_guesses', waitMs: toWaitMs }
  // By the hash, as for clients: how long a comparison takes tells nothing of the token.
  const hash = sha256Hex(token)
  const operator = byTokenHash(c, hash)
  if (operator !== null) return { kind: 'operator', operator }
  noteWrongToken(wrongTokens, { hash, address, isTyped }, nowMs)
  return { kind: 'stranger' }
}

const READER = 'READ_TOKEN'
const WRITERS = ['ADMIN_TOKEN', 'ADMIN_TOKEN (second)'] as const

function byTokenHash(c: AdminContext, hash: string): Operator | null {
  const { writers, readers } = c.var.gateway.config.admin
  const writer = writers.indexOf(hash)
  const shared = { isAmbient: false, endsAtMs: null }
  if (writer !== -1) return { ...shared, name: WRITERS[writer === 0 ? 0 : 1], mayWrite: true }
  return readers.includes(hash) ? { ...shared, name: READER, mayWrite: false } : null
}

async function bySession(c: AdminContext): Promise<Operator | null> {
  const { writers, readers } = c.var.gateway.config.admin
  const session = await sessionOf(c, [...writers, ...readers])
  if (session === null) return null
  const operator = byTokenHash(c, session.tokenHash)
  return operator && { ...operator, isAmbient: true, endsAtMs: session.endsAtMs }
}

async function byAccess(c: AdminContext): Promise<Operator | null> {
  const { config, ports } = c.var.gateway
  const token = c.req.raw.headers.get('cf-access-jwt-assertion')
  if (config.access === null || token === null) return null
  const identity = await identityOf(token, config.access, memoryOf(c).accessKeys, ports)
  if (identity === null) return null
  const { name, expiresAtMs } = identity
  return { name: `access:${name}`, mayWrite: true, isAmbient: true, endsAtMs: expiresAtMs }
}

/**
 * Whether a page of another site may have made a request. A browser says from where it comes; one that
 * says neither is too old, or no browser, and then a token in a header serves.
 */
export function isCrossSite({ req }: AdminContext): boolean {
  const { headers, url } = req.raw
  const site = headers.get('sec-fetch-site')
  return site === null ? headers.get('origin') !== new URL(url).origin : site !== 'same-origin'
}

/** What an isolate remembers about signing in. */
interface Memory {
  readonly accessKeys: AccessKeys
  readonly wrongTokens: WrongTokens
}

const memories = new WeakMap<object, Memory>()

function memoryOf(c: AdminContext): Memory {
  const known = memories.get(c.var.gateway)
  if (known !== undefined) return known
  const memory = { accessKeys: createAccessKeys(), wrongTokens: createWrongTokens() }
  memories.set(c.var.gateway, memory)
  return memory
}
