import { afterEach, describe, expect, it, vi } from 'vitest'
import { SESSION_MS } from '../../../src/admin/sign-in/session.ts'
import { ADMIN, deployment, READER, SECOND_ADMIN } from '../admin-driver.ts'
import { cookieOf, FROM_OWN_PAGE, postForm } from '../browser-of.ts'

afterEach(() => {
  vi.useRealTimers()
})

const NEW_CLIENT = { method: 'POST', body: JSON.stringify({ id: 'app' }) }

describe('a session', () => {
  it('begins with ADMIN_TOKEN and opens pages and API, under the name of the token', async () => {
    const { send, admin } = deployment({ ADMIN_TOKEN: `${ADMIN},${SECOND_ADMIN}` }).isolate()
    const response = await postForm(send, '/admin/sign-in', { token: ` ${SECOND_ADMIN} ` })
    expect([response.status, response.headers.get('location')]).toEqual([303, '/admin'])
    const set = response.headers.get('set-cookie') ?? ''
    expect(set).toMatch(
      /^__Secure-switchyard=\d+\.\S+; Max-Age=43200; Path=\/admin; HttpOnly; Secure; SameSite=Strict$/,
    )
    expect(set).not.toContain(SECOND_ADMIN)
    const [cookie = ''] = set.split(';')
    const page = await send('/admin', { headers: { cookie } })
    expect(page.status).toBe(200)
    expect(await page.text()).toContain('ADMIN_TOKEN (second)')
    expect((await send('/admin/api/clients', { headers: { cookie } })).status).toBe(200)
    const made = await send('/admin/api/clients', {
      ...NEW_CLIENT,
      headers: { cookie, ...FROM_OWN_PAGE },
    })
    expect(made.status).toBe(201)
    const [entry] = (await admin('GET', 'audit')).body.entries
    expect(entry).toMatchObject({ by: 'ADMIN_TOKEN (second)', target: 'client:app' })
  })

  it('with READ_TOKEN only looks: no button, and no write', async () => {
    const { send } = deployment({ READ_TOKEN: READER }).isolate()
    const cookie = await cookieOf(send, READER)
    const page = await (await send('/admin', { headers: { cookie } })).text()
    expect(page).toContain('READ_TOKEN')
    expect(page).not.toMatch(/confirm\?|Make a client/)
    const headers = { cookie, ...FROM_OWN_PAGE }
    expect((await send('/admin/api/clients', { ...NEW_CLIENT, headers })).status).toBe(403)
  })

  it('ends with the day, with the token that it began with, and when one signs out', async () => {
    const { isolate } = deployment({ ADMIN_TOKEN: `${ADMIN},${SECOND_ADMIN}` })
    const { send } = isolate()
    vi.useFakeTimers({ toFake: ['Date'] })
    const beganMs = Date.now()
    const cookie = await cookieOf(send, ADMIN)
    const status = async (of = send) =>
      (await of('/admin/api/clients', { headers: { cookie } })).status
    vi.advanceTimersByTime(SESSION_MS - 1)
    expect(await status()).toBe(200)
    vi.advanceTimersByTime(1)
    expect(await status()).toBe(401)
    vi.setSystemTime(beganMs)
    const rotated = deployment({ ADMIN_TOKEN: SECOND_ADMIN }).isolate()
    expect(await status(rotated.send)).toBe(401)
    const out = await postForm(send, '/admin/sign-out', {}, { cookie })
    expect([out.status, out.headers.get('location')]).toEqual([303, '/admin/sign-in'])
    expect(out.headers.get('set-cookie')).toMatch(
      /^__Secure-switchyard=; Max-Age=0; Path=\/admin; HttpOnly; Secure; SameSite=Strict$/,
    )
  })

  it('cannot be made up', async () => {
    const { send } = deployment().isolate()
    const cookie = await cookieOf(send, ADMIN)
    const [name, value = ''] = decodeURIComponent(cookie).split('=')
    const [endsAt, signature = ''] = value.split('.')
    const other = deployment({ ADMIN_TOKEN: SECOND_ADMIN }).isolate()
    const forged = [
      `${name}=${Number(endsAt) + 1}.${signature}=`,
      `${name}=${endsAt}.${signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))}=`,
      `${name}=${endsAt}`,
      `${name}=${endsAt}.`,
      `${name}=`,
      `switchyard=${value}=`,
      await cookieOf(other.send, SECOND_ADMIN),
    ]
    for (const text of forged) {
      const page = await send('/admin', { headers: { cookie: text }, redirect: 'manual' })
      expect([page.status, page.headers.get('location')], text).toEqual([303, '/admin/sign-in'])
      const api = await send('/admin/api/clients', { headers: { cookie: text } })
      expect(api.status, text).toBe(401)
    }
  })
})

describe('another site', () => {
  const SITES: readonly Record<string, string>[] = [
    { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
    { 'sec-fetch-site': 'same-site', origin: 'https://blog.gateway.example' },
    { 'sec-fetch-site': 'none' },
    { 'sec-fetch-site': 'cross-site', origin: 'https://gateway.example' },
    { origin: 'https://evil.example' },
    { origin: 'http://gateway.example' },
    { origin: 'null' },
    {},
  ]

  it('changes nothing by a session, whatever it sends', async () => {
    const { send, admin } = deployment().isolate()
    const cookie = await cookieOf(send, ADMIN)
    for (const site of SITES) {
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      for (const path of ['/admin/api/clients', '/admin/clients', '/admin/do']) {
        const headers = { cookie, ...form, ...site }
        const response = await send(path, { ...NEW_CLIENT, headers })
        expect(response.status, `${path} ${JSON.stringify(site)}`).toBe(403)
      }
      const remove = await send('/admin/api/clients/app', {
        method: 'DELETE',
        headers: { cookie, ...site },
      })
      expect(remove.status).toBe(403)
    }
    expect((await admin('GET', 'audit')).body.entries).toEqual([])
  })

  it('signs nobody in or out', async () => {
    const { send } = deployment().isolate()
    for (const site of SITES) {
      for (const path of ['/admin/sign-in', '/admin/sign-out']) {
        const body = new URLSearchParams({ token: ADMIN }).toString()
        const response = await send(path, { method: 'POST', headers: site, body })
        expect([response.status, response.headers.get('set-cookie')]).toEqual([403, null])
      }
    }
  })

  it('an old browser of the own site, which tells its origin only, is let in', async () => {
    const { send } = deployment().isolate()
    const cookie = await cookieOf(send, ADMIN)
    const headers = { cookie, origin: 'https://gateway.example' }
    expect((await send('/admin/api/clients', { ...NEW_CLIENT, headers })).status).toBe(201)
  })

  it('no page is shown in a frame, cached, sniffed, or has a script or style in it', async () => {
    const { send } = deployment().isolate()
    const cookie = await cookieOf(send, ADMIN)
    const answers = [
      await send('/admin', { headers: { cookie } }),
      await send('/admin', { redirect: 'manual' }),
      await send('/admin/sign-in'),
      await postForm(send, '/admin/sign-in', { token: 'wrong' }),
      await send('/admin/nothing'),
      await send('/admin/api/clients', { headers: { cookie } }),
      await send('/admin/api/clients'),
    ]
    for (const { headers } of answers) {
      const policy = headers.get('content-security-policy') ?? ''
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'")
      expect(policy).toContain("form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
      expect(policy).not.toMatch(/unsafe|data:|\*/)
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('cache-control')).toBe('no-store')
      expect([...headers.keys()].filter((name) => /^access-control/.test(name))).toEqual([])
    }
    const page = await (await send('/admin', { headers: { cookie } })).text()
    expect(page).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]* src="\/admin\/assets\/)/)
    expect(page).not.toMatch(/(?:src|href|action)="(?!\/admin|#)/)
  })
})

describe('guesses', () => {
  it('are limited by network, cost the object nothing, and shut out no session', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { isolate, object } = deployment()
    const { send } = isolate()
    const cookie = await cookieOf(send, ADMIN)
    const before = object.calls
    const from = (address: string) => ({ 'cf-connecting-ip': address })
    const signIn = async (token: string, address: string) =>
      (await postForm(send, '/admin/sign-in', { token }, from(address))).status
    const statuses: number[] = []
    for (let i = 0; i < 12; i += 1) statuses.push(await signIn(`wrong-${i}`, `2001:db8::${i}`))
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 401), 429, 429])
    const refused = await postForm(send, '/admin/sign-in', { token: ADMIN }, from('2001:db8::aa'))
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '6'])
    const authorization = `Bearer ${ADMIN}`
    const byBearer = (address: string) =>
      send('/admin/api', { headers: { authorization, ...from(address) } })
    expect((await byBearer('2001:db8::1')).status).toBe(429)
    expect((await byBearer('2001:db8:1::1')).status).toBe(404)
    expect(object.calls).toBe(before)
    const page = await send('/admin', { headers: { cookie, ...from('2001:db8::1') } })
    expect(page.status).toBe(200)
    vi.advanceTimersByTime(6_000)
    expect(await signIn(ADMIN, '2001:db8::1')).toBe(303)
  })

  it('are none where a script repeats its old token: its network is not shut out', async () => {
    const { send } = deployment({ READ_TOKEN: READER }).isolate()
    const call = async (token: string) => {
      const headers = { authorization: `Bearer ${token}`, 'cf-connecting-ip': '192.0.2.7' }
      return (await send('/metrics', { headers })).status
    }
    const statuses: number[] = []
    for (let i = 0; i < 50; i += 1) statuses.push(await call('token-of-yesterday'))
    expect(new Set(statuses)).toEqual(new Set([401]))
    expect(await call(READER)).toBe(200)
    for (let i = 0; i < 9; i += 1) expect(await call(`guess-${i}`)).toBe(401)
    expect([await call('guess-9'), await call(READER)]).toEqual([429, 429])
  })

  it('are not repeated by the page, nor logged', async () => {
    const log = vi.spyOn(console, 'log')
    const { send } = deployment().isolate()
    const response = await postForm(send, '/admin/sign-in', { token: 'my-secret-guess' })
    const text = (await response.text()) + log.mock.calls.join()
    log.mockRestore()
    expect(response.status).toBe(401)
    expect(text).not.toContain('my-secret-guess')
  })
})
