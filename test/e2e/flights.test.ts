import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from './harness.ts'
import { listen, textOf } from './pool-processes.ts'
import { type SeveralWorkers, serveSeveralWorkers } from './several-workers.ts'

/**
 * Three Workers on one namespace: whoever asks for the same, anywhere, gets one answer. Upstream answers
 * as the test tells it to, and counts what it is called for.
 */

const TOKENS = {
  app: 'sy-flights-token-app-1',
  other: 'sy-flights-token-other',
  lone: 'sy-flights-token-lone',
}
const HEADERS = { authorization: `Bearer ${TOKENS.app}`, 'content-type': 'application/json' }

/** One upstream call, as far as it has come. */
interface Call {
  readonly model: string
  readonly response: ServerResponse
  isOpen: boolean
}

const calls: Call[] = []
const callsOf = (model: string) => calls.filter((call) => call.model === model)

const event = (text: string, finish: string | null = null) =>
  `data: ${JSON.stringify({
    ...{ id: 'gen-1', object: 'chat.completion.chunk', model: 'm' },
    choices: [{ index: 0, delta: { content: text }, finish_reason: finish }],
  })}\n\n`
const COMMENT = ': OPENROUTER PROCESSING\n\n'
const END = `${event('', 'stop')}data: [DONE]\n\n`

let upstream: Awaited<ReturnType<typeof listen>>
let workers: SeveralWorkers

beforeAll(async () => {
  upstream = await listen(async (request, response) => {
    const body = await textOf(request)
    if (request.method === 'GET') {
      response.setHeader('content-type', 'application/json')
      response.end('{"data":{"limit":null,"limit_remaining":null,"usage":0}}')
      return
    }
    const { model } = JSON.parse(body)
    const call = { model, response, isOpen: true }
    calls.push(call)
    response.on('close', () => {
      call.isOpen = false
    })
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-generation-id': 'gen-1' })
    response.flushHeaders()
  })
  const limited = { id: 'limited', token: TOKENS.other, rpm: 1, group: 'team' }
  workers = await serveSeveralWorkers({
    UPSTREAM_URL: `${upstream.origin}/api/v1`,
    OPENROUTER_KEYS: JSON.stringify([{ id: 'alpha', key: 'sk-or-v1-flights-alpha' }]),
    CLIENT_KEYS: JSON.stringify({
      groups: [{ id: 'team' }],
      clients: [
        { id: 'app', token: TOKENS.app, group: 'team' },
        limited,
        { id: 'lone', token: TOKENS.lone },
      ],
    }),
    POLICY: {
      routes: [
        { models: ['own/*'], cache: { share: false } },
        { models: ['brief/*'], cache: { ttl_s: 2, scope: 'group' } },
        { models: ['*'], cache: { ttl_s: 3600, scope: 'group' } },
      ],
    },
  })
})
afterAll(async () => {
  await workers?.close()
  upstream?.close()
})

const ask = (model: string, { at = 0, headers = {}, signal }: Asked = {}) =>
  fetch(`${workers.origins[at % 3]}/v1/chat/completions`, {
    method: 'POST',
    headers: { ...HEADERS, ...headers },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hi' }], stream: true }),
    ...(signal === undefined ? {} : { signal }),
  })
interface Asked {
  readonly at?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** The one call for a model, once it has come. */
async function callFor(model: string): Promise<Call> {
  const [call] = await until(
    async () => callsOf(model),
    (found) => found.length > 0,
  )
  if (call === undefined) throw new Error('No call')
  return call
}

const roleOf = ({ headers }: Response) => headers.get('x-switchyard-cache')

test('500 get one answer from three Workers, and the next makes its own call', async () => {
  const leaving = new AbortController()
  const first = ask('m/many', { signal: leaving.signal })
  const call = await callFor('m/many')
  call.response.write(event('a'))
  await (await first).body?.getReader().read()
  const joined = await Promise.all(Array.from({ length: 499 }, (_, at) => ask('m/many', { at })))
  expect(new Set(joined.map(roleOf))).toEqual(new Set(['joined']))
  expect(roleOf(await first)).toBe('miss')
  expect(callsOf('m/many')).toHaveLength(1)

  const next = ask('m/many', { at: 1 })
  const own = await until(
    async () => callsOf('m/many')[1],
    (found) => found !== undefined,
  )
  own?.response.end(event('a') + END)
  expect([roleOf(await next), await (await next).text()]).toEqual(['bypass', event('a') + END])

  // The first leaves, and nothing happens to the others. Its place is free when that is heard of.
  leaving.abort()
  let all = event('a')
  for (let i = 0; i < 3; i += 1) {
    call.response.write(COMMENT)
    all += COMMENT
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const askedMs = performance.now()
  const late = await ask('m/many', { at: 2 })
  const reader = late.body?.getReader()
  const prefix = await reader?.read()
  // A few milliseconds where nothing else runs; here 500 streams do, and other tests.
  expect(performance.now() - askedMs).toBeLessThan(1_000)
  expect([roleOf(late), new TextDecoder().decode(prefix?.value)]).toEqual(['joined', all])

  call.response.write(event('b'))
  call.response.end(END)
  const texts = await Promise.all(joined.map((response) => response.text()))
  expect(new Set(texts)).toEqual(new Set([all + event('b') + END]))
  expect(callsOf('m/many')).toHaveLength(2)
  await reader?.cancel()

  // It has ended well, so it is kept, and what is kept survives the object's memory.
  const kept = await until(
    () => ask('m/many'),
    (response) => roleOf(response) === 'hit',
  )
  expect(await kept.text()).toBe(all + event('b') + END)
  expect(Number(kept.headers.get('age'))).toBeGreaterThanOrEqual(0)
  expect(kept.headers.get('x-generation-id')).toBe('gen-1')
}, 90_000)

test('the last one who leaves ends the upstream call', async () => {
  const leaving = [new AbortController(), new AbortController()]
  const asked = leaving.map(({ signal }, at) => ask('m/left', { at, signal }))
  const call = await callFor('m/left')
  call.response.write(event('a'))
  await Promise.all(asked.map(async (one) => await (await one).body?.getReader().read()))
  leaving[0]?.abort()
  const chatter = setInterval(() => call.response.write(': more\n\n'), 20)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(call.isOpen).toBe(true)
  leaving[1]?.abort()
  await until(
    async () => call.isOpen,
    (isOpen) => !isOpen,
  )
  clearInterval(chatter)
  // Nothing of it is kept: who asks now begins anew.
  const anew = ask('m/left')
  const second = await until(
    async () => callsOf('m/left')[1],
    (found) => found !== undefined,
  )
  second?.response.end(event('a') + END)
  expect(roleOf(await anew)).toBe('miss')
  await (await anew).text()
})

test('each is judged by its own limits, and scopes do not mix', async () => {
  const asked = ask('m/limits')
  const call = await callFor('m/limits')
  const [name = ''] = (await workers.flights()).slice(-1)
  call.response.write(event('a'))
  await asked
  const of = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
  const beganMs = performance.now()
  const joined = await ask('m/limits', of(TOKENS.other))
  expect(roleOf(joined)).toBe('joined')
  // On a quiet machine it takes a few milliseconds.
  expect(performance.now() - beganMs).toBeLessThan(500)
  const refused = await ask('m/limits', of(TOKENS.other))
  expect([refused.status, await refused.json()]).toMatchObject([
    429,
    { error: { metadata: { reason: 'client_rate_limited', limited: 'client:limited' } } },
  ])
  const lone = ask('m/limits', of(TOKENS.lone))
  const own = await until(
    async () => callsOf('m/limits')[1],
    (found) => found !== undefined,
  )
  own?.response.end(event('of another') + END)
  expect([roleOf(await lone), await (await lone).text()]).toEqual([
    'miss',
    event('of another') + END,
  ])
  call.response.end(END)
  expect(await (await asked).text()).toBe(event('a') + END)
  expect(await joined.text()).toBe(event('a') + END)

  // What is kept outlives the object's memory.
  const kept = { headers: { 'x-switchyard-cache': 'only-if-cached' } }
  await until(
    () => ask('m/limits', kept),
    (found) => roleOf(found) === 'hit',
  )
  await workers.evict(name)
  expect(await (await ask('m/limits', kept)).text()).toBe(event('a') + END)
})

test('an object that dies costs nobody more than a direct caller', async () => {
  const waiting = [ask('m/dying', { at: 0 }), ask('m/dying', { at: 1 })]
  const early = await callFor('m/dying')
  const [name = ''] = (await workers.flights()).slice(-1)
  await workers.kill(name)
  // Nobody had a byte yet: one of them asks again, and the other joins him.
  const call = await until(
    async () => callsOf('m/dying')[1],
    (found) => found !== undefined,
  )
  expect(early.isOpen).toBe(false)
  call?.response.write(event('a'))
  const responses = await Promise.all(waiting)
  expect(responses.map(roleOf).toSorted()).toEqual(['joined', 'miss'])
  const readers = responses.map(({ body }) => body?.getReader())
  for (const reader of readers) await reader?.read()
  await workers.kill(name)
  for (const reader of readers) {
    let rest = ''
    for (let read = await reader?.read(); !read?.done; read = await reader?.read()) {
      rest += new TextDecoder().decode(read?.value)
    }
    expect(rest).toContain('"finish_reason":"error"')
    expect(rest).toMatch(/data: \[DONE\]\n\n$/)
  }
  expect(callsOf('m/dying')).toHaveLength(2)
})

test('nothing that is kept outlives its time', async () => {
  const asked = ask('brief/m')
  const call = await callFor('brief/m')
  call.response.end(event('a') + END)
  const text = await (await asked).text()
  const [name = ''] = (await workers.flights()).slice(-1)
  await until(
    () => ask('brief/m', { headers: { 'x-switchyard-cache': 'only-if-cached' } }),
    (found) => roleOf(found) === 'hit',
  )
  // The alarm empties the object.
  await until(
    () => workers.tablesOf(name),
    (tables) => !tables.includes('answers'),
    10_000,
  )
  const anew = ask('brief/m')
  const second = await until(
    async () => callsOf('brief/m')[1],
    (found) => found !== undefined,
  )
  second?.response.end(event('a') + END)
  expect([roleOf(await anew), await (await anew).text()]).toEqual(['miss', text])
})

test('what has come of a durable answer outlives its object', async () => {
  const durable = { 'x-switchyard-durable': '60', 'x-request-id': 'durable-2' }
  const [begun, call] = await Promise.all([
    ask('own/cut', { headers: durable }),
    callFor('own/cut').then((found) => {
      found.response.write(event('0'))
      return found
    }),
  ])
  const reader = begun.body?.getReader()
  const first = new TextDecoder().decode((await reader?.read())?.value)
  for (const name of await workers.flights()) await workers.kill(name)
  await until(
    async () => call.isOpen,
    (isOpen) => !isOpen,
  )
  const path = '/v1/switchyard/answers/durable-2'
  const kept = await fetch(workers.origins[1] + path, { headers: HEADERS })
  const text = await kept.text()
  expect([kept.status, text.startsWith(`id: durable-2.1\n${event('0')}`)]).toEqual([200, true])
  expect(text.match(/"finish_reason":"error"/g)).toHaveLength(1)
  const resumed = await ask('own/cut', { headers: { ...durable, 'last-event-id': 'durable-2.1' } })
  expect(await resumed.text()).toBe(text.slice(`id: durable-2.1\n${event('0')}`.length))
  expect(text.startsWith(first)).toBe(true)
  await reader?.cancel().catch(() => undefined)
  expect(callsOf('own/cut')).toHaveLength(1)
})

test('a client that is cut at any event of a durable answer gets the rest', async () => {
  const durable = { 'x-switchyard-durable': '2', 'x-request-id': 'durable-1' }
  const leaving = new AbortController()
  const begun = await Promise.all([
    ask('own/durable', { headers: durable, signal: leaving.signal }),
    callFor('own/durable').then(({ response }) => response.write(event('0'))),
  ]).then(([response]) => response)
  expect(roleOf(begun)).toBeNull()
  await begun.body?.getReader().read()
  leaving.abort()
  const call = await callFor('own/durable')
  for (let i = 1; i < 5; i += 1) call.response.write(event(String(i)))
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(call.isOpen).toBe(true)
  const path = '/v1/switchyard/answers/durable-1'
  const fetchAnswer = (token = TOKENS.app) =>
    fetch(workers.origins[2] + path, { headers: { authorization: `Bearer ${token}` } })
  expect((await fetchAnswer()).status).toBe(202)
  // One resumes while it runs.
  const live = await ask('own/durable', { headers: { ...durable, 'last-event-id': 'durable-1.2' } })
  call.response.end(END)
  const liveText = await live.text()
  const whole = await until(fetchAnswer, ({ status }) => status === 200)
  const text = await whole.text()
  expect(text.replaceAll(/^id: .*\n/gm, '')).toBe(
    [0, 1, 2, 3, 4].map((i) => event(`${i}`)).join('') + END,
  )
  const events = text.split(/(?<=\n\n)/)
  expect(liveText).toBe(events.slice(2).join(''))
  for (let after = 0; after <= events.length; after += 1) {
    const id = { 'last-event-id': `durable-1.${after}` }
    const rest = await ask('own/durable', { at: after, headers: { ...durable, ...id } })
    expect(await rest.text()).toBe(events.slice(after).join(''))
  }
  expect(callsOf('own/durable')).toHaveLength(1)
  expect((await fetchAnswer(TOKENS.lone)).status).toBe(404)
  const other = await ask('own/other', { headers: durable })
  expect(other.status).toBe(400)
  const gone = await until(fetchAnswer, ({ status }) => status === 404, 10_000)
  expect(await gone.json()).toMatchObject({ error: { metadata: { reason: 'answer_gone' } } })
  const late = await ask('own/durable', { headers: { 'last-event-id': 'durable-1.2' } })
  expect(late.status).toBe(404)
})
