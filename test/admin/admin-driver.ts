import { env } from 'cloudflare:workers'
import { ANSWER, gatewayInFrontOf } from '../http/gateway-driver.ts'

export const ADMIN = 'admin-token-of-the-tests-0000001'
export const SECOND_ADMIN = 'admin-token-of-the-tests-0000002'
export const READER = 'read-token-of-the-tests-00000001'

let count = 0

/** What an object that cannot be reached answers. */
const down = () => Promise.reject(new Error('overloaded'))
const DOWN = {
  clientDirectory: down,
  manageClients: down,
  audit: down,
  alerts: down,
  exchange: down,
}

/**
 * A pool's object of its own, and isolates in front of it: each has its own memory, and all have the
 * same configuration.
 * @param upstream who answers calls that are no lookups
 */
export function deployment(
  secrets: Readonly<Record<string, unknown>> = {},
  upstream: Parameters<typeof gatewayInFrontOf>[0] = () =>
    new Response(ANSWER, { headers: { 'content-type': 'application/json' } }),
) {
  count += 1
  const name = `pool/admin/${count}`
  const object = { isDown: false, calls: 0 }
  const stub = () => env.KEY_POOL.getByName(name)
  const KEY_POOL = {
    getByName() {
      object.calls += 1
      return object.isDown ? DOWN : stub()
    },
  }
  const isolate = () => {
    const { send: sendTo } = gatewayInFrontOf(
      upstream,
      // A lost settlement is sent again after 10 ms, not after a second.
      {
        timer(ms, callback) {
          const id = setTimeout(callback, ms / 100)
          return () => clearTimeout(id)
        },
      },
    )
    const bindings = { KEY_POOL, ADMIN_TOKEN: ADMIN, ...secrets }
    const send = async (path: string, init: RequestInit = {}) => await sendTo(path, init, bindings)
    /** A call of the admin API with a JSON body; its answer's status and body. */
    const admin = async (method: string, path: string, body?: unknown, token = ADMIN) => {
      const response = await send(`/admin/api/${path}`, {
        method,
        headers: { authorization: `Bearer ${token}` },
        ...(body === undefined
          ? {}
          : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
      const text = await response.text()
      return { status: response.status, body: text === '' ? null : JSON.parse(text), response }
    }
    /** Asks for a completion as a client; the status. */
    const call = async (token: string, address = '192.0.2.1'): Promise<Response> =>
      await send('/api/v1/chat/completions', {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'cf-connecting-ip': address,
        },
        body: JSON.stringify({
          model: 'vendor/model',
          messages: [{ role: 'user', content: 'Hi' }],
        }),
      })
    return { send, admin, call }
  }
  return { isolate, object, stub }
}

/** The message of an error of the gateway. */
export function messageOf(body: { error?: { message?: string } } | null): string {
  return body?.error?.message ?? ''
}
