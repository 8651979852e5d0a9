import { describe, expect, it } from 'vitest'
import { ALPHA, bodyOf, DELTA, errorOf, SMALL_WORLD, serveSimulator } from './served-simulator.ts'

const { chat, control, get, send } = serveSimulator()

describe('scripts', () => {
  it('answer exactly their status, headers and bytes', async () => {
    const bytes = Uint8Array.from([0, 255, 0xe6, 0x9d, 13, 10])
    await control.script('odd', {
      status: 203,
      headers: { 'content-type': 'text/event-stream', 'x-odd': 'yes' },
      chunks: [
        { text: 'data: ü\n' },
        { base64: Buffer.from(bytes).toString('base64'), delayMs: 5 },
        { text: '\n' },
      ],
    })
    const response = await chat({ model: 'script/odd' })
    expect([response.status, response.headers.get('x-odd')]).toEqual([203, 'yes'])
    const expected = Buffer.concat([Buffer.from('data: ü\n'), bytes, Buffer.from('\n')])
    expect(Buffer.from(await response.arrayBuffer())).toEqual(expected)
  })

  it('can break off', async () => {
    await control.script('broken', { chunks: [{ text: 'data: ' }], end: 'error' })
    const response = await chat({ model: 'script/broken' })
    await expect(response.text()).rejects.toThrow()
  })
})

describe('the log', () => {
  it('has what arrived, without credentials', async () => {
    const body = JSON.stringify({
      model: 'openai/gpt-4o',
      messages: [{ role: 'user', content: 'naïve' }],
    })
    const response = await send('/api/v1/chat/completions', {
      method: 'POST',
      headers: {
        ...ALPHA,
        'x-api-key': 'sk-or-v1-simulated-gamma',
        'x-title': 'Test',
        cookie: 'a=b',
      },
      body,
    })
    await response.text()
    const [entry] = await control.log()
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(body))
    expect(entry).toMatchObject({
      path: '/chat/completions',
      key: 'gamma',
      account: 'globex',
      model: 'openai/gpt-4o',
      status: 200,
      outcome: 'completed',
      error: null,
      body: {
        text: body,
        bytes: Buffer.byteLength(body),
        sha256: Buffer.from(digest).toString('hex'),
      },
    })
    expect(entry?.headers).toMatchObject({ 'x-title': 'Test', cookie: 'a=b' })
    expect(JSON.stringify(entry)).not.toContain('sk-or-v1')
    expect(await control.log(entry?.seq)).toEqual([])
  })

  it('counts what is open, per key and in all, and lookups apart', async () => {
    await control.patchSettings({ ttftMs: 200 })
    const open = [chat(), chat(), chat({}, DELTA)]
    const { stats } = await control.waitFor((received) => received.stats.openNow === 3)
    expect(stats.perKey.alpha?.openNow).toBe(2)
    for (const response of await Promise.all(open)) await response.text()
    await get('/api/v1/key', ALPHA)
    const after = await control.stats()
    expect(after).toMatchObject({ openNow: 0, maxOpen: 3, requests: 3, completed: 3 })
    expect(after.perKey.alpha).toMatchObject({ maxOpen: 2, statuses: { 200: 2 }, lookups: 1 })
    expect(after.paths).toEqual({ '/chat/completions': 3, '/key': 1 })
  })
})

describe('control', () => {
  it('says at its root what there is to try; its examples work as they stand', async () => {
    expect((await get('/control/')).headers.get('location')).toBe('/control')
    const { faults, paths, try: examples } = await bodyOf(await get('/control'))
    expect(faults).toContain('cut-mid-stream')
    expect(Object.keys(paths)).toContain('GET /control/stats')
    for (const example of examples) {
      const [, method = 'GET', path = '', body] =
        /^curl (?:-X (\w+) )?http:\/\/[^/]+(\S+)(?: -d '(.*)')?$/.exec(example) ?? []
      const response = await send(path, { method, ...(body === undefined ? {} : { body }) })
      expect([example, response.ok]).toEqual([example, true])
    }
    for (const [where, what] of Object.entries<string>(paths)) {
      const body = /\{.*\}/.exec(what)?.[0]
      if (body === undefined) continue
      const [method, path = ''] = where
        .replace('<name>', 'alpha')
        .replace('<id>', 'acme')
        .split(' ')
      const response = await send(path, { method: method ?? '', body })
      expect([where, response.ok]).toEqual([where, true])
    }
    expect((await errorOf(await get('/control/nowhere'))).message).toContain('GET /control')
  })

  it('begins a world of the test’s own, and forgets rules, scripts, log and charges', async () => {
    await control.rule({ fault: '400' })
    await control.script('mine', { chunks: [] })
    await chat()
    await control.reset(SMALL_WORLD)
    expect(await control.log()).toEqual([])
    expect((await chat()).status).toBe(200)
    expect((await chat({ model: 'script/mine' })).status).toBe(400)
    expect((await chat({}, DELTA)).status).toBe(401)
    const { accounts, keys } = await control.reset()
    expect(accounts.map((account) => [account.id, account.balanceUsd])).toEqual([
      ['acme', 50],
      ['globex', 20],
      ['initech', 5],
    ])
    expect(keys.map((key) => key.name)).toEqual(['alpha', 'beta', 'gamma', 'delta'])
  })

  it('takes back the world that it shows', async () => {
    await chat()
    const world = await control.world()
    expect(await control.reset(world)).toEqual(world)
  })

  it.each([
    ['POST', '/reset', '{"accounts":[{"id":"a"},{"id":"a"}]}', /share an id/],
    [
      'POST',
      '/reset',
      '{"keys":[{"key":"sk-or-v1-x","name":"x","accountId":"none"}]}',
      /no account/,
    ],
    ['PATCH', '/settings', '{"ttft":5}', /ttft/],
    ['PATCH', '/settings', '{"outage":{"fault":"nonesuch"}}', /no fault "nonesuch"/],
    ['PATCH', '/accounts/acme', '{"balanceUsd":"much"}', /balanceUsd/],
    ['PATCH', '/keys/alpha', '{"accountId":"none"}', /accountId/],
    ['POST', '/rules', '{"fault":"nonesuch"}', /no fault "nonesuch"/],
    ['POST', '/rules', '{"fault":"400","params":{"often":1}}', /often/],
    ['PUT', '/scripts/x', '{"chunks":[{}]}', /either text or base64/],
    ['POST', '/rules', 'nonsense', /not JSON/],
  ])('refuses %s %s with %s in words', async (method, path, body, words) => {
    const response = await send(`/control${path}`, { method, body })
    expect(response.status).toBe(400)
    expect((await errorOf(response)).message).toMatch(words)
  })
})
