import { expect, it } from 'vitest'
import { inRouteWorld, line, TOKEN } from './route-world.ts'

const withBudget = (budget: object) => ({
  CLIENT_KEYS: JSON.stringify([
    { id: 'tester', token: TOKEN, budget: { period: 'day', ...budget } },
  ]),
})

/** Lines that can cost 0.002 USD for their answers, and a little for their prompts. */
const LINES = Array.from({ length: 10 }, (_, i) => line(`${i}`, { max_tokens: 100 })).join('\n')

it('a batch that the budget does not pay for is refused at once, unless it may be partial', async () => {
  await inRouteWorld(withBudget({ usd: 0.0021 }), async (world) => {
    const { body: file } = await world.upload(LINES)
    const refused = await world.start({ input_file_id: file.id })
    expect(refused.status).toBe(402)
    const { metadata, message } = refused.body.error as unknown as Record<string, never>
    expect(metadata).toMatchObject({
      ...{ reason: 'budget_exceeded', limited: 'client:tester', period: 'day', left: 0.0021 },
      estimate: expect.toSatisfy((usd: number) => usd > 0.0021 && usd < 0.01),
    })
    expect(message).toContain('allow_partial')
    // It is on no list.
    expect((await world.send('batches')).body.data).toEqual([])
    const partial = await world.start({ input_file_id: file.id, allow_partial: true })
    expect([partial.status, partial.body.status]).toEqual([200, 'in_progress'])
  })
})

it.each([
  ['a budget that pays for all of it', { usd: 1 }, LINES],
  ['a budget that only warns', { usd: 0.001, on_exceeded: 'warn' }, LINES],
  ['no budget', null, LINES],
])('with %s a batch begins', async (_, budget, lines) => {
  await inRouteWorld(budget === null ? {} : withBudget(budget), async (world) => {
    const { body: file } = await world.upload(lines)
    expect((await world.start({ input_file_id: file.id })).status).toBe(200)
  })
})

it('a line of unknown cost counts as what it reserves', async () => {
  const lines = [1, 2, 3].map((i) => line(`${i}`, { model: 'nobody/knows' })).join('\n')
  await inRouteWorld(withBudget({ usd: 1, reserve_usd: 0.4 }), async (world) => {
    const { body: file } = await world.upload(lines)
    const { status, body } = await world.start({ input_file_id: file.id })
    expect(status).toBe(402)
    expect(body).toMatchObject({ error: { metadata: { estimate: 1.2 } } })
  })
})
