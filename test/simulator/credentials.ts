import { failure, type Refusal, unauthorized } from './errors.ts'
import { json, type Reply } from './reply.ts'
import { openRouterError } from './shapes/openrouter-error.ts'
import { settingsOf, type Visit } from './visit.ts'
import type { Account, Key } from './world.ts'

/**
 * The secret in a request's headers, or null. If both headers are there, `x-api-key` wins. So a
 * test detects a gateway that forwards its caller's `x-api-key` beside its own authorization.
 */
export function offeredSecret(headers: Headers): string | null {
  const apiKey = headers.get('x-api-key')
  if (apiKey !== null) return apiKey
  return /^Bearer (.+)$/i.exec(headers.get('authorization') ?? '')?.[1] ?? null
}

/** The 401 for a key that is missing, unknown, disabled or expired; null if the key is good. */
export function refusedCredential(visit: Visit): Refusal | null {
  if (!visit.credential) {
    return { answer: failure(401, settingsOf(visit).noCredentialText), label: 'no-credential' }
  }
  if (visit.key !== null && isValid(visit.key, visit.nowMs)) return null
  return { answer: unauthorized(), label: '401' }
}

/**
 * The reply of an endpoint outside the inference APIs that needs a key: a 401 for a bad credential,
 * else the result of `answer`.
 */
export function withAccount(visit: Visit, answer: (key: Key, account: Account) => Reply): Reply {
  const refusal = refusedCredential(visit)
  const { key, account } = visit
  if (refusal === null && key !== null && account !== null) return answer(key, account)
  const { answer: unknown, label } = refusal ?? { answer: unauthorized(), label: '401' }
  return json(401, openRouterError(unknown, { userId: null }), { error: label })
}

function isValid(key: Key, nowMs: number): boolean {
  return !key.disabled && (key.expiresAt === null || Date.parse(key.expiresAt) > nowMs)
}
