import { expect, it } from 'vitest'
import { ANSWER, chat, gatewayInFrontOf, reasonOf, TOKEN } from './gateway-driver.ts'

const answering = () =>
  gatewayInFrontOf(() => new Response(ANSWER, { headers: { 'content-type': 'application/json' } }))
const CHAT = '/api/v1/chat/completions'

const bearerAnd = (key: string) => ({ authorization: `Bearer ${TOKEN}`, 'x-api-key': key })

it.each([
  ['a bearer token', { authorization: `Bearer ${TOKEN}` }],
  [
    'a bearer token after a word in capitals and several blanks',
    { authorization: `BEARER   ${TOKEN}` },
  ],
  ['x-api-key', { 'x-api-key': TOKEN }],
  [
    'x-api-key beside a bearer of somebody else’s',
    { 'x-api-key': TOKEN, authorization: 'Bearer x' },
  ],
  ['a bearer beside an x-api-key of somebody else’s', bearerAnd('sk-ant-x')],
])('%s lets a client in', async (_, headers) => {
  const { send, received } = answering()
  const response = await send(CHAT, chat({ headers }))
  expect(response.status).toBe(200)
  expect(await response.text()).toBe(ANSWER)
  expect(received[0]?.headers.get('authorization')).toMatch(/^Bearer sk-or-v1-test-/)
  expect(received[0]?.headers.has('x-api-key')).toBe(false)
})

it.each([
  ['nothing', {}],
  ['an empty token', { authorization: 'Bearer ' }],
  ['another scheme', { authorization: `Basic ${TOKEN}` }],
  ['a wrong token', { authorization: 'Bearer sy-wrong-token' }],
  ['the beginning of a token', { authorization: `Bearer ${TOKEN.slice(0, -1)}` }],
  ['a token and more', { authorization: `Bearer ${TOKEN}x` }],
  ['a token in other letters', { authorization: `Bearer ${TOKEN.toUpperCase()}` }],
  ['the client’s id', { authorization: 'Bearer tester' }],
  ['an empty x-api-key', { 'x-api-key': '' }],
  ['the same token twice', { authorization: `Bearer ${TOKEN} ${TOKEN}` }],
  ['a key of the pool', { authorization: 'Bearer sk-or-v1-test-alpha' }],
])('%s is refused and goes nowhere', async (_, headers) => {
  const { send, received } = answering()
  const response = await send(CHAT, chat({ headers }))
  expect(response.status).toBe(401)
  expect(response.headers.get('www-authenticate')).toBe('Bearer')
  expect(await reasonOf(response)).toBe('unauthorized')
  expect(received).toEqual([])
})

it('who is not let in does not get their body read, however large or broken it is', async () => {
  const { send } = answering()
  const body = new ReadableStream(
    {
      pull() {
        throw new Error('The body was read')
      },
    },
    { highWaterMark: 0 },
  )
  const headers = { authorization: 'Bearer sy-wrong-token', 'content-length': '999999999999' }
  expect((await send(CHAT, chat({ headers, body }))).status).toBe(401)
  expect((await send(CHAT, chat({ headers, body: '{' }))).status).toBe(401)
})

it('without client keys, callers come in only if anonymous ones are allowed', async () => {
  const { send } = answering()
  const withoutToken = chat({ headers: {} })
  const CLIENT_KEYS = undefined
  // Nobody could call: that is a fault of the configuration.
  expect((await send(CHAT, withoutToken, { CLIENT_KEYS })).status).toBe(500)
  const allowed = { CLIENT_KEYS, ANONYMOUS_CLIENTS: 'allow' }
  expect((await send(CHAT, withoutToken, allowed)).status).toBe(200)
  expect((await send(CHAT, withoutToken, { ANONYMOUS_CLIENTS: 'allow' })).status).toBe(401)
})

it.each([
  ['an unknown token', { authorization: 'Bearer sy-unknown-token' }, 401],
  ['one without its scheme', { authorization: 'sy-unknown-token' }, 401],
  ['one in another scheme', { authorization: 'Basic c3k6dG9rZW4=' }, 401],
  ['one that has a blank in it', { authorization: 'Bearer sy unknown' }, 401],
  ['one for Anthropic’s SDK', { 'x-api-key': 'sy-unknown-token' }, 401],
  [
    'empty ones, as SDKs without a key send them',
    { authorization: 'Bearer ', 'x-api-key': '' },
    200,
  ],
])(
  'where anonymous callers are allowed, a request with %s is one of them or not',
  async (_, headers, status) => {
    const { send } = answering()
    const allowed = { CLIENT_KEYS: undefined, ANONYMOUS_CLIENTS: 'allow' }
    expect((await send(CHAT, chat({ headers }), allowed)).status).toBe(status)
  },
)

it('a client that is configured by its token’s hash comes in with the token', async () => {
  const sha256 = '5a3e13bd3ff8f9d6a4f6d6d6b1f1e2a3'.padEnd(64, '0')
  const digest = new Uint8Array(
    await crypto.subtle.digest('SHA-256', new TextEncoder().encode('t0ken')),
  )
  const hex = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const headers = { authorization: 'Bearer t0ken' }
  const { send } = answering()
  const clients = (hash: string) => ({ CLIENT_KEYS: JSON.stringify([{ id: 'a', sha256: hash }]) })
  expect((await send(CHAT, chat({ headers }), clients(hex))).status).toBe(200)
  expect((await send(CHAT, chat({ headers }), clients(sha256))).status).toBe(401)
})
