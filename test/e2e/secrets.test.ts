import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { needs, shell } from '../documents/debian-tools.ts'
import { documentAt } from '../documents/markdown.ts'
import {
  type Gateway,
  MODEL,
  POOL_OBJECT,
  secretOf,
  TOKEN,
  until,
  useGateway,
  useSimulator,
} from './harness.ts'
import type { SpanRecord } from './serve-worker.ts'

const upstream = useSimulator({ resets: false })

const NAMES = ['alpha', 'beta', 'gamma', 'delta'] as const

/** Faults that bench a key. They come last, each with its own key. */
const BENCHING = new Map<string, (typeof NAMES)[number]>([
  ['401', 'alpha'],
  ['key-limit', 'beta'],
  ['plain-429', 'gamma'],
  ['credits-402', 'delta'],
])

const ADMIN = 'admin-token-of-the-secrets-test-1'
const READER = 'reader-token-of-the-secrets-test'

/** Where nobody listens: what is told there is tried again and again. */
const ALERT_SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const ALERT_PATH = 'path-of-the-alerts-that-is-secret'
const ALERTS = JSON.stringify({
  ops: { url: `http://127.0.0.1:9/${ALERT_PATH}`, secret: ALERT_SECRET },
})

/** The whole secrets, and the part of each key that differs from other keys. */
const SECRETS = [
  ...[TOKEN, ADMIN, READER, ALERT_SECRET, ALERT_PATH],
  ...NAMES.map(secretOf),
  ...NAMES.map((name) => `simulated-${name}`),
]

/** All headers and the body of an answer. */
async function observationOf(response: Response): Promise<string> {
  return JSON.stringify([...response.headers]) + (await response.text())
}

/** All that was answered, but for the one answer that shows a token: that is given apart. */
async function provokeEverything(gateway: Gateway) {
  const received: string[] = []
  const sendAll = async (bodies: readonly object[]) => {
    received.push(
      ...(await Promise.all(bodies.map((body) => gateway.chat(body).then(observationOf)))),
    )
  }
  const names = await upstream.control.faults()
  const bodies = names
    .filter((name) => !(BENCHING.has(name) || /-402$|budget/.test(name)))
    .flatMap((name) => [{ model: `sim/${name}`, stream: true }, { model: `sim/${name}` }])
  for (let from = 0; from < bodies.length; from += 16) await sendAll(bodies.slice(from, from + 16))
  for (const [fault, key] of BENCHING) await upstream.control.rule({ fault, match: { key } })
  await sendAll(Array.from({ length: 8 }, () => ({})))
  const asStranger = { authorization: `Bearer ${secretOf('alpha')}` }
  received.push(await observationOf(await gateway.chat({}, asStranger)))
  received.push(await observationOf(await gateway.send('/v1/keys')))
  received.push(await observationOf(await gateway.send('/v1/models')))
  received.push(await observationOf(await gateway.send('/healthz')))
  const headers = { authorization: `Bearer ${ADMIN}` }
  const init = { method: 'POST', headers, body: '{"id":"made"}' }
  const made = await gateway.send('/admin/api/clients', init)
  const { token }: { token: string } = JSON.parse(await made.text())
  received.push(...(await provokeOperators(gateway, token)))
  received.push(
    await observationOf(await gateway.send('/v1/chat/completions', { method: 'POST', body: '{' })),
  )
  return { answers: received, token }
}

/** Everything that an operator may ask for, and what somebody gets who is none. */
async function provokeOperators(gateway: Gateway, made: string): Promise<string[]> {
  const names = ['tester', 'made', TOKEN, made, secretOf('alpha'), ADMIN]
  const paths = [
    ...['alerts', 'clients', 'groups', 'audit', 'pool', 'requests?limit=1000', 'client-keys'],
    ...['explain?model=vendor/model', 'usage?from=2026-01-01&by=client&format=csv'],
    ...names.map((name) => `clients/${name}`),
  ]
  const received: string[] = []
  for (const path of ['/metrics', ...paths.map((path) => `/admin/api/${path}`)]) {
    for (const token of [ADMIN, READER, secretOf('alpha'), made]) {
      // Guesses from one network shut out its operators for a while.
      const address = [ADMIN, READER].includes(token) ? '192.0.2.1' : '192.0.2.2'
      const headers = { authorization: `Bearer ${token}`, 'cf-connecting-ip': address }
      received.push(await observationOf(await gateway.send(path, { headers })))
    }
  }
  return received
}

/** What the spans of a request say, by their names. */
function expectSpans(spans: readonly SpanRecord[]): void {
  const named = (name: string) => spans.filter((span) => span.name === name)
  const factsOf = (name: string) => named(name).map(({ facts }) => facts)
  // Those of the platform are among them: calls, fetches, rows.
  expect(['pool.exchange', 'attempt', 'relay'].flatMap(named).every(({ isOver }) => isOver)).toBe(
    true,
  )
  expect(factsOf('pool.exchange')).toContainEqual({
    ...{ 'switchyard.lease_requests': 1, 'switchyard.settlements': 0 },
    ...{ 'switchyard.outcome': 'grant', 'switchyard.key': 'alpha' },
  })
  const limited = { 'switchyard.outcome': 'failed', 'http.response.status_code': 403 }
  expect(factsOf('attempt')).toContainEqual({
    ...{ ...limited, 'switchyard.key': 'beta', 'switchyard.row': '5', 'switchyard.fault': 'key' },
    ...{ 'switchyard.attempt': expect.any(Number), 'gen_ai.request.model': MODEL },
  })
  expect(factsOf('relay')).toContainEqual(
    expect.objectContaining({ 'switchyard.outcome': 'complete' }),
  )
  expect(factsOf('relay')).toContainEqual(
    expect.objectContaining({ 'switchyard.outcome': 'failed', 'switchyard.fault': 'upstream' }),
  )
}

const served = useGateway(upstream, {
  keys: NAMES,
  secrets: { ADMIN_TOKEN: ADMIN, READ_TOKEN: READER, ALERTS },
  isTraced: true,
  policy: {
    strategy: 'round-robin',
    breaker: { failures: 100 },
    retry_budget: { ratio: 1, min_per_s: 100 },
    timeouts: { headers_ms: 200, first_output_ms: 200, idle_ms: 200, total_ms: 3000 },
  },
})

/** Every row of every table of the object, once it has written all that it writes. */
async function storedRows(gateway: Gateway) {
  const storage = await gateway.worker.getDurableObjectStorage('KEY_POOL', POOL_OBJECT)
  await until(
    () => storage.exec('SELECT * FROM records'),
    (found) => ['key', 'checkpoint'].every((kind) => found.some((row) => row.kind === kind)),
    10_000,
  )
  const tables = await storage.exec("SELECT name FROM sqlite_master WHERE type = 'table'")
  const rows: string[] = []
  for (const { name } of tables) {
    if (/^_cf_/.test(String(name))) continue
    rows.push(...(await storage.exec(`SELECT * FROM "${name}"`)).map((row) => JSON.stringify(row)))
  }
  return rows
}

/** What operators are shown, once everything has happened; without static assets, as here. */
async function shownToOperators(gateway: Gateway): Promise<string[]> {
  const signedIn = await gateway.send('/admin/sign-in', {
    method: 'POST',
    headers: { 'sec-fetch-site': 'same-origin', 'cf-connecting-ip': '192.0.2.1' },
    body: new URLSearchParams({ token: ADMIN }),
  })
  const cookie = signedIn.headers.get('set-cookie')?.split(';')[0] ?? ''
  const headers = { cookie, authorization: 'none' }
  const paths = [
    ...['', '?model=vendor/model', '?request=nobody', '/confirm?do=pause&id=alpha', '/api-docs'],
    ...['/change?kind=client&id=made', '/sign-in'],
  ]
  const pages = await Promise.all(paths.map((path) => gateway.send(`/admin${path}`, { headers })))
  expect(pages.map(({ status }) => status)).toEqual(paths.map(() => 200))
  const stream = await gateway.send('/admin/api/events?view=page', { headers })
  const reader = stream.body?.getReader()
  const first = new TextDecoder().decode((await reader?.read())?.value)
  await reader?.cancel()
  expect(first).toContain('event: page')
  return [first, ...(await Promise.all([signedIn, ...pages].map(observationOf)))]
}

test('whatever goes wrong, no secret is in any answer, log line, span, metric, stored row or name of an object', {
  timeout: 60_000,
}, async () => {
  const gateway = served()
  const { answers, token } = await provokeEverything(gateway)
  const rows = await storedRows(gateway)
  const names = await gateway.worker.listDurableObjectIds('KEY_POOL')
  const lines = gateway.logs().map(({ text }) => text)

  // Check that every kind occurred: refused keys, upstream's errors, our errors, good answers.
  expect(answers.length).toBeGreaterThan(80)
  const all = answers.join('\n')
  for (const sign of ['"source":"switchyard"', 'data: [DONE]', 'moderation', 'geht’s?']) {
    expect(all).toContain(sign)
  }
  expect(lines.filter((line) => line.includes('"message":"request"')).length).toBeGreaterThan(80)
  for (const row of ['1', '3', '4', '5', '9', '12', '14', '15', '16']) {
    expect(lines.join('\n')).toContain(`"row":"${row}"`)
  }
  expect(names).toHaveLength(1)
  expect(rows.filter((row) => row.includes('"alert_message"'))).not.toEqual([])

  const spans = gateway.spans()
  expectSpans(spans)
  expect(all).toContain('switchyard_attempt_faults_total{key="beta",fault="key"}')

  // The platform's own span of a call has its whole URL, that of an alert too: see docs/operating.md.
  const told = spans.map((span) => {
    const text = JSON.stringify(span)
    return span.name === 'fetch' ? text.replaceAll(ALERT_PATH, '') : text
  })
  const places = {
    answers,
    shown: await shownToOperators(gateway),
    lines,
    spans: told,
    rows,
    names,
  }
  const leaks = Object.entries(places).flatMap(([place, texts]) =>
    texts.flatMap((text) =>
      [...SECRETS, token]
        .filter((secret) => text.includes(secret))
        .map((secret) => `${secret} in ${place}`),
    ),
  )
  expect(leaks).toEqual([])
})

describe('the questions of a night', () => {
  const folder = mkdtempSync(join(tmpdir(), 'night-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  /** The command of the document below a question, without that which waits for a deployed Worker. */
  function ask(question: string): unknown[] {
    const { text } = documentAt('docs/operating.md')
    const [, block = ''] = text.slice(text.indexOf(question)).match(/```sh\n(.*?)```/s) ?? []
    const line = block.replace(/^npx wrangler tail.*\n/m, '')
    return shell(line, folder)
      .split('\n')
      .filter((row) => row !== '')
      .map((row) => JSON.parse(row))
  }

  test('are answered by the lines in the document', (context) => {
    needs('jq', context)
    const events = served()
      .logs()
      .map(({ text, level }, i) => ({
        outcome: 'ok',
        exceptions: [],
        logs: [{ message: [text], level, timestamp: Date.UTC(2026, 0, 1) + i }],
      }))
    // As Wrangler writes them: objects one after another. A line of somebody else's is none of ours.
    const foreign = { logs: [{ message: ['Hello', 1], level: 'log', timestamp: 1 }] }
    const tail = [foreign, { logs: [] }, ...events].map((event) => JSON.stringify(event, null, 2))
    writeFileSync(join(folder, 'tail.json'), tail.join('\n'))

    expect(ask('### Five questions')).toEqual([])
    expect(ask('**Who is refused?**')).toContainEqual(
      expect.objectContaining({ reason: 'unauthorized', status: 401, client: null }),
    )
    expect(ask('**Who is refused?**')).toContainEqual(
      expect.objectContaining({ reason: 'upstream_timeout', status: 504, client: 'tester' }),
    )
    expect(ask('**Which key?**')).toContainEqual({
      ...{ failed: expect.any(Number), key: 'beta', row: '5', fault: 'key' },
      why: 'the key has spent its limit',
    })
    expect(ask('**Since when?**')).toContainEqual(
      expect.objectContaining({ message: 'key_out', id: 'beta', reason: 'key_spent' }),
    )
    expect(ask('**What changed?**')).toMatchObject([
      { operator: 'ADMIN_TOKEN', method: 'POST', path: '/admin/api/clients', status: 201 },
      { operator: 'ADMIN_TOKEN', method: 'POST', path: '/admin/sign-in', status: 303 },
    ])
    const costs = ask('**What does it cost?**') as { usd: number; client: string }[]
    expect(costs.length).toBeGreaterThan(5)
    expect(costs[0]).toMatchObject({ client: 'tester', usd: expect.any(Number) })
    expect(costs).toEqual(costs.toSorted((a, b) => b.usd - a.usd))
  })
})
