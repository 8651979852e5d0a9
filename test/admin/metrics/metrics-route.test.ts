import { describe, expect, it, vi } from 'vitest'
import { ADMIN, deployment, READER, SECOND_ADMIN } from '../admin-driver.ts'

const scrape = (token: string | null, method = 'GET'): RequestInit => ({
  method,
  headers: token === null ? {} : { authorization: `Bearer ${token}` },
})

describe('who may read the metrics', () => {
  it('nobody while no token is set: the path is not there', async () => {
    const { send } = deployment({ ADMIN_TOKEN: undefined }).isolate()
    for (const token of [null, ADMIN, 'sy-test-token-0001']) {
      expect((await send('/metrics', scrape(token))).status).toBe(404)
    }
  })

  it('who has one of the tokens, and nobody else', async () => {
    const tokens = { ADMIN_TOKEN: `${ADMIN},${SECOND_ADMIN}`, READ_TOKEN: READER }
    const { send } = deployment(tokens).isolate()
    for (const token of [ADMIN, SECOND_ADMIN, READER]) {
      const response = await send('/metrics', scrape(token))
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
      expect(response.headers.get('cache-control')).toBe('no-store')
      expect(response.headers.get('access-control-allow-origin')).toBeNull()
      expect(await response.text()).toContain('\nswitchyard_keys 3\n')
    }
    const refused = await send('/metrics', scrape('sy-test-token-0001'))
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    const stranger = await send('/metrics', scrape(null))
    expect([stranger.status, stranger.headers.get('cache-control')]).toEqual([401, 'no-store'])
    expect(stranger.headers.get('x-frame-options')).toBe('DENY')
  })

  it('and who guesses is soon refused unread, the right token too, and costs the object nothing', async () => {
    const { isolate, object } = deployment({ READ_TOKEN: READER })
    const { send } = isolate()
    const from = async (address: string, token: string) =>
      await send('/metrics', {
        headers: { authorization: `Bearer ${token}`, 'cf-connecting-ip': address },
      })
    const statuses: number[] = []
    for (let i = 0; i < 12; i += 1) statuses.push((await from('192.0.2.7', `wrong-${i}`)).status)
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 401), 429, 429])
    const refused = await from('192.0.2.7', READER)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '6'])
    expect(await refused.text()).not.toContain('switchyard_')
    expect(object.calls).toBe(0)
    expect((await from('192.0.2.8', READER)).status).toBe(200)
  })

  it('by GET and HEAD only', async () => {
    const { send } = deployment({ READ_TOKEN: READER }).isolate()
    const head = await send('/metrics', scrape(READER, 'HEAD'))
    expect([head.status, await head.text()]).toEqual([200, ''])
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      expect((await send('/metrics', scrape(ADMIN, method))).status, method).toBe(404)
    }
  })

  it('and each scrape has its line in the log, without a token', async () => {
    const log = vi.spyOn(console, 'log')
    const { send } = deployment({ READ_TOKEN: READER }).isolate()
    await send('/metrics', scrape(READER))
    await send('/metrics', scrape('wrong-token-of-somebody'))
    const lines = log.mock.calls.map(([line]) => String(line))
    log.mockRestore()
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { message: 'request', operator: 'READ_TOKEN', path: '/metrics', status: 200 },
      { message: 'request', path: '/metrics', status: 401, reason: 'unauthorized' },
    ])
    expect(lines.join()).not.toMatch(/token-of/)
  })
})

describe('what is told', () => {
  it('before the first request: the keys, and the object is not called', async () => {
    const { isolate, object } = deployment()
    const response = await isolate().send('/metrics', scrape(ADMIN))
    const text = await response.text()
    expect(text).toContain('switchyard_pool_up 1\n')
    expect(text).toContain('switchyard_keys_usable 3\n')
    expect(object.calls).toBe(0)
  })

  it('what the whole pool has counted, whichever isolate answers, by one call', async () => {
    const { isolate, object } = deployment()
    const [busy, other] = [isolate(), isolate()]
    expect((await busy.call('sy-test-token-0001')).status).toBe(200)
    const before = object.calls
    const text = await (await other.send('/metrics', scrape(ADMIN))).text()
    expect(object.calls - before).toBe(1)
    expect(text).toContain(
      'switchyard_client_attempts_total{client="tester",outcome="success"} 1\n',
    )
    expect(text).toContain('switchyard_model_cost_usd_total{model="vendor/model"} 0.001\n')
    expect(text).toContain('switchyard_key_info{key="alpha",account="acme"} 1\n')
  })

  it('that the object does not answer: with status 200, so that it can be an alert', async () => {
    const { isolate, object } = deployment()
    const { call, send } = isolate()
    await call('sy-test-token-0001')
    object.isDown = true
    const response = await send('/metrics', scrape(ADMIN))
    const text = await response.text()
    expect(response.status).toBe(200)
    expect(text).toContain('switchyard_pool_up 0\n')
    expect(text).toContain('switchyard_keys 3\n')
    expect(text).not.toContain('switchyard_key_usable')
  })
})

it('a key that somebody takes for a model, or for the name of a request, is refused and not told', async () => {
  const log = vi.spyOn(console, 'log')
  const { send } = deployment().isolate()
  const secrets = [`sy-${'0123456789abcdef'.repeat(4)}`, 'sk-or-v1-somebodys']
  for (const secret of secrets) {
    const response = await send('/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: 'Bearer sy-test-token-0001', 'x-request-id': secret },
      body: JSON.stringify({ model: secret, messages: [] }),
    })
    expect(response.status).toBe(400)
    expect(response.headers.get('x-request-id')).not.toBe(secret)
  }
  const lines = log.mock.calls.join()
  log.mockRestore()
  for (const secret of secrets) expect(lines).not.toContain(secret)
})
