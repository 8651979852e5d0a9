import { chatError } from './chat-answer.ts'
import { failure, unauthorized } from './errors.ts'
import { json, type Reply } from './reply.ts'
import { settingsOf, type Visit } from './visit.ts'
import type { Key } from './world.ts'

/**
 * The secret that a request offers, or null. With both headers `x-api-key` wins, so a gateway
 * that forwards its caller's beside its own authorization is found out.
 */
export function offeredSecret(headers: Headers): string | null {
  const apiKey = headers.get('x-api-key')
  if (apiKey !== null) return apiKey
  return /^Bearer (.+)$/i.exec(headers.get('authorization') ?? '')?.[1] ?? null
}

/** The 401 of a request whose key is missing, unknown, disabled or expired; null when it may pass. */
export function refusedCredential(visit: Visit): Reply | null {
  if (!visit.credential) {
    const answer = failure(401, settingsOf(visit).noCredentialText)
    return json(401, chatError(answer, null), { error: 'no-credential' })
  }
  if (visit.key !== null && isValid(visit.key, visit.nowMs)) return null
  return json(401, chatError(unauthorized(), null), { error: '401' })
}

function isValid(key: Key, nowMs: number): boolean {
  return !key.disabled && (key.expiresAt === null || Date.parse(key.expiresAt) > nowMs)
}
