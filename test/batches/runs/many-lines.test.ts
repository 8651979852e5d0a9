import { expect, it } from 'vitest'
import type { BatchEndpoint } from '../../../src/batches/files/batch-endpoint.ts'
import { simulatorInProcess } from '../../simulator/in-process-simulator.ts'
import { type BatchWorld, inBatchWorld } from './batch-world.ts'

const CHAT = 'openai/gpt-4o-mini'
const MESSAGES = [{ role: 'user', content: 'Wie geht’s?' }]
const BODIES: Partial<Record<BatchEndpoint, object>> = {
  '/v1/chat/completions': { model: CHAT, max_tokens: 5, messages: MESSAGES },
  '/v1/responses': { model: CHAT, max_output_tokens: 5, input: 'Wie geht’s?' },
  '/v1/embeddings': { model: 'openai/text-embedding-3-small', input: 'Wie geht’s?' },
  '/v1/messages': { model: CHAT, max_tokens: 5, messages: MESSAGES },
}

/** No retry helps against these: what they strike fails, with their status. */
const MISTAKES = { 400: 400, 413: 413, 422: 422, 'moderation-403': 403 }
/** These are nobody's whose line they strike. */
const PASSING = [
  ...['cut-before-headers', 'plain-500', 'plain-502', '408', 'provider-502', 'provider-429'],
  ...['plain-503', '529', '401', 'new-account-429'],
]

const KEYS = ['alpha', 'beta', 'gamma', 'delta'].map((id) => {
  return { id, key: `sk-or-v1-simulated-${id}` }
})

/** What a batch came to; that every line has one result was looked at. */
function outcomeOf(world: BatchWorld) {
  const { record, tally } = world.view()
  const [output, error] = [world.results('output'), world.results('error')]
  const ids = [...output, ...error].map(({ custom_id }) => custom_id)
  expect(new Set(ids).size).toBe(ids.length)
  expect(ids.toSorted()).toEqual(world.ids.toSorted())
  expect([tally.completed, tally.failed]).toEqual([output.length, error.length])
  expect([record.status, record.repeated, record.rerun]).toEqual(['completed', 0, undefined])
  const statuses = error.map(({ response }) => response?.status_code)
  return { costUsd: tally.costUsd, statuses }
}

it('2,000 lines of four API shapes, with faults of every kind, end once each and are charged as upstream charges', async () => {
  const { control, send } = simulatorInProcess()
  await control.patchSettings({ tokensPerSecond: null })
  const outcomes: ReturnType<typeof outcomeOf>[] = []
  for (const [endpoint, body] of Object.entries(BODIES)) {
    for (const fault of [...Object.keys(MISTAKES), ...PASSING]) {
      await control.rule({ fault, times: 2 })
    }
    await inBatchWorld(
      {
        ...{
          lines: 500,
          perRange: 25,
          stepMs: 2_000,
          turns: 1,
          endpoint: endpoint as BatchEndpoint,
        },
        body: (id) => ({ ...body, ...(id === 'line-7' ? { model: 'nobody/knows' } : {}) }),
        fetch: (url, init) => send(new URL(url).pathname, init),
        bindings: {
          OPENROUTER_KEYS: JSON.stringify(KEYS),
          POLICY: { defaults: { max_concurrent: 200 } },
        },
      },
      async (world) => {
        await world.create()
        await world.toTheEnd()
        outcomes.push(outcomeOf(world))
      },
    )
    await control.clearRules()
  }
  const mistakes = [...Object.values(MISTAKES), ...Object.values(MISTAKES), 400].toSorted()
  for (const { statuses } of outcomes) expect(statuses.toSorted()).toEqual(mistakes)
  const told = outcomes.reduce((sum, { costUsd }) => sum + costUsd, 0)
  const { totalNanos } = await control.charges()
  expect(totalNanos).toBeGreaterThan(0)
  expect(Math.round(told * 1e9)).toBe(totalNanos)
}, 120_000)
