import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { reasonOf } from '../http/gateway-driver.ts'
import { deployment } from './admin-driver.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

const pass = (seconds: number) => void vi.setSystemTime(Date.now() + seconds * 1_000)

describe('a client that was made at run time', () => {
  it('may call at once, from where it was made and from elsewhere', async () => {
    const { isolate } = deployment()
    const [here, idle, busy] = [isolate(), isolate(), isolate()]
    // The copies of all three are a moment old, and empty.
    for (const { call } of [here, idle, busy]) expect((await call('nobody')).status).toBe(401)
    const { token } = (await here.admin('POST', 'clients', { id: 'app' })).body
    for (let i = 0; i < 50; i += 1) await busy.call(`guess-${i}`, `192.0.2.${i}`)
    // A request of a configured client goes to the object, which tells of the change.
    expect((await busy.call('sy-test-token-0001')).status).toBe(200)
    for (const { call } of [here, idle, busy]) expect((await call(token)).status).toBe(200)
  })

  it('is refused everywhere within a minute after it was revoked, and at once where it was', async () => {
    const { isolate } = deployment()
    const [here, elsewhere] = [isolate(), isolate()]
    const { token } = (await here.admin('POST', 'clients', { id: 'app' })).body
    for (const { call } of [here, elsewhere]) expect((await call(token)).status).toBe(200)
    await here.admin('DELETE', 'clients/app')
    expect((await here.call(token)).status).toBe(401)
    pass(60)
    const response = await elsewhere.call(token)
    expect([response.status, await reasonOf(response)]).toEqual([401, 'unauthorized'])
  })

  it('is rotated without a gap: both tokens are valid until the time of grace is over', async () => {
    const { isolate } = deployment()
    const [here, elsewhere] = [isolate(), isolate()]
    const old = (await here.admin('POST', 'clients', { id: 'app' })).body.token
    expect((await elsewhere.call(old)).status).toBe(200)
    const { token } = (await here.admin('POST', 'clients/app/rotate', { grace_s: 90 })).body
    for (const { call } of [here, elsewhere]) {
      expect([(await call(old)).status, (await call(token)).status]).toEqual([200, 200])
    }
    const third = (await here.admin('POST', 'clients/app/rotate', { grace_s: 90 })).body.token
    pass(60)
    for (const { call } of [here, elsewhere]) {
      const statuses = [await call(old), await call(token), await call(third)]
      expect(statuses.map(({ status }) => status)).toEqual([401, 200, 200])
    }
    pass(30)
    for (const { call } of [here, elsewhere]) {
      expect([(await call(token)).status, (await call(third)).status]).toEqual([401, 200])
    }
  })

  it('ends when its group ends, or it does', async () => {
    const { admin, call } = deployment().isolate()
    const soon = new Date(Date.now() + 30_000).toISOString()
    await admin('POST', 'groups', { id: 'team', expires_at: soon })
    const made = [
      { id: 'a', group: 'team' },
      { id: 'b', expires_at: soon },
      { id: 'c', group: 'team', expires_at: '2099-01-01T00:00:00Z' },
    ]
    const tokens: string[] = []
    for (const client of made) tokens.push((await admin('POST', 'clients', client)).body.token)
    for (const token of tokens) expect((await call(token)).status).toBe(200)
    pass(30)
    for (const token of tokens) expect((await call(token)).status).toBe(401)
    await admin('PATCH', 'groups/team', { expires_at: null })
    await admin('PATCH', 'clients/b', { expires_at: null })
    for (const token of tokens) expect((await call(token)).status).toBe(200)
  })

  it('lives through a restart of the object, with its limits', async () => {
    const { isolate, stub } = deployment()
    const { admin } = isolate()
    await admin('POST', 'groups', { id: 'team', rpm: 100 })
    const { token } = (await admin('POST', 'clients', { id: 'app', group: 'team', rpd: 2 })).body
    const before = (await stub().clientDirectory(null)).clientsVersion
    pass(1)
    await abortAllDurableObjects()
    expect((await stub().clientDirectory(null)).clientsVersion).toBeGreaterThan(before)
    const { call } = isolate()
    const statuses: number[] = []
    for (let i = 0; i < 3; i += 1) statuses.push((await call(token)).status)
    expect(statuses).toEqual([200, 200, 429])
    expect((await admin('GET', 'clients/app')).body).toMatchObject({ group: 'team', rpd: 2 })
    expect((await admin('GET', 'audit')).body.entries).toHaveLength(2)
  })

  it('whose group cannot be read does not get in after a restart', async () => {
    const { isolate, stub } = deployment()
    const { admin } = isolate()
    await admin('POST', 'groups', { id: 'team' })
    const { token } = (await admin('POST', 'clients', { id: 'app', group: 'team' })).body
    await runInDurableObject(stub(), (_, { storage }) => {
      storage.sql.exec("UPDATE records SET record = '{' WHERE kind = 'group'")
    })
    await abortAllDurableObjects()
    expect((await isolate().call(token)).status).toBe(401)
  })
})

describe('wrong tokens', () => {
  it('cost few calls to the object, and are never anonymous', async () => {
    const { isolate, object } = deployment({
      CLIENT_KEYS: undefined,
      ANONYMOUS_CLIENTS: 'allow',
    })
    const { call, send } = isolate()
    const before = object.calls
    for (let i = 0; i < 300; i += 1) {
      expect((await call(`guess-${i}`, `192.0.2.${i % 250}`)).status).toBe(401)
    }
    expect(object.calls - before).toBeLessThan(20)
    const anonymous = await send('/api/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': '' },
      body: JSON.stringify({ model: 'vendor/model', messages: [] }),
    })
    expect(anonymous.status).toBe(200)
  })

  it('cost none where no client can be made', async () => {
    const { isolate, object } = deployment({ ADMIN_TOKEN: undefined })
    for (let i = 0; i < 20; i += 1) {
      expect((await isolate().call(`guess-${i}`)).status).toBe(401)
    }
    expect(object.calls).toBe(0)
  })
})

it('while the object cannot be reached, known tokens go on for a minute, and nobody is told theirs is wrong', async () => {
  const { isolate, object } = deployment()
  const here = isolate()
  const { token } = (await here.admin('POST', 'clients', { id: 'app' })).body
  expect((await here.call(token)).status).toBe(200)
  object.isDown = true
  pass(59)
  const served = await here.call(token)
  expect([served.status, served.headers.get('x-switchyard-degraded')]).toEqual([200, 'pool'])
  pass(1)
  for (const refused of [token, 'sy-never-seen', 'sy-never-seen-either']) {
    const response = await here.call(refused)
    expect([response.status, await reasonOf(response)]).toEqual([503, 'pool_unavailable'])
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
  }
  // A client of the configuration needs nobody to know it.
  expect((await here.call('sy-test-token-0001')).status).toBe(200)
})
