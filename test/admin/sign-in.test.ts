import { describe, expect, it, vi } from 'vitest'
import { ADMIN, deployment, READER, SECOND_ADMIN } from './admin-driver.ts'

const METHODS = ['GET', 'HEAD', 'OPTIONS', 'POST', 'PATCH', 'PUT', 'DELETE']
const PATHS = ['/admin', '/admin/', '/admin/api', '/admin/api/clients', '/admin/api/x', '/admin/y']
const WRITES = [
  ['POST', 'clients', { id: 'new' }],
  ['PATCH', 'clients/app', { rpm: 1 }],
  ['POST', 'clients/app/rotate', {}],
  ['POST', 'clients/app/budgets/day/reset', undefined],
  ['POST', 'clients/app/budgets/day/increase', { usd: 1, until: '2099-01-01T00:00:00Z' }],
  ['DELETE', 'clients/app', undefined],
  ['POST', 'groups', { id: 'new' }],
  ['PATCH', 'groups/team', { rpm: 1 }],
  ['DELETE', 'groups/team', undefined],
] as const

/** No page of another origin may read or send anything here. */
function expectPrivate(response: Response): void {
  const names = [...response.headers.keys()].filter((name) => name.startsWith('access-control-'))
  expect(names).toEqual([])
}

describe('without any admin token', () => {
  it('all of /admin is a 404, as any other path that is not there', async () => {
    const { send } = deployment({ ADMIN_TOKEN: undefined }).isolate()
    for (const path of PATHS) {
      for (const method of METHODS) {
        const headers = { authorization: `Bearer ${ADMIN}`, origin: 'https://page.example' }
        const response = await send(path, { method, headers })
        expect(response.status, `${method} ${path}`).toBe(404)
        expectPrivate(response)
      }
    }
  })
})

describe('who may call', () => {
  it('an unknown token, a client’s, and none are refused, whatever is asked for', async () => {
    const { send } = deployment({ READ_TOKEN: READER }).isolate()
    const wrong = [
      'Bearer wrong',
      'Bearer sy-test-token-0001',
      `Basic ${ADMIN}`,
      `Bearer ${ADMIN}x`,
    ]
    for (const path of ['/admin/api', '/admin/api/clients', '/admin/api/nothing']) {
      for (const method of METHODS) {
        for (const authorization of [null, ...wrong]) {
          const headers = authorization === null ? {} : { authorization }
          const response = await send(path, { method, headers })
          expect([response.status, response.headers.get('www-authenticate')]).toEqual([
            401,
            'Bearer',
          ])
          expect(response.headers.get('cache-control')).toBe('no-store')
          expectPrivate(response)
        }
      }
    }
    const inQuery = await send(`/admin/api/clients?token=${ADMIN}`)
    expect(inQuery.status).toBe(401)
    const asKey = await send('/admin/api/clients', { headers: { 'x-api-key': ADMIN } })
    expect(asKey.status).toBe(401)
  })

  it('both tokens of ADMIN_TOKEN open all, and the audit tells them apart', async () => {
    const { admin } = deployment({ ADMIN_TOKEN: `${ADMIN}, ${SECOND_ADMIN}` }).isolate()
    expect((await admin('POST', 'clients', { id: 'a' }, ADMIN)).status).toBe(201)
    expect((await admin('POST', 'clients', { id: 'b' }, SECOND_ADMIN)).status).toBe(201)
    const { entries } = (await admin('GET', 'audit')).body
    expect(entries.map(({ by }: { by: string }) => by)).toEqual([
      'ADMIN_TOKEN (second)',
      'ADMIN_TOKEN',
    ])
  })

  it('READ_TOKEN opens what is read, and nothing that changes anything', async () => {
    const { admin, send } = deployment({ READ_TOKEN: READER }).isolate()
    await admin('POST', 'groups', { id: 'team' })
    await admin('POST', 'clients', { id: 'app', budget: { usd: 1, period: 'day' } })
    for (const path of ['clients', 'clients/app', 'groups', 'groups/team', 'audit']) {
      expect((await admin('GET', path, undefined, READER)).status, path).toBe(200)
      const headers = { authorization: `Bearer ${READER}` }
      const head = await send(`/admin/api/${path}`, { method: 'HEAD', headers })
      expect([head.status, await head.text()], path).toEqual([200, ''])
    }
    for (const [method, path, body] of WRITES) {
      const answer = await admin(method, path, body, READER)
      expect([answer.status, answer.body.error.metadata.reason]).toEqual([403, 'unauthorized'])
      expect(answer.response.headers.get('cache-control')).toBe('no-store')
    }
    expect((await admin('OPTIONS', 'clients', undefined, READER)).status).toBe(403)
    expect((await admin('GET', 'audit')).body.entries).toHaveLength(2)
  })

  it('READ_TOKEN alone opens the API too, and then nothing can be changed', async () => {
    const { admin } = deployment({ ADMIN_TOKEN: undefined, READ_TOKEN: READER }).isolate()
    expect((await admin('GET', 'clients', undefined, READER)).status).toBe(200)
    expect((await admin('POST', 'clients', { id: 'a' }, READER)).status).toBe(403)
    expect((await admin('POST', 'clients', { id: 'a' }, ADMIN)).status).toBe(401)
  })
})

it('no answer may be cached or read by another origin’s page', async () => {
  const { admin } = deployment().isolate()
  for (const [method, path, body] of [
    ['GET', 'clients', undefined],
    ['POST', 'clients', { id: 'app' }],
    ['POST', 'clients/app/rotate', {}],
    ['DELETE', 'clients/app', undefined],
    ['GET', 'nothing', undefined],
    ['GET', 'clients/nobody', undefined],
    ['POST', 'clients', '{'],
  ] as const) {
    const { response } = await admin(method, path, body)
    expect(response.headers.get('cache-control'), `${method} ${path}`).toBe('no-store')
    expect(response.headers.has('x-request-id')).toBe(true)
    expectPrivate(response)
  }
})

it('each call has one line in the log, with the operator and no token', async () => {
  const log = vi.spyOn(console, 'log')
  const { admin, send } = deployment({ READ_TOKEN: READER }).isolate()
  await admin('POST', 'clients', { id: 'app' })
  await admin('GET', 'clients/nobody', undefined, READER)
  await admin('DELETE', 'clients/app', undefined, READER)
  await admin('GET', 'clients', undefined, 'wrong')
  await send('/admin/api/nothing', { headers: { authorization: `Bearer ${ADMIN}` } })
  const lines = log.mock.calls.map(([line]) => String(line))
  log.mockRestore()
  const told = lines.map((line) => {
    const { message, operator, method, status, path } = JSON.parse(line)
    return [message, operator, method, path, status]
  })
  expect(told).toEqual([
    ['request', 'ADMIN_TOKEN', 'POST', '/admin/api/clients', 201],
    ['request', 'READ_TOKEN', 'GET', '/admin/api/clients/nobody', 404],
    ['request', 'READ_TOKEN', 'DELETE', '/admin/api/clients/app', 403],
    ['request', undefined, 'GET', '/admin/api/clients', 401],
    ['request', 'ADMIN_TOKEN', 'GET', '/admin/api/nothing', 404],
  ])
  expect(lines.join()).not.toMatch(/token-of-the-tests|sy-[0-9a-f]/)
})
