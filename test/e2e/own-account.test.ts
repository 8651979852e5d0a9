// What a client can ask about itself: its spending, and the answers that it received.

import { describe, expect, test } from 'vitest'
import { errorOf, journeyOf, type KeyName, startGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()

const OTHER = 'sy-e2e-other-token'
const asOther = { authorization: `Bearer ${OTHER}` }
const TWO_CLIENTS = { CLIENT_KEYS: `tester:sy-e2e-token-000001 other:${OTHER}` }

/** The `data` of an answer. */
async function dataOf(response: Response) {
  const { data } = JSON.parse(await response.text())
  return data
}

describe('GET key', () => {
  test.each(['key', 'auth/key'])('and %s tell what this client has spent', async (path) => {
    const gateway = await startGateway(upstream, { secrets: TWO_CLIENTS })
    const ask = async (headers = {}) => {
      const response = await gateway.send(`/api/v1/${path}`, { headers })
      expect(response.status).toBe(200)
      expect(response.headers.get('cache-control')).toBe('no-store')
      return await dataOf(response)
    }
    expect(await ask()).toMatchObject({
      label: 'tester',
      limit: null,
      limit_remaining: null,
      usage: 0,
      usage_daily: 0,
      is_management_key: false,
    })
    const before = await upstream.control.log()
    for (let i = 0; i < 3; i += 1) await (await gateway.chat({})).arrayBuffer()
    await gateway.settledPool()
    const spent = (await upstream.control.log()).reduce((sum, { costUsd }) => sum + costUsd, 0)
    const data = await ask()
    expect(before).toEqual([])
    expect(data.usage).toBeCloseTo(spent, 9)
    for (const field of ['usage_daily', 'usage_weekly', 'usage_monthly']) {
      expect(data[field]).toBeCloseTo(spent, 9)
    }
    expect((await ask(asOther)).usage).toBe(0)
    // The gateway looks up its own keys at the same path. Client requests must not go there.
    const lookups = (await upstream.control.log()).filter((entry) => entry.path === '/key')
    expect(lookups.length).toBeLessThanOrEqual(3)
  })

  test('is not told to strangers', async () => {
    const gateway = await startGateway(upstream)
    const response = await fetch(`${gateway.origin}/api/v1/key`)
    expect(response.status).toBe(401)
    expect(await errorOf(response)).toMatchObject({ metadata: { reason: 'unauthorized' } })
  })
})

describe('GET generation', () => {
  test('is asked of the account that made the answer, and told to who asked for it', async () => {
    const gateway = await startGateway(upstream, {
      keys: ['alpha', 'gamma'],
      policy: { strategy: 'round-robin' },
      secrets: TWO_CLIENTS,
    })
    const about = (id: string | null, headers = {}) =>
      gateway.send(`/v1/generation?id=${id}`, { headers })
    const answers: { id: string | null; key: string | null }[] = []
    for (const stream of [false, true, false, true]) {
      const response = await gateway.chat({ stream })
      await response.arrayBuffer()
      answers.push({ id: response.headers.get('x-generation-id'), key: journeyOf(response).key })
    }
    await gateway.settledPool()
    expect(new Set(answers.map(({ key }) => key))).toEqual(new Set<KeyName>(['alpha', 'gamma']))
    for (const { id, key } of answers) {
      const response = await about(id)
      expect(response.status).toBe(200)
      expect(await dataOf(response)).toMatchObject({ id, total_cost: expect.any(Number) })
      const entry = (await upstream.control.log()).findLast(({ path }) => path === '/generation')
      expect(entry?.key).toBe(key)
    }
    const asked = (await upstream.control.stats()).paths['/generation']
    for (const response of [
      await about(answers[0]?.id ?? '', asOther),
      await about('gen-1700000000-aaaaaaaaaaaaaaaaaaaa'),
    ]) {
      expect(response.status).toBe(404)
      expect(await errorOf(response)).toMatchObject({ metadata: { reason: 'not_found' } })
    }
    expect((await gateway.send('/v1/generation')).status).toBe(400)
    expect((await upstream.control.stats()).paths['/generation']).toBe(asked)
  })

  test('is not answered with the words for a key that was revoked since', async () => {
    const gateway = await startGateway(upstream, { keys: ['alpha'] })
    const response = await gateway.chat({})
    await response.arrayBuffer()
    await gateway.settledPool()
    await upstream.control.patchKey('alpha', { disabled: true })
    const about = await gateway.send(`/v1/generation?id=${response.headers.get('x-generation-id')}`)
    expect(about.status).toBe(502)
    expect(await errorOf(about)).toMatchObject({ metadata: { reason: 'keys_exhausted' } })
  })
})
