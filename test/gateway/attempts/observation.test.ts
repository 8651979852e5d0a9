import { expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import { HELLO } from '../stream-texts.ts'
import { jsonAnswer, type Script, streamOf } from '../upstream-script.ts'
import { createVirtualWorld } from '../virtual-world.ts'

const WHOLE = { choices: [{ message: { content: 'Hello' }, finish_reason: 'stop' }] }

/** What the pool learned of the key's latency from one answer. */
async function latencyAfter(script: Script): Promise<number | undefined> {
  const world = createVirtualWorld({ keys: ['a'] })
  world.upstream.on('chat/completions', script)
  const report = await world.finish(world.send())
  expect(report.outcome).toBe('answered')
  return world.pool.state.keys.get(keyId('a'))?.latency?.valueMs
}

it('the length of an answer that is not streamed is no latency of its key', async () => {
  const long = jsonAnswer(200, WHOLE)
  const body = (long.body ?? []).map((step) => ({ ...step, afterMs: 20_000 }))
  expect(await latencyAfter({ ...long, headersAfterMs: 400, body })).toBe(400)
})

it('a stream’s latency is the time to its first output', async () => {
  const stream = streamOf(HELLO)
  const body = (stream.body ?? []).map((step) => ({ ...step, afterMs: 700 }))
  expect(await latencyAfter({ ...stream, headersAfterMs: 300, body })).toBe(1_000)
})
