import type { AlertAddress } from '../../config/alerts/alert-addresses.ts'

const encoder = new TextEncoder()

/** What a signature is over. */
export interface Signed {
  readonly id: string
  /** In seconds since 1970. */
  readonly timestamp: number
  readonly body: string
}

/**
 * The headers by which a receiver verifies a message: one signature for each secret, so that one can be
 * rotated.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export async function signatureHeaders(
  secrets: AlertAddress['secrets'],
  { id, timestamp, body }: Signed,
): Promise<Record<string, string>> {
  const bytes = encoder.encode(`${id}.${timestamp}.${body}`)
  const signatures = await Promise.all(secrets.map((secret) => sign(secret, bytes)))
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatures.map((signature) => `v1,${signature}`).join(' '),
  }
}

async function sign(secret: BufferSource, bytes: Uint8Array): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign'])
  const signature = new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes))
  return btoa(String.fromCharCode(...signature))
}
