import { failure, type Refusal, unauthorized } from './errors.ts'
import { json, type Reply } from './reply.ts'
import { openRouterError } from './shapes/openrouter-error.ts'
import { settingsOf, type Visit } from './visit.ts'
import type { Account, Key } from './world.ts'

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
export function refusedCredential(visit: Visit): Refusal | null {
  if (!visit.credential) {
    return { answer: failure(401, settingsOf(visit).noCredentialText), label: 'no-credential' }
  }
  if (visit.key !== null && isValid(visit.key, visit.nowMs)) return null
  return { answer: unauthorized(), label: '401' }
}

/**
 * What only a key's holder may ask for, outside the inference APIs: the 401 of a bad credential,
 * else what `answer` says.
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
