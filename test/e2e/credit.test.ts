import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { Webhook } from 'standardwebhooks'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  journeyOf,
  keyOf,
  lookedUpPool,
  sendMany,
  servedBy,
  startGateway,
  startGatewayWithClock,
  until,
  useSimulator,
  warmUp,
} from './harness.ts'

const upstream = useSimulator()

/** A model whose answers cost enough to drain a cap within a test. */
const COSTLY = 'anthropic/claude-sonnet-4.5'

async function refusals(): Promise<number> {
  const log = await upstream.control.log()
  return log.filter(({ status }) => status === 402 || status === 403).length
}

describe('credit that runs out moves traffic before OpenRouter says no', () => {
  const drained = { limitUsd: 0.3, limitReset: null }

  async function drain(policy: Record<string, string | number | object>, min_credit = 0) {
    await upstream.control.patchKey('alpha', drained)
    await upstream.control.patchSettings({ answerTokens: 200, tokensPerSecond: null })
    const gateway = await startGateway(upstream, {
      keys: [{ name: 'alpha', min_credit }, 'gamma'],
      policy: JSON.parse(JSON.stringify(policy)),
    })
    await warmUp(gateway)
    const responses = await sendMany(200, 10, () =>
      gateway.chat({ model: COSTLY, max_tokens: 200 }),
    )
    expect(await refusals()).toBe(0)
    return { served: servedBy(responses), gateway }
  }

  test('with most-credit, an uncapped key serves before a capped one is touched', async () => {
    const { served } = await drain({ strategy: 'most-credit' })
    expect(served).toEqual({ gamma: 200 })
  })

  test('with credit-threshold, the capped key is spent down to the threshold', async () => {
    const { served, gateway } = await drain({
      strategy: 'credit-threshold',
      credit: { threshold: 0.1 },
    })
    expect(served.alpha).toBeGreaterThan(10)
    expect(served.gamma).toBeGreaterThan(10)
    expect((served.alpha ?? 0) + (served.gamma ?? 0)).toBe(200)
    const left = keyOf(await gateway.settledPool(), 'alpha').credit?.remainingUsd ?? 0
    expect(left).toBeGreaterThan(0.05)
    expect(left).toBeLessThan(0.12)
  })

  test('with min_credit, a key is left alone when no more than that is left', async () => {
    const { served, gateway } = await drain({ strategy: 'priority' }, 0.1)
    expect(served.alpha).toBeGreaterThan(10)
    expect((served.alpha ?? 0) + (served.gamma ?? 0)).toBe(200)
    const alpha = keyOf(await gateway.settledPool(), 'alpha')
    expect(alpha.reason).toBe('below_min_credit')
    expect(alpha.credit?.remainingUsd).toBeGreaterThan(0.08)
  })
})

describe('lookups', () => {
  test('of a thousand requests no key is looked up more than once, and none waits for one', {
    timeout: 120_000,
  }, async () => {
    // A hanging lookup must not delay any request.
    const hung = await upstream.control.rule({ fault: 'hang', match: { path: '/key' }, times: 1 })
    const gateway = await startGateway(upstream, { policy: { strategy: 'round-robin' } })
    const responses = await sendMany(1000, 20, () => gateway.chat({}))
    expect(responses.every(({ status }) => status === 200)).toBe(true)
    const { perKey } = await upstream.control.stats()
    for (const name of ['alpha', 'gamma', 'delta']) expect(perKey[name]?.lookups).toBe(1)
    await upstream.control.deleteRule(hung)
  })

  test('go to /auth/key where that is the only one', async () => {
    await upstream.control.patchSettings({ keyPaths: 'older' })
    await upstream.control.patchKey('alpha', { limitUsd: 7 })
    const gateway = await startGateway(upstream)
    await gateway.chat({})
    const alpha = keyOf(await lookedUpPool(gateway), 'alpha')
    expect(alpha.credit?.limitUsd).toBe(7)
  })

  test('that fail leave everything as it was', async () => {
    await upstream.control.rule({ fault: 'plain-503', match: { path: '/key' } })
    const gateway = await startGateway(upstream, { policy: { strategy: 'most-credit' } })
    const responses = await sendMany(20, 5, () => gateway.chat({}))
    expect(responses.every(({ status }) => status === 200)).toBe(true)
    const { keys } = await gateway.settledPool()
    expect(keys.map(({ credit, reason }) => [credit, reason])).toEqual([
      [null, null],
      [null, null],
      [null, null],
    ])
  })

  test('tell which keys are one account’s', async () => {
    const gateway = await startGateway(upstream, {
      keys: [
        { name: 'alpha', account: null },
        { name: 'beta', account: null },
        { name: 'gamma', account: null },
      ],
    })
    await warmUp(gateway)
    const { keys } = await gateway.pool()
    expect(keys.map(({ account }) => account)).toEqual(['org_acme', 'org_acme', 'user_grace'])
    // Only one key of the empty account is tried, since both keys are known to share it.
    await upstream.control.patchAccount('acme', { balanceUsd: 0 })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
  })

  test('tell when a key expires', async () => {
    const expiresAt = new Date(Date.now() + 3 * 24 * 60 * 60_000).toISOString()
    await upstream.control.patchKey('alpha', { expiresAt })
    const { received, url } = await startReceiver()
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
    const ALERTS = JSON.stringify({ ops: { url, secret } })
    const gateway = await startGateway(upstream, { secrets: { ALERTS } })
    await warmUp(gateway)
    const alpha = keyOf(await gateway.pool(), 'alpha')
    expect(alpha).toMatchObject({ expiresAtMs: Date.parse(expiresAt), expiresSoon: true })
    // The next request finds it out, and its Worker tells, by the alert and by one line in the log.
    await until(
      async () => {
        await gateway.chat({})
        return received.length
      },
      (count) => count > 0,
    )
    const [message] = received
    expect(new Webhook(secret).verify(message?.body ?? '', message?.headers ?? {})).toMatchObject({
      type: 'key_expires_soon.begin',
      data: { alerts: [{ key: 'alpha', expires_at: expiresAt }] },
    })
    const lines = gateway.logs().filter(({ text }) => text.includes('key_expires_soon'))
    expect(lines.map(({ text }) => JSON.parse(text))).toMatchObject([
      { alert: 'begin', key: 'alpha', expires_at: expiresAt },
    ])
    expect(JSON.stringify(gateway.logs())).not.toMatch(/whsec_|not-for-the-log/)
  })
})

/** Who is told of alerts, on this machine. */
async function startReceiver() {
  const received: { headers: Record<string, string>; body: string }[] = []
  const server = createServer(async (request, response) => {
    const body = await text(request)
    received.push({ headers: request.headers as Record<string, string>, body })
    response.writeHead(204).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  return { received, url: `http://127.0.0.1:${port}/not-for-the-log` }
}

describe('a key that was spent', () => {
  test('comes back by itself once it is topped up', async () => {
    const spent = { totalUsd: 2, dailyUsd: 2, weeklyUsd: 2, monthlyUsd: 2, atMs: null }
    await upstream.control.patchKey('alpha', { limitUsd: 2, limitReset: 'daily', usage: spent })
    const { gateway, pass } = await startGatewayWithClock(upstream, {
      policy: { strategy: 'priority', credit: { refresh_s: 30 } },
    })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
    await lookedUpPool(gateway)
    await upstream.control.patchKey('alpha', { limitUsd: 20 })
    const keyOfNext = async () => journeyOf(await gateway.chat({})).key
    expect(await keyOfNext()).toBe('gamma')
    await pass(31_000)
    await until(keyOfNext, (key) => key === 'alpha')
    const { perKey } = await upstream.control.stats()
    expect(perKey.alpha?.lookups).toBeLessThanOrEqual(3)
  })
})
