import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, it } from 'vitest'
import { createApp } from '../../../src/app.ts'
import { type BatchWorld, inBatchWorld } from './batch-world.ts'

const ANSWER_MS = 2_000
/** Three keys with two places each, of which batches may have one. */
const PEOPLE = 6
const SHARE = 3
const LEAVE_MS = 14_000

/** Asks again and again, as somebody who waits for each answer, until it is time to leave. */
async function ask(world: BatchWorld, name: string, untilMs: number): Promise<void> {
  const { time, upstream, bindings } = world
  const app = createApp({
    ...{ nowMs: time.nowMs, timer: time.timer, random: () => 0.5, fetch: upstream.fetch },
    uniqueId: () => crypto.randomUUID(),
  })
  const headers = {
    ...{ authorization: 'Bearer sy-test-token-0001', 'content-type': 'application/json' },
  }
  while (time.nowMs() < untilMs) {
    const messages = [{ role: 'user', content: name }]
    const body = JSON.stringify({ model: 'vendor/model', messages })
    const url = 'https://gateway.example/v1/chat/completions'
    const request = new Request(url, { method: 'POST', headers, body })
    const sentAtMs = time.nowMs()
    const response = await app.fetch(
      request,
      { ...env, ...bindings } as never,
      createExecutionContext(),
    )
    await response.text()
    // Its own answer, one lease of the batch, and what a step of the clock is too long.
    expect([response.status, time.nowMs() - sentAtMs <= 2 * ANSWER_MS + 500]).toEqual([200, true])
  }
}

it('people on the same keys wait for one line at most, and when they leave the batch has its share within seconds', async () => {
  const bindings = { POLICY: { defaults: { max_concurrent: 2 } } }
  const size = { lines: 30, perRange: 3, answerMs: ANSWER_MS, stepMs: 250, turns: 2 }
  await inBatchWorld({ ...size, bindings }, async (world) => {
    await world.create()
    const leaveMs = world.time.nowMs() + LEAVE_MS
    const running = () =>
      world.upstream.calls.filter(
        ({ id, atMs }) => id.startsWith('line-') && world.time.nowMs() - atMs < ANSWER_MS,
      ).length
    let [most, fullAtMs] = [0, 0]
    let people: Promise<unknown> | null = null
    await world.toTheEnd((queue) => {
      // The batch was there first.
      if (running() > 0) {
        people ??= Promise.all(
          Array.from({ length: PEOPLE }, (_, i) => ask(world, `person-${i}`, leaveMs)),
        )
      }
      most = Math.max(most, running())
      const isFull = world.time.nowMs() > leaveMs + ANSWER_MS && running() === SHARE
      if (isFull) fullAtMs ||= world.time.nowMs()
      return queue.splice(0)
    })
    await people
    expect(world.view().tally).toMatchObject({ completed: 30, failed: 0 })
    expect(most).toBe(SHARE)
    const asked = world.upstream.calls.filter(({ id }) => id.startsWith('person-')).length
    expect(asked).toBeGreaterThan(PEOPLE * (LEAVE_MS / ANSWER_MS / 2))
    expect(fullAtMs - leaveMs).toBeLessThanOrEqual(12_000)
    expect(fullAtMs).toBeGreaterThan(leaveMs)
  })
})
