import { expect, it } from 'vitest'
import { keyId } from '../../src/balancing/ids.ts'
import type { SteeringOrder } from '../../src/balancing/operators/steering.ts'
import { HELLO } from './stream-texts.ts'
import { streamOf } from './upstream-script.ts'
import { createVirtualWorld, keyOf, type VirtualWorld } from './virtual-world.ts'

const CHAT = 'chat/completions'
const ROOMY = [
  { id: 'a', account: 'acme', maxConcurrent: 1_000 },
  { id: 'b', account: 'globex', maxConcurrent: 1_000 },
]

/** Sends a request each 10 ms, for a while, as a busy isolate gets them. */
async function traffic(world: VirtualWorld, forMs: number, given = {}): Promise<void> {
  for (let ms = 0; ms < forMs; ms += 10) {
    world.send(given)
    await world.time.advance(10)
  }
}

const steer = (world: VirtualWorld, kind: SteeringOrder['kind'], id: string) =>
  world.pool.control({ order: { kind, keyId: keyId(id) }, by: 'operator' })

/** How many calls each key has got since a moment. */
function callsSince({ upstream }: VirtualWorld, sinceMs: number) {
  const young = upstream.calls.filter(({ atMs }) => atMs >= sinceMs)
  const count = (id: string) => young.filter((call) => keyOf(call) === id).length
  return { a: count('a'), b: count('b') }
}

it('leases held ahead of a key that is paused come back within half a second, and none is lost', async () => {
  const world = createVirtualWorld({ keys: ROOMY, strategy: 'least-busy' })
  world.upstream.on(CHAT, { ...streamOf(HELLO), headersAfterMs: 100 })
  await traffic(world, 1_500)
  expect([...world.pool.state.leases.live.values()].some(({ kind }) => kind === 'reserved')).toBe(
    true,
  )
  await steer(world, 'pause', 'a')
  const pausedAtMs = world.time.nowMs()
  await traffic(world, 1_500)
  expect(callsSince(world, pausedAtMs + 500)).toEqual({ a: 0, b: 100 })
  await steer(world, 'resume', 'a')
  await traffic(world, 1_000)
  expect(callsSince(world, pausedAtMs + 1_500).a).toBeGreaterThan(20)
  await world.time.advance(10_000)
  expect(world.pool.inFlight()).toBe(0)
  expect(world.pool.bugs).toEqual([])
})

it('without the pool a key is passed over of which the isolate has heard that it is paused', async () => {
  const world = createVirtualWorld({ keys: ROOMY })
  world.upstream.on(CHAT, streamOf(HELLO))
  await steer(world, 'drain', 'a')
  await world.finish(world.send())
  world.pool.connect([], 'unreachable')
  for (let i = 0; i < 4; i++) await world.finish(world.send())
  expect(world.keysCalled()).toEqual(['b', 'b', 'b', 'b', 'b'])
})
