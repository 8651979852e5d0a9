import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { MEMORY } from '../../src/http/composition-root.ts'
import { reasonOf } from './flight-answers.ts'
import { chunk, createFlightWorld, END, WHOLE } from './flight-driver.ts'

beforeEach(() => {
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
})
afterEach(async () => {
  vi.restoreAllMocks()
  // Whatever became of the answers, nothing of them is held: neither bodies nor bytes.
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 2_000 })
})

describe('a durable answer', () => {
  const durable = (id: string, more: object = {}) => ({
    headers: { 'x-switchyard-durable': '60', 'x-request-id': id, ...more },
  })

  it('runs on at its client’s cost without a reader, four of a client at once', async () => {
    const world = createFlightWorld({ share: false })
    const running = ['a', 'b', 'c', 'd'].map((id) => world.ask(durable(id)))
    await world.call(3)
    const fifth = await world.ask(durable('e'))
    expect([fifth.status, await reasonOf(fifth)]).toEqual([429, 'client_rate_limited'])
    for (const [i, asked] of running.entries()) {
      world.calls[i]?.answer()
      world.calls[i]?.write(chunk('a'))
      await (await asked).body?.cancel()
    }
    expect((await world.fetchAnswer('a')).status).toBe(202)
    for (const call of world.calls) call.end(END)
    await world.pass(1)
    const kept = await world.fetchAnswer('a')
    expect([kept.status, kept.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
    expect((await kept.text()).replaceAll(/^id: a\.\d+\n/gm, '')).toBe(chunk('a') + END)
    expect((await world.fetchAnswer('a', 'mate')).status).toBe(404)
    await world.pass(60_000)
    expect(await reasonOf(await world.fetchAnswer('a'))).toBe('answer_gone')
    const late = await world.ask({ headers: { 'last-event-id': 'a.1' } })
    expect([late.status, await reasonOf(late)]).toEqual([404, 'answer_gone'])
    expect(world.calls).toHaveLength(4)
  })

  it('is the same answer to the same request once more, and to no other', async () => {
    const world = createFlightWorld({ share: false })
    const first = world.ask(durable('same'))
    const call = await world.call(0)
    call.answer()
    call.write(chunk('a'))
    await (await first).body?.cancel()
    const again = await world.ask(durable('same'))
    const other = await world.ask({ ...durable('same'), body: { seed: 1 } })
    expect([other.status, await reasonOf(other)]).toEqual([400, 'invalid_request'])
    call.end(END)
    expect((await again.text()).replaceAll(/^id: same\.\d+\n/gm, '')).toBe(chunk('a') + END)
    expect(world.calls).toHaveLength(1)
  })

  it('is kept whole where it is no stream, an error too', async () => {
    const world = createFlightWorld({ share: false })
    const first = world.ask({ ...durable('whole'), body: { stream: false } })
    ;(await world.call(0)).answer(Response.json(WHOLE))
    expect(await (await first).json()).toEqual(WHOLE)
    await world.pass(1)
    expect(await (await world.fetchAnswer('whole')).json()).toEqual(WHOLE)
    const error = { error: { code: 400, message: 'No.' } }
    const failed = world.ask(durable('failed'))
    ;(await world.call(1)).answer(Response.json(error, { status: 400 }))
    expect([(await failed).status, await (await failed).json()]).toEqual([400, error])
    await world.pass(1)
    expect((await world.fetchAnswer('failed')).status).toBe(400)
  })

  it.each(['0', '3601', 'yes', '1.5', ''])('is refused for %j seconds', async (seconds) => {
    const world = createFlightWorld({ share: false })
    const response = await world.ask({ headers: { 'x-switchyard-durable': seconds } })
    expect([response.status, await reasonOf(response)]).toEqual([400, 'invalid_request'])
  })

  it('is text', async () => {
    const world = createFlightWorld({ share: false })
    const response = await world.ask({ ...durable('x'), path: 'embeddings' })
    expect([response.status, await reasonOf(response)]).toEqual([400, 'invalid_request'])
  })

  it('is refused where it cannot be kept', async () => {
    const world = createFlightWorld({ share: false })
    world.flights.fail(new Error('gone'))
    const response = await world.ask(durable('x'))
    expect([response.status, await reasonOf(response)]).toEqual([503, 'pool_unavailable'])
    expect(world.calls).toEqual([])
  })
})
