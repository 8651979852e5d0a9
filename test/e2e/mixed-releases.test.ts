import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestHarness, type TestHarness } from 'wrangler'
import {
  configOf,
  type EarlierRelease,
  type ReleaseWorker,
  takeEarlierRelease,
} from './earlier-release.ts'
import {
  gatewayOf,
  journeyOf,
  keyOf,
  lookedUpPool,
  POOL_OBJECT,
  type PortlessGateway,
  until,
  useSimulator,
  workerInput,
} from './harness.ts'

/**
 * For minutes after a deployment Workers of two releases share one object, and that may be an object
 * of either release.
 */

const upstream = useSimulator()

const WORKERS = [
  { name: 'this', release: 'this' },
  { name: 'earlier-at-this', release: 'earlier', objectOf: 'this' },
  { name: 'earlier', release: 'earlier' },
  { name: 'this-at-earlier', release: 'this', objectOf: 'earlier' },
] as const satisfies readonly ReleaseWorker[]

type Name = (typeof WORKERS)[number]['name']

const OPTIONS = {
  keys: [
    'alpha',
    { name: 'gamma', max_concurrent: 1, account: null },
    { name: 'delta', max_concurrent: 1 },
  ],
  policy: {
    strategy: 'priority',
    breaker: { failures: 1, cooldown_s: 600, panic_ratio: 0 },
    queue: { max_wait_ms: 10_000 },
  },
} as const

let server: TestHarness | null = null
let earlier: EarlierRelease = { kind: 'at hand' }

beforeAll(async () => {
  earlier = await takeEarlierRelease()
  if (earlier.kind === 'out of reach') {
    process.stderr.write(`${earlier.why}\n`)
    return
  }
  const workers = await Promise.all(
    WORKERS.map(async (worker) => workerInput(upstream, OPTIONS, await configOf(worker))),
  )
  server = createTestHarness({ workers })
  await server.listen()
})
afterAll(() => server?.close())

function gateway(name: Name): PortlessGateway {
  if (server === null) throw new Error('Only within a test')
  const worker = server.getWorker(name)
  return gatewayOf(
    () => [],
    worker,
    (path, { method = 'GET', headers, body }) =>
      worker.fetch(path, {
        method,
        headers: [...new Headers(headers)],
        ...(typeof body === 'string' ? { body } : {}),
      }),
  )
}

describe.each([
  ['earlier-at-this', 'this'],
  ['this-at-earlier', 'earlier'],
] as const)('a Worker %s', (guestName, hostName) => {
  test('leases, settles, waits and looks up beside Workers of the object’s release', async (context) => {
    if (earlier.kind === 'out of reach') return context.skip(earlier.why)
    const [guest, host] = [gateway(guestName), gateway(hostName)]

    const answer = await guest.chat({})
    expect(journeyOf(answer)).toEqual({ key: 'alpha', attempts: 1 })
    const { usage } = JSON.parse(await answer.text())
    expect(keyOf(await host.settledPool(), 'alpha').total).toMatchObject({
      attempts: 1,
      successes: 1,
      promptTokens: usage.prompt_tokens,
      completionTokens: usage.completion_tokens,
      costUsd: usage.cost,
    })
    // The lookups came as duties with the reply.
    const informed = await lookedUpPool(host)
    expect(informed.keys.map(({ credit }) => credit?.stale)).toEqual([false, false, false])
    expect(keyOf(informed, 'gamma').account).not.toContain('gamma')

    // A breaker that one of them opens is open for the other.
    const moved = await guest.chat({ model: 'sim/plain-502@alpha' })
    expect(journeyOf(moved)).toEqual({ key: 'gamma', attempts: 2 })
    await moved.text()
    expect(keyOf(await host.settledPool(), 'alpha').reason).toBe('breaker_open')

    // Both wait, each behind a stream of the other's.
    await upstream.control.patchSettings({ answerTokens: 20, tokensPerSecond: 20 })
    const [held, holding] = [await guest.chat({ stream: true }), await host.chat({ stream: true })]
    expect([held, holding].map((response) => journeyOf(response).key)).toEqual(['gamma', 'delta'])
    const waiting = [guest.chat({}), host.chat({})]
    await until(host.pool, (pool) => pool.waiting === 2)
    expect(await held.text()).toMatch(/data: \[DONE\]\n\n$/)
    expect(await holding.text()).toMatch(/data: \[DONE\]\n\n$/)
    for (const served of await Promise.all(waiting)) {
      expect(served.status).toBe(200)
      await served.text()
    }
    await upstream.control.patchSettings({ answerTokens: null, tokensPerSecond: null })

    // What only one of them has a word for costs the word, and not the exchange.
    for (const fault of ['key-tokens-402', 'workspace-budget-403', 'byok-429']) {
      const { status } = await guest.chat({ model: `sim/${fault}@gamma` })
      expect([fault, status]).toEqual([fault, 200])
    }
    const { keys } = await host.settledPool()
    const calls = (await upstream.control.log()).filter(({ path }) => path === '/chat/completions')
    expect(keys.reduce((sum, { total }) => sum + total.attempts, 0)).toBe(calls.length)

    expect(await (await guest.send('/healthz')).json()).toMatchObject({ status: 'ok' })
  })
})

test('the cron trigger of this release finds no duties at an object of the earlier one', async (context) => {
  if (earlier.kind === 'out of reach') return context.skip(earlier.why)
  const { worker } = gateway('this-at-earlier')
  const { outcome } = await worker.scheduled({ cron: '* * * * *' })
  expect(outcome).toBe('ok')
  // It is really an earlier one.
  const { KEY_POOL: pools } = await worker.getEnv()
  const duties = async () => await pools.getByName(POOL_OBJECT.name).duties({ max: 1 })
  await expect(duties).rejects.toThrow('duties')
})
