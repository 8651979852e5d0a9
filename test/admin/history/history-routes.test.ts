import { describe, expect, it } from 'vitest'
import { requestsAnswer, usageAnswer } from '../../../src/admin/history/history-answer-schemas.ts'
import { ADMIN, deployment, messageOf, READER } from '../admin-driver.ts'

/** A deployment with a client, and what its responses were named. */
async function used(models: readonly string[] = ['vendor/model']) {
  const { admin, send } = deployment({ READ_TOKEN: READER }).isolate()
  await admin('POST', 'groups', { id: 'team' })
  const made = await admin('POST', 'clients', { id: 'app', group: 'team' })
  const ids: (string | null)[] = []
  for (const model of models) {
    const response = await send('/api/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: `Bearer ${made.body.token}` },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hi' }] }),
    })
    ids.push(response.headers.get('x-request-id'))
  }
  return { admin, send, ids, today: new Date().toISOString().slice(0, 10) }
}

describe('requests', () => {
  it('finds the row of a response by its x-request-id, also with READ_TOKEN', async () => {
    const { admin, ids } = await used(['vendor/one', 'vendor/two'])
    const { status, body } = await admin('GET', `requests?id=${ids[0]}`, undefined, READER)
    expect(status).toBe(200)
    expect(requestsAnswer.parse(body)).toEqual(body)
    expect(body.requests).toMatchObject([
      {
        ...{ id: ids[0], client: 'app', group: 'team', asked: 'vendor/one', outcome: 'answered' },
        ...{ status: 200, attempts: [{ status: null, fault: null }] },
        usage: { prompt_tokens: 1, cost_usd: 0.001, estimated: false },
      },
    ])
  })

  it('is the latest first, as many as are wanted, and filtered', async () => {
    const { admin, ids } = await used(['vendor/one', 'vendor/two', 'vendor/three'])
    const idsOf = async (query: string) => {
      const { body } = await admin('GET', `requests?${query}`)
      return body.requests.map(({ id }: { id: string }) => id)
    }
    expect(await idsOf('limit=2')).toEqual([ids[2], ids[1]])
    expect(await idsOf('client=app&outcome=answered')).toEqual(ids.toReversed())
    expect(await idsOf('client=other')).toEqual([])
    expect(await idsOf('since=2099-01-01T00:00:00Z')).toEqual([])
  })

  it.each(['limit=0', 'limit=1001', 'limit=many', 'outcome=fine', 'since=soon', 'clinet=app'])(
    'refuses ?%s, and says why',
    async (query) => {
      const { status, body } = await deployment().isolate().admin('GET', `requests?${query}`)
      expect(status).toBe(400)
      expect(messageOf(body)).toMatch(/^query\.\w+: /)
    },
  )
})

describe('usage', () => {
  it.each([
    ['client', 'app'],
    ['group', 'team'],
    ['model', 'vendor/one'],
  ])('by %s has a row for each day and name, today included', async (by, name) => {
    const { admin, today } = await used(['vendor/one'])
    const from = new Date(Date.now() - 30 * 86_400_000).toISOString().slice(0, 10)
    const { body } = await admin('GET', `usage?from=${from}&to=${today}&by=${by}`)
    expect(usageAnswer.parse(body)).toEqual(body)
    const counted = { attempts: 1, successes: 1, prompt_tokens: 1, cost_usd: 0.001 }
    expect(body.rows).toMatchObject([{ date: today, name, ...counted }])
  })

  it('as CSV is a file that a spreadsheet opens, and that it runs no formula of', async () => {
    const model = '=HYPERLINK("https://evil.test","a, b")'
    const { send, today } = await used([model, '@x', 'plain/model'])
    const response = await send(`/admin/api/usage?by=model&format=csv`, {
      headers: { authorization: `Bearer ${ADMIN}` },
    })
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present')
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(response.headers.get('content-disposition')).toContain(
      `usage-by-model-${today}-${today}.csv`,
    )
    const [head, ...lines] = (await response.text()).split('\r\n')
    expect(head).toBe(
      'date,model,attempts,successes,failures,ignored,prompt_tokens,completion_tokens,cached_tokens,reasoning_tokens,cost_usd,estimated,estimated_usd',
    )
    expect(lines.toSorted()).toEqual(
      [
        '',
        `${today},"'=HYPERLINK(""https://evil.test"",""a, b"")",1,1,0,0,1,1,0,0,0.001,0,0`,
        `${today},'@x,1,1,0,0,1,1,0,0,0.001,0,0`,
        `${today},plain/model,1,1,0,0,1,1,0,0,0.001,0,0`,
      ].toSorted(),
    )
  })

  it.each([
    ['from=2026-02-31', 'query.from: must be a date as 2026-01-31'],
    ['to=31.1.2026', 'query.to: must be a date as 2026-01-31'],
    ['from=2026-01-02&to=2026-01-01', 'query.from: must not be after query.to'],
    ['from=2024-01-01&to=2026-01-01', 'query.from: the days from it to query.to must be 400'],
    ['by=colour', 'query.by: must be one of client, group, key, model'],
    ['format=xml', 'query.format: must be one of json, csv'],
  ])('refuses ?%s, and says why', async (query, message) => {
    const { status, body } = await deployment().isolate().admin('GET', `usage?${query}`)
    expect(status).toBe(400)
    expect(messageOf(body)).toContain(message)
  })

  it('and requests are unavailable while the object is', async () => {
    const { isolate, object } = deployment()
    const { admin } = isolate()
    object.isDown = true
    for (const path of ['usage', 'requests']) expect((await admin('GET', path)).status).toBe(503)
  })
})
