import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import type { z } from 'zod/mini'
import { alertsAnswer, alertTestAnswer } from '../../../src/admin/alerts/alert-answer-schemas.ts'
import { ANSWER, chat, gatewayInFrontOf, json, withOwnPool } from '../../http/gateway-driver.ts'
import { ADMIN, deployment, messageOf, READER } from '../admin-driver.ts'
import { cookieOf, postForm } from '../browser-of.ts'

const SECRET = `whsec_${btoa('k'.repeat(32))}`
const ALERTS = JSON.stringify({
  ops: { url: 'https://ops.example.com/hook/secret-path', secret: SECRET },
  chat: { url: 'https://chat.example.com/x', secret: SECRET, format: 'slack' },
})
const POLICY = { alerts: { to: { ops: ['*'], chat: ['key_rejected'] } } }

/** A deployment whose receivers answer with a status. */
function deploymentWith(status = 204) {
  const sent: { url: string; headers: Headers; body: string }[] = []
  const made = deployment({ ALERTS, POLICY, READ_TOKEN: READER }, ({ url, headers, text }) => {
    sent.push({ url, headers, body: text })
    return new Response(null, { status })
  })
  return { ...made, sent, admin: made.isolate().admin }
}

const strictly = (schema: z.ZodMiniType, value: unknown) =>
  expect(schema.parse(value)).toEqual(value)

describe('the alerts of the admin API', () => {
  it('shows the addresses by name, with their events and without anything secret', async () => {
    const { admin } = deploymentWith()
    const { status, body } = await admin('GET', 'alerts', undefined, READER)
    expect(status).toBe(200)
    strictly(alertsAnswer, body)
    expect(
      body.addresses.map(({ name, format }: { name: string; format: string }) => [name, format]),
    ).toEqual([
      ['ops', 'standard'],
      ['chat', 'slack'],
    ])
    expect(body.addresses[0].events).toContain('pool_degraded')
    expect(body.addresses[1].events).toEqual(['key_rejected'])
    expect(JSON.stringify(body)).not.toMatch(/example\.com|whsec_|secret-path/)
  })

  it('sends a signed test, tells the status alone, and notes it in the audit', async () => {
    const { admin, sent } = deploymentWith(202)
    const { status, body } = await admin('POST', 'alerts/test', { name: 'ops' })
    expect([status, body]).toEqual([200, { name: 'ops', delivered: true, status: 202 }])
    strictly(alertTestAnswer, body)
    const [message] = sent
    const headers = Object.fromEntries(message?.headers ?? [])
    expect(new Webhook(SECRET).verify(message?.body ?? '', headers)).toMatchObject({
      type: 'test',
      text: 'Switchyard: this is a test. Alerts reach you here.',
      data: { name: 'ops' },
    })
    const { body: audit } = await admin('GET', 'audit')
    expect(audit.entries).toMatchObject([{ by: 'ADMIN_TOKEN', what: 'test_alert', target: 'ops' }])
  })

  it('tells of a receiver that refuses', async () => {
    const { admin } = deploymentWith(403)
    const { body } = await admin('POST', 'alerts/test', { name: 'chat' })
    expect(body).toEqual({ name: 'chat', delivered: false, status: 403 })
  })

  it('sends nothing to an unknown name, for a reader, or without the pool', async () => {
    const { admin, sent, object } = deploymentWith()
    const unknown = await admin('POST', 'alerts/test', { name: 'nobody' })
    expect(unknown.status).toBe(404)
    expect(messageOf(unknown.body)).toContain('ALERTS has no address with that name')
    expect((await admin('POST', 'alerts/test', {})).status).toBe(400)
    expect((await admin('POST', 'alerts/test', { name: 'ops' }, READER)).status).toBe(403)
    object.isDown = true
    expect((await admin('POST', 'alerts/test', { name: 'ops' })).status).toBe(503)
    expect((await admin('GET', 'alerts')).status).toBe(503)
    expect(sent).toEqual([])
  })
})

it('an address that is not told of alerts is marked, in the API and on the page', async () => {
  const to = (host: string) => ({ url: `https://${host}.example.com/hook`, secret: SECRET })
  const bindings = withOwnPool({
    ADMIN_TOKEN: ADMIN,
    ALERTS: JSON.stringify({
      well: to('well'),
      down: to('down'),
      left: to('left'),
      idle: to('idle'),
    }),
    POLICY: { alerts: { to: { well: ['*'], down: ['*'], left: ['*'] } } },
  })
  let attempts = 0
  const { send: sendTo } = gatewayInFrontOf(({ url }) => {
    const { hostname } = new URL(url)
    if (hostname === 'down.example.com') return new Response(null, { status: 503 })
    if (hostname === 'left.example.com') return new Response(null, { status: 410 })
    if (hostname === 'well.example.com') return new Response(null, { status: 204 })
    attempts += 1
    return attempts === 1
      ? json({ error: { code: 403, message: 'Key limit exceeded (total limit)' } }, { status: 403 })
      : new Response(ANSWER, { headers: { 'content-type': 'application/json' } })
  })
  const send = async (path: string, init: RequestInit = {}) => await sendTo(path, init, bindings)
  const beganMs = Date.now()
  expect((await send('/api/v1/chat/completions', chat())).status).toBe(200)
  const answer = await send('/admin/api/alerts', { headers: { authorization: `Bearer ${ADMIN}` } })
  const body = alertsAnswer.parse(await answer.json())
  const at = expect.stringMatching(/^\d{4}-/)
  expect(body.addresses.map(({ format, events, ...standing }) => standing)).toEqual([
    { name: 'well', state: 'well', waiting: 0, since: null, until: null },
    { name: 'down', state: 'failing', waiting: 1, since: at, until: null },
    { name: 'left', state: 'gone', waiting: 0, since: null, until: at },
    { name: 'idle', state: 'silent', waiting: 0, since: null, until: null },
  ])
  const [, , left] = body.addresses
  expect(Date.parse(left?.until ?? '')).toBeGreaterThan(beganMs + 23 * 60 * 60_000)
  const cookie = await cookieOf(send, ADMIN)
  const html = await (await send('/admin', { headers: { cookie } })).text()
  expect(html).toMatch(/Alerts do not reach <b>down<\/b>: 1 message to deliver, the oldest since/)
  expect(html).toMatch(/Alerts do not reach <b>left<\/b>: it has said that it is gone \(410\)/)
  expect(html).toContain('No alert goes to <b>idle</b>')
  expect(html).not.toContain('<b>well</b>')
  // Each is tried by a button, and what it answers is told.
  expect(html).toContain('/admin/confirm?do=test_alert&amp;id=well')
  const tried = async (id: string) =>
    await postForm(send, '/admin/do', { do: 'test_alert', id }, { cookie })
  const reached = await tried('well')
  expect([reached.status, reached.headers.get('location')]).toEqual([
    303,
    '/admin?done=test_alert&id=well',
  ])
  expect(await (await tried('down')).text()).toContain('down answered 503.')
})
