import { describe, expect, it } from 'vitest'
import { ADMIN, deployment, READER } from '../admin-driver.ts'
import { cookieOf, postForm } from '../browser-of.ts'

/** A page in a browser that is signed in, and the admin API beside it. */
async function operator(token = ADMIN, bindings: Readonly<Record<string, unknown>> = {}) {
  const { isolate, stub } = deployment({ READ_TOKEN: READER, ...bindings })
  const { send, admin, call } = isolate()
  const cookie = await cookieOf(send, token)
  return {
    ...{ admin, call, pool: stub },
    page: async (path: string) => {
      const response = await send(`/admin${path}`, { headers: { cookie } })
      return { status: response.status, html: await response.text() }
    },
    post: async (path: string, fields: Record<string, string>) =>
      await postForm(send, `/admin${path}`, fields, { cookie }),
  }
}

/** The fields of a page's first form, as a browser would send them if nobody touched one. */
function formOf(html: string): Record<string, string> {
  const form = /<form method="post" action="\/admin\/change".*?<\/form>/s.exec(html)?.[0] ?? ''
  const inputs = form.match(/<input[^>]*>/g) ?? []
  const value = (input: string, name: string) =>
    new RegExp(` ${name}="([^"]*)"`).exec(input)?.[1] ?? ''
  return Object.fromEntries(inputs.map((input) => [value(input, 'name'), value(input, 'value')]))
}

describe('the dashboard', () => {
  it('shows accounts of which somebody pays for several keys, and who waits', async () => {
    const { page, call } = await operator()
    await call('sy-test-token-0001')
    const { html } = await page('')
    expect(html).toMatch(/id="account-list".*acme <small>2 keys.*badge well">usable/s)
    expect(html).toMatch(/id="queue-lanes".*Nobody waits for a key\. Up to \d+ may wait/s)
  })

  it('shows how far each batch is, until it has ended', async () => {
    const { page, pool } = await operator()
    const lines = { total: 2000, completed: 1200, failed: 300, claimed: 24 }
    const expiresAtMs = Date.now() + 3_600_000
    const batch = { id: 'batch_1', clientId: 'app', status: 'in_progress', ...lines, expiresAtMs }
    await pool().noteBatch(batch, false)
    const { html } = await page('')
    const row = /id="batch-list".*?<\/table>/s
      .exec(html)?.[0]
      .replace(/<[^>]*>/g, '')
      .replace(/\s+/g, ' ')
    expect(row).toMatch(/batch_1 app · in progress1 500 of 2 000 75 %, 300 failed, 24 taken up/)
    await pool().noteBatch(batch, true)
    expect((await page('')).html).toContain('No batch runs.')
  })
})

it('without the binding of the static assets pages and forms work, and only look plain', async () => {
  const { admin, page, post } = await operator(ADMIN, { ASSETS: undefined })
  expect((await page('')).html).toContain('All 3 keys usable')
  expect((await page('/assets/dashboard.css')).status).toBe(404)
  expect((await post('/do', { do: 'pause', id: 'alpha' })).status).toBe(303)
  expect((await page('')).html).toContain('2 of 3 keys usable')
  expect((await admin('GET', 'pool')).body.keys_usable).toBe(2)
  const asked: string[] = []
  const ASSETS = {
    fetch: async (url: string) => {
      asked.push(url)
      return new Response('body {}', { headers: { 'content-type': 'text/css' } })
    },
  }
  const dressed = await operator(ADMIN, { ASSETS })
  expect(await dressed.page('/assets/dashboard.css')).toEqual({ status: 200, html: 'body {}' })
  expect((await dressed.page('/assets/..%2fwrangler.toml')).status).toBe(404)
  expect(asked).toEqual(['https://assets.invalid/dashboard.css'])
})

describe('the page of a client', () => {
  const BUDGET = { usd: 5, period: 'day', mode: 'exact', on_exceeded: 'warn' }

  it('changes what was changed, and leaves the rest of it as it is', async () => {
    const { admin, page, post } = await operator()
    const made = { id: 'app', tpm: 9_000, models: ['vendor/*'], budget: BUDGET }
    expect((await admin('POST', 'clients', made)).status).toBe(201)
    const { html } = await page('/change?kind=client&id=app')
    const form = formOf(html)
    expect(form).toMatchObject({ kind: 'client', id: 'app', tpm: '9000', rpm: '', day: '5' })
    // Somebody else has changed something meanwhile that this page does not show.
    await admin('PATCH', 'clients/app', { models: ['vendor/one'] })
    const sent = {
      ...form,
      rpm: '7',
      tpm: '',
      day: '6',
      month: '40',
      expires_at: '2099-01-31T12:00',
    }
    const response = await post('/change', sent)
    expect([response.status, response.headers.get('location')]).toEqual([
      303,
      '/admin?done=change&id=app',
    ])
    const { body } = await admin('GET', 'clients/app')
    expect(body).toMatchObject({
      ...{ rpm: 7, tpm: null, models: ['vendor/one'], expires_at: '2099-01-31T12:00:00.000Z' },
      budgets: [
        { usd: 6, period: 'day', mode: 'exact', on_exceeded: 'warn' },
        { usd: 40, period: 'month', mode: 'capped' },
      ],
    })
    expect((await page('?done=change&id=app')).html).toContain('app is changed.')
  })

  it('grants more for a time, and forgets what was spent', async () => {
    const { admin, call, page, post } = await operator()
    const { body } = await admin('POST', 'clients', {
      id: 'app',
      budget: { ...BUDGET, mode: 'after' },
    })
    await call(body.token)
    const of = { kind: 'client', id: 'app', of: 'day' }
    const more = { ...of, what: 'increase', usd: '2.5', until: '2099-01-31T12:00' }
    expect((await post('/change', more)).status).toBe(303)
    const increased = await admin('GET', 'clients/app')
    expect(increased.body.budgets).toMatchObject([
      { limit_usd: 7.5, increase: { usd: 2.5, until: '2099-01-31T12:00:00.000Z' } },
    ])
    expect(increased.body.budgets[0].spent_usd).toBeGreaterThan(0)
    expect((await page('/change?kind=client&id=app')).html).toContain('of $7.50 a day spent')
    expect((await post('/change', { ...of, what: 'reset' })).status).toBe(303)
    expect((await admin('GET', 'clients/app')).body.budgets).toMatchObject([{ spent_usd: 0 }])
    const audit = await admin('GET', 'audit')
    expect(audit.body.entries.slice(0, 2)).toMatchObject([
      { what: 'reset_budget', target: 'client:app day' },
      { what: 'increase_budget', target: 'client:app day' },
    ])
  })

  it('says what is wrong in plain words, and changes nothing then', async () => {
    const { admin, post, page } = await operator()
    await admin('POST', 'groups', { id: 'team', rpm: 5 })
    const of = { kind: 'group', id: 'team', what: 'limits' }
    for (const [fields, words] of [
      [{ ...of, rpm: '5' }, 'at least one field to change'],
      [{ ...of, rpm: '0.5' }, 'body.rpm: must be'],
      [
        { ...of, what: 'increase', of: 'day', usd: '1', until: 'soon' },
        'body.until: must be a date',
      ],
      [{ ...of, what: 'reset', of: 'year' }, 'no budget for that period'],
      [{ ...of, id: 'nobody' }, 'no group with that id'],
    ] as const) {
      const response = await post('/change', fields)
      expect(response.status, words).toBeGreaterThanOrEqual(400)
      expect(await response.text()).toContain(words)
    }
    expect((await admin('GET', 'groups/team')).body.rpm).toBe(5)
    // One that stands in CLIENT_KEYS has no form for its limits.
    expect((await page('/change?kind=client&id=tester')).html).toContain('secret CLIENT_KEYS')
    expect((await page('/change?kind=client&id=nobody')).status).toBe(404)
  })

  it('is closed to who may only read', async () => {
    const { page, post } = await operator(READER)
    expect((await page('')).html).not.toContain('/admin/change')
    const fields = { kind: 'client', id: 'tester', what: 'reset', of: 'day' }
    expect((await post('/change', fields)).status).toBe(403)
  })
})
