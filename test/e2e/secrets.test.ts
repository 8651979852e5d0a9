import { expect, test } from 'vitest'
import {
  type Gateway,
  POOL_OBJECT,
  secretOf,
  startGateway,
  TOKEN,
  until,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

const NAMES = ['alpha', 'beta', 'gamma', 'delta'] as const

/** Faults that bench a key. They come last, each with its own key. */
const BENCHING = new Map<string, (typeof NAMES)[number]>([
  ['401', 'alpha'],
  ['key-limit', 'beta'],
  ['plain-429', 'gamma'],
  ['credits-402', 'delta'],
])

const ADMIN_TOKEN = 'admin-token-of-the-secrets-test-001'

/** The whole secrets, and the part of each key that differs from other keys. */
const SECRETS = [
  TOKEN,
  ADMIN_TOKEN,
  ...NAMES.map(secretOf),
  ...NAMES.map((name) => `simulated-${name}`),
]

/** All headers and the body of an answer. */
async function observationOf(response: Response): Promise<string> {
  return JSON.stringify([...response.headers]) + (await response.text())
}

async function provokeEverything(gateway: Gateway): Promise<string[]> {
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
  received.push(
    await observationOf(await gateway.send('/v1/chat/completions', { method: 'POST', body: '{' })),
  )
  return received
}

/** What operators are shown, once everything has happened; without static assets, as here. */
async function shownToOperators(gateway: Gateway): Promise<string[]> {
  const asScript = { authorization: `Bearer ${ADMIN_TOKEN}` }
  const sites = { 'sec-fetch-site': 'same-origin' }
  const signedIn = await gateway.send('/admin/sign-in', {
    method: 'POST',
    headers: sites,
    body: new URLSearchParams({ token: ADMIN_TOKEN }),
  })
  const asBrowser = {
    cookie: signedIn.headers.get('set-cookie')?.split(';')[0] ?? '',
    authorization: 'none',
  }
  const paths = [
    '/admin',
    '/admin?model=vendor/model',
    '/admin/confirm?do=pause&id=alpha',
    '/admin/api-docs',
  ]
  const pages = await Promise.all(paths.map((path) => gateway.send(path, { headers: asBrowser })))
  expect(pages.map(({ status }) => status)).toEqual([200, 200, 200, 200])
  const apis = ['pool', 'clients', 'groups', 'audit']
  const answers = await Promise.all(
    apis.map((path) => gateway.send(`/admin/api/${path}`, { headers: asScript })),
  )
  const stream = await gateway.send('/admin/api/events?view=page', { headers: asBrowser })
  const reader = stream.body?.getReader()
  const first = new TextDecoder().decode((await reader?.read())?.value)
  await reader?.cancel()
  expect(first).toContain('event: page')
  return [first, ...(await Promise.all([signedIn, ...pages, ...answers].map(observationOf)))]
}

test('whatever goes wrong, no secret is in any answer, log line, stored row or name of an object', async () => {
  const gateway = await startGateway(upstream, {
    keys: NAMES,
    secrets: { ADMIN_TOKEN },
    policy: {
      strategy: 'round-robin',
      breaker: { failures: 100 },
      retry_budget: { ratio: 1, min_per_s: 100 },
      timeouts: { headers_ms: 200, first_output_ms: 200, idle_ms: 200, total_ms: 3000 },
    },
  })
  const answers = await provokeEverything(gateway)
  const shown = await shownToOperators(gateway)
  const storage = await gateway.worker.getDurableObjectStorage('KEY_POOL', POOL_OBJECT)
  const rows = await until(
    () => storage.exec('SELECT * FROM records'),
    (found) => ['key', 'checkpoint'].every((kind) => found.some((row) => row.kind === kind)),
    10_000,
  )
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

  const places = { answers, shown, lines, rows: rows.map((row) => JSON.stringify(row)), names }
  const leaks = Object.entries(places).flatMap(([place, texts]) =>
    texts.flatMap((text) =>
      SECRETS.filter((secret) => text.includes(secret)).map((secret) => `${secret} in ${place}`),
    ),
  )
  expect(leaks).toEqual([])
})
