import { describe, expect, it, vi } from 'vitest'
import { ANSWER, chat, gatewayInFrontOf, json, TOKEN, withOwnPool } from './gateway-driver.ts'

// Requests that the gateway refuses before it asks for a key have their row too.

const CLIENTS = [
  { id: 'app', token: TOKEN, models: ['vendor/model'] },
  { id: 'gone', token: 'sy-test-token-gone', expires_at: '2020-01-01T00:00:00Z' },
]

function refusals() {
  const bindings = withOwnPool({ CLIENT_KEYS: JSON.stringify(CLIENTS) })
  const { send } = gatewayInFrontOf(() => json(JSON.parse(ANSWER)))
  const host = bindings.KEY_POOL.getByName()
  return {
    send: (init: RequestInit, path = '/api/v1/chat/completions') => send(path, init, bindings),
    rows: () => host.requests({ limit: 100 }).requests,
    exchanges: vi.spyOn(host, 'exchange'),
  }
}

const bearer = (token: string, more = {}) => ({ authorization: `Bearer ${token}`, ...more })

describe('a request that is refused before its journey', () => {
  it.each([
    ['for its model', 403, 'model_not_allowed', chat({ body: '{"model":"vendor/other"}' })],
    ['for its body', 400, 'invalid_request', chat({ body: 'no json' })],
    [
      'for its encoding',
      415,
      'unsupported_encoding',
      chat({ headers: bearer(TOKEN, { 'content-encoding': 'br' }) }),
    ],
    [
      'since its client key has expired',
      401,
      'unauthorized',
      chat({ headers: bearer('sy-test-token-gone') }),
    ],
  ])('%s is found by the id of its response', async (_, status, reason, init) => {
    const { send, rows } = refusals()
    const response = await send(init)
    expect(response.status).toBe(status)
    const isExpired = status === 401
    expect(rows()).toMatchObject([
      {
        ...{ id: response.headers.get('x-request-id'), outcome: 'refused', status, reason },
        ...{ clientId: isExpired ? 'gone' : 'app', path: 'chat/completions', attempts: [] },
        asked: status === 403 ? 'vendor/other' : null,
      },
    ])
  })

  it('of somebody unknown leaves none, and costs no call', async () => {
    const { send, rows, exchanges } = refusals()
    await send(chat({ headers: bearer('sy-guess') }))
    await send(chat({ headers: {} }))
    expect(exchanges).not.toHaveBeenCalled()
    expect(rows()).toEqual([])
  })

  it('costs no call of its own where many come at once', async () => {
    const { send, rows, exchanges } = refusals()
    await Promise.all(Array.from({ length: 20 }, () => send(chat({ body: 'no json' }))))
    expect(rows()).toHaveLength(20)
    expect(exchanges.mock.calls.length).toBeLessThan(5)
  })

  it('and one that is answered are in the order in which they ended', async () => {
    const { send, rows } = refusals()
    await send(chat({ headers: bearer(TOKEN, { 'x-request-id': 'first' }) }))
    await send(chat({ headers: bearer(TOKEN, { 'x-request-id': 'second' }), body: '[]' }))
    expect(rows().map(({ id, outcome }) => [id, outcome])).toEqual([
      ['second', 'refused'],
      ['first', 'answered'],
    ])
  })
})
