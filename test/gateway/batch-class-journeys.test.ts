import { expect, it } from 'vitest'
import { createTurns } from '../../src/gateway/leases/turns.ts'
import { HELLO } from './stream-texts.ts'
import { openStream, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'
const LINE = { class: 'batch' } as const

function worldOf(options: WorldOptions) {
  const world = createVirtualWorld({ queue: { maxWaitMs: 10_000, maxWaiting: 10 }, ...options })
  world.upstream.on(CHAT, streamOf(HELLO))
  return world
}

it('a line of a batch takes nothing of the isolate’s stock, and asks for itself', async () => {
  const world = worldOf({ keys: [{ id: 'a', maxConcurrent: 100 }], strategy: 'least-busy' })
  for (let i = 0; i < 100; i++) {
    world.send()
    await world.time.advance(20)
  }
  // What was taken of the stock by now is told, so that the pool's own count is that of the stock.
  await world.time.advance(300)
  const leases = () => [...world.pool.state.leases.live.values()]
  const ahead = leases().filter(({ kind }) => kind === 'reserved').length
  expect(ahead).toBeGreaterThan(0)
  world.upstream.on(CHAT, openStream(HELLO))
  world.send({ ...LINE, affinity: { kind: 'conversation', id: 'talk' } })
  await world.time.drain()
  expect(world.pool.state.keys.values().next().value?.batch.inFlight).toBe(1)
  expect(leases().filter(({ kind }) => kind === 'reserved')).toHaveLength(ahead)
  expect(world.pool.state.affinities.young.size).toBe(0)
})

it('is refused at once where interactive requests would wait, and told when to come back', async () => {
  const world = worldOf({ keys: [{ id: 'a', maxConcurrent: 2 }] })
  world.upstream.on(CHAT, openStream(HELLO), streamOf(HELLO))
  world.send(LINE)
  await world.time.drain()
  const second = world.send(LINE)
  const report = await world.finish(second)
  expect(report).toMatchObject({ outcome: 'failed', timings: { wait: 0 } })
  const { status, headers, text } = await second.whole()
  expect(status).toBe(429)
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect(JSON.parse(text).error.metadata).toMatchObject({
    reason: 'no_key_available',
    reasons: { kept_for_interactive: 1 },
  })
  const other = world.send()
  expect(await world.finish(other)).toMatchObject({ outcome: 'answered', timings: { wait: 0 } })
})

it('while the pool cannot be reached a batch waits, and the others are served', async () => {
  const world = worldOf({ keys: ['a'] })
  world.pool.connect([], 'unreachable')
  const line = world.send(LINE)
  expect((await world.finish(line)).error?.reason).toBe('pool_unavailable')
  expect(world.upstream.calls).toHaveLength(0)
  const other = world.send()
  expect((await world.finish(other)).outcome).toBe('answered')
})

it('a call that waits for its place is not late: the clock of its headers begins with the place', async () => {
  const timeouts = { headersMs: 25_000, firstOutputMs: 25_000 }
  const world = worldOf({ keys: ['a'], timeouts, inTurn: createTurns(1) })
  world.upstream.on(CHAT, { ...streamOf(HELLO), headersAfterMs: 20_000 })
  const sent = [world.send(LINE), world.send(LINE)]
  for (const each of sent) expect((await world.finish(each)).outcome).toBe('answered')
  const [first, second, ...others] = world.upstream.calls.map(({ atMs }) => atMs)
  expect([(second ?? 0) - (first ?? 0), others]).toEqual([20_000, []])
})
