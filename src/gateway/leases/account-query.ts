import type { Ports } from '../ports.ts'

export interface AccountAnswer {
  /** 0 when no answer came. */
  readonly status: number
  /** `undefined` when it is not JSON. */
  readonly body: unknown
}

/**
 * Asks OpenRouter something about the account of a key, within its time limit. The function never
 * rejects.
 */
export type AccountQuery = (path: string, secret: string) => Promise<AccountAnswer>

const TIMEOUT_MS = 10_000

export function createAccountQuery(
  ports: Pick<Ports, 'fetch' | 'timer'>,
  upstreamUrl: string,
): AccountQuery {
  return async (path, secret) => {
    const controller = new AbortController()
    const cancel = ports.timer(TIMEOUT_MS, () => controller.abort())
    try {
      const response = await ports.fetch(`${upstreamUrl}/${path}`, {
        headers: { accept: 'application/json', authorization: `Bearer ${secret}` },
        // The secret must not follow a redirect to another host.
        redirect: 'manual',
        signal: controller.signal,
      })
      const body: unknown = await response.json().catch(() => undefined)
      return { status: response.status, body }
    } catch {
      return { status: 0, body: undefined }
    } finally {
      cancel()
    }
  }
}
