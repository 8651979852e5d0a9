// Properties that hold for every API.

import { describe, expect, it } from 'vitest'
import { BETA, bodyOf, eventsOf, serveSimulator } from './served-simulator.ts'
import { PATHS, REQUESTS, type ShapePath, STREAMING } from './shape-requests.ts'

const { ask, control, get } = serveSimulator()

async function acmeBalance() {
  const { accounts } = await control.world()
  return accounts.find((account) => account.id === 'acme')?.balanceUsd
}

const whole = async (path: ShapePath, body: object = {}) =>
  bodyOf(await ask(path, { ...REQUESTS[path], ...body }))

const streamed = async (path: ShapePath, body: object = {}) =>
  eventsOf(await ask(path, { ...REQUESTS[path], ...body, stream: true }))

describe('every API', () => {
  const COUNTED = PATHS.filter((path) => path !== '/messages/count_tokens')

  it.each(COUNTED)('charges for %s what GET /generation says', async (path) => {
    const response = await ask(path, REQUESTS[path])
    const bytes = await response.arrayBuffer()
    const id = response.headers.get('x-generation-id')
    const { data } = await bodyOf(await get(`/api/v1/generation?id=${id}`, BETA))
    expect(data.total_cost).toBeGreaterThan(0)
    expect(await acmeBalance()).toBeCloseTo(50 - data.total_cost, 9)
    const [entry] = await control.log()
    expect(entry).toMatchObject({ path, costUsd: data.total_cost, outcome: 'completed' })
    if (path === '/audio/speech') return
    const body = JSON.parse(new TextDecoder().decode(bytes))
    expect(body.usage.cost).toBe(data.total_cost)
  })

  it.each(STREAMING)('charges a stream of %s like the whole answer', async (path) => {
    const { usage } = await whole(path)
    const last = (await streamed(path)).findLast((event) => event.usage ?? event.response?.usage)
    expect(last.usage?.cost ?? last.response.usage.cost).toBe(usage.cost)
    expect(await acmeBalance()).toBeCloseTo(50 - 2 * usage.cost, 9)
  })

  it.each(PATHS)('refuses %s to an empty account and a spent key', async (path) => {
    await control.patchAccount('acme', { balanceUsd: 0 })
    expect((await ask(path, REQUESTS[path])).status).toBe(402)
    await control.patchKey('alpha', { limitUsd: 0 })
    expect((await ask(path, REQUESTS[path])).status).toBe(403)
  })

  it.each(PATHS)('can be cut off, whole or streamed, like %s', async (path) => {
    for (const stream of [false, true]) {
      const body = { ...REQUESTS[path], model: 'sim/cut-mid-stream', stream }
      const response = await ask(path, body)
      expect(response.status).toBe(200)
      await expect(response.arrayBuffer()).rejects.toThrow()
    }
    expect(await control.stats()).toMatchObject({ failed: 2, openNow: 0 })
  })

  it.each(STREAMING)('can stall or end early in a stream of %s', async (path) => {
    const early = await ask(path, {
      ...REQUESTS[path],
      model: 'sim/end-without-done?events=2',
      stream: true,
    })
    const text = await early.text()
    expect(text).toMatch(/data: \{/)
    expect(text).not.toContain('[DONE]')
    const stalled = ask(path, { ...REQUESTS[path], model: 'sim/stall', stream: true })
    const read = stalled.then((response) => response.text())
    read.catch(() => undefined)
    await control.waitFor(({ stats }) => stats.openNow === 1)
    await control.reset()
    await Promise.allSettled([read])
    expect((await control.stats()).openNow).toBe(0)
  })

  it.each(['/completions', '/responses', '/messages'] as const)(
    'can have very long lines, or nothing to say, in %s',
    async (path) => {
      const long = JSON.stringify(await streamed(path, { model: 'sim/long-line?kilobytes=64' }))
      expect(long).toMatch(/ü{32768}/)
      const empty = await streamed(path, { model: 'sim/empty-answer' })
      expect(JSON.stringify(empty)).not.toContain('Grüße')
      const [, silent] = await control.log()
      expect(silent).toMatchObject({ fault: 'empty-answer', costUsd: 0 })
    },
  )

  it.each(['/messages', '/audio/speech'] as const)('plays scripts through %s', async (path) => {
    await control.script('raw', { headers: { 'content-type': 'x/y' }, chunks: [{ text: 'bytes' }] })
    const response = await ask(path, { ...REQUESTS[path], model: 'script/raw' })
    expect([response.headers.get('content-type'), await response.text()]).toEqual(['x/y', 'bytes'])
  })
})
