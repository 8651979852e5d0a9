import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { gatewayInFrontOf, type UpstreamRequest } from '../../http/gateway-driver.ts'
import { FROM_OWN_PAGE } from '../browser-of.ts'

const ISSUER = 'https://acme.cloudflareaccess.com'
const AUDIENCE = 'a'.repeat(64)
const ACCESS = { ADMIN_TOKEN: undefined, ACCESS_TEAM: 'acme', ACCESS_AUD: AUDIENCE }
const ALGORITHM = {
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: 'SHA-256',
}

interface Pair {
  readonly privateKey: CryptoKey
  readonly jwk: Readonly<Record<string, unknown>>
}

async function makePair(kid: string): Promise<Pair> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  if (!('privateKey' in pair)) throw new Error('Not a pair')
  const jwk = await crypto.subtle.exportKey('jwk', pair.publicKey)
  return { privateKey: pair.privateKey, jwk: { ...jwk, kid, use: 'sig', alg: 'RS256' } }
}

let own: Pair
let strange: Pair
let next: Pair
beforeAll(async () => {
  ;[own, strange, next] = await Promise.all([
    makePair('key-1'),
    makePair('key-1'),
    makePair('key-2'),
  ])
})
afterEach(() => {
  vi.useRealTimers()
})

const base64url = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
const part = (value: unknown) => base64url(new TextEncoder().encode(JSON.stringify(value)))

const claimsNow = () => {
  const nowS = Math.floor(Date.now() / 1000)
  const times = { iat: nowS, nbf: nowS, exp: nowS + 3600 }
  return { iss: ISSUER, aud: [AUDIENCE], email: 'alice@acme.example', sub: 'u-1', ...times }
}

async function tokenOf(
  claims: object = {},
  header: object = {},
  { privateKey }: Pair = own,
): Promise<string> {
  const signed = `${part({ alg: 'RS256', kid: 'key-1', typ: 'JWT', ...header })}.${part({ ...claimsNow(), ...claims })}`
  const data = new TextEncoder().encode(signed)
  const signature = await crypto.subtle.sign(ALGORITHM.name, privateKey, data)
  return `${signed}.${base64url(new Uint8Array(signature))}`
}

/** A gateway behind Access, whose keys are these. */
function behindAccess(
  certs: (request: UpstreamRequest) => Response = () => Response.json({ keys: [own.jwk] }),
) {
  const { send, received } = gatewayInFrontOf(certs)
  const get = async (token: string, path = '/admin/api/clients') =>
    await send(path, { headers: { 'cf-access-jwt-assertion': token }, redirect: 'manual' }, ACCESS)
  return { send, get, received }
}

describe('Cloudflare Access', () => {
  it('opens API and pages, and the audit has the address', async () => {
    const { send, get, received } = behindAccess()
    const token = await tokenOf()
    expect((await get(token)).status).toBe(200)
    expect(await (await get(token, '/admin')).text()).toContain('access:alice@acme.example')
    const made = await send(
      '/admin/api/groups',
      {
        method: 'POST',
        headers: { 'cf-access-jwt-assertion': token, ...FROM_OWN_PAGE },
        body: JSON.stringify({ id: `team-${Date.now()}` }),
      },
      ACCESS,
    )
    expect(made.status).toBe(201)
    const { entries }: { entries: { by: string }[] } = await (
      await get(token, '/admin/api/audit')
    ).json()
    expect(entries[0]?.by).toBe('access:alice@acme.example')
    expect(received.map(({ url }) => url)).toEqual([`${ISSUER}/cdn-cgi/access/certs`])
    expect(received[0]?.redirect).toBe('manual')
  })

  it('refuses a write that another site had the browser make', async () => {
    const { send } = behindAccess()
    for (const site of ['cross-site', 'same-site', 'none']) {
      const headers = { 'cf-access-jwt-assertion': await tokenOf(), 'sec-fetch-site': site }
      const init = { method: 'POST', headers, body: '{"id":"team-x"}' }
      expect((await send('/admin/api/groups', init, ACCESS)).status).toBe(403)
    }
  })

  it('refuses every other token', async () => {
    const { get, received } = behindAccess()
    const nowS = Math.floor(Date.now() / 1000)
    const good = await tokenOf()
    const [head = '', body = '', signature = ''] = good.split('.')
    const secret = await crypto.subtle.importKey(
      'raw',
      new TextEncoder().encode(JSON.stringify(own.jwk)),
      { name: 'HMAC', hash: 'SHA-256' },
      false,
      ['sign'],
    )
    const hmacSigned = `${part({ alg: 'HS256', kid: 'key-1' })}.${body}`
    const mac = await crypto.subtle.sign('HMAC', secret, new TextEncoder().encode(hmacSigned))
    const wrong = {
      'another audience': await tokenOf({ aud: ['b'.repeat(64)] }),
      'no audience': await tokenOf({ aud: [] }),
      'another issuer': await tokenOf({ iss: 'https://other.cloudflareaccess.com' }),
      'an issuer that begins alike': await tokenOf({ iss: `${ISSUER}.evil.example` }),
      expired: await tokenOf({ exp: nowS }),
      'without an end': await tokenOf({ exp: undefined }),
      'an end that is a text': await tokenOf({ exp: String(nowS + 3600) }),
      'not valid yet': await tokenOf({ nbf: nowS + 120 }),
      'signed by another key': await tokenOf({}, {}, strange),
      'an unknown key': await tokenOf({}, { kid: 'key-9' }),
      'no key': await tokenOf({}, { kid: undefined }),
      'its own key': await tokenOf({}, { jwk: strange.jwk }, strange),
      'alg none': `${part({ alg: 'none', kid: 'key-1' })}.${body}.`,
      'alg none with a signature': `${part({ alg: 'none', kid: 'key-1' })}.${body}.${signature}`,
      HS256: `${hmacSigned}.${base64url(new Uint8Array(mac))}`,
      RS512: await tokenOf({}, { alg: 'RS512' }),
      'critical extensions': await tokenOf({}, { crit: ['b64'], b64: false }),
      'other claims': `${head}.${part({ ...claimsNow(), email: 'eve@evil.example' })}.${signature}`,
      'no signature': `${head}.${body}.`,
      'two parts': `${head}.${body}`,
      'four parts': `${good}.${signature}`,
      'no JSON': `x.y.${signature}`,
      'too long': await tokenOf({ padding: 'x'.repeat(9_000) }),
      empty: '',
    }
    for (const [name, token] of Object.entries(wrong)) {
      expect((await get(token)).status, name).toBe(401)
      expect((await get(token, '/admin')).status, name).toBe(303)
    }
    expect((await get(good)).status).toBe(200)
    // Only tokens for this application are worth a question, and those of an unknown key a few.
    expect(received.length).toBeLessThanOrEqual(5)
  })

  it('a new key of Access is fetched, made-up ones only now and then', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const keys = [own.jwk]
    const { get, received } = behindAccess(() => Response.json({ keys }))
    expect((await get(await tokenOf())).status).toBe(200)
    for (let i = 0; i < 30; i += 1) await get(await tokenOf({}, { kid: `made-up-${i}` }))
    expect(received.length).toBeLessThanOrEqual(10)
    keys.push(next.jwk)
    vi.advanceTimersByTime(61_000)
    expect((await get(await tokenOf({}, { kid: 'key-2' }, next))).status).toBe(200)
  })

  it('known keys outlast an outage of a day, and unknown ones let nobody in', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const state = { isDown: false }
    const { get } = behindAccess(() =>
      state.isDown
        ? new Response(null, { status: 302, headers: { location: 'https://evil.example/certs' } })
        : Response.json({ keys: [own.jwk, { kty: 'oct', kid: 'key-3', k: 'AA' }, 'no key'] }),
    )
    expect((await get(await tokenOf())).status).toBe(200)
    state.isDown = true
    vi.advanceTimersByTime(23 * 3_600_000)
    expect((await get(await tokenOf())).status).toBe(200)
    vi.advanceTimersByTime(3_600_000)
    expect((await get(await tokenOf())).status).toBe(401)
    const { get: unknown } = behindAccess(() => new Response('x', { status: 500 }))
    expect((await unknown(await tokenOf())).status).toBe(401)
  })

  it('a service is named by its token, and a name that is no plain text by nothing', async () => {
    const { get } = behindAccess()
    const nameOf = async (claims: object) =>
      /class="who">([^<]*)</.exec(await (await get(await tokenOf(claims), '/admin')).text())?.[1]
    expect(await nameOf({ email: undefined, common_name: 'ci.access', sub: '' })).toBe(
      'access:ci.access',
    )
    expect(await nameOf({ email: '<b>x</b> y' })).toBe('access:u-1')
  })
})
