import { describe, expect, it } from 'vitest'
import { createPurgeBook, type Epochs } from '../../src/flight/purge-book.ts'
import type { PoolAnswer } from '../../src/key-pool/pool-client.ts'
import type { EpochsReply } from '../../src/key-pool/protocol.ts'

/** A pool's object whose answers a test gives, and the book of one isolate on the test's clock. */
function createWorld() {
  const clock = { nowMs: 0 }
  const asked: ((answer: PoolAnswer<EpochsReply>) => void)[] = []
  const pool = {
    epochs: () => new Promise<PoolAnswer<EpochsReply>>((resolve) => void asked.push(resolve)),
  }
  const background: Promise<unknown>[] = []
  const book = createPurgeBook(pool, () => clock.nowMs)
  return {
    ...{ clock, asked, background, book },
    epochs: () => book.epochs((work) => void background.push(work)),
    answer: (number: number, epochs: Epochs) =>
      asked[number]?.({ kind: 'answer', value: { version: 1, epochs } }),
  }
}

describe('What an isolate knows of purges', () => {
  it('is asked for once, and again beside a request when it has aged', async () => {
    const world = createWorld()
    const first = world.epochs()
    world.answer(0, { all: 1 })
    expect(await first).toEqual({ all: 1 })
    world.clock.nowMs = 25_000
    expect(await world.epochs()).toEqual({ all: 1 })
    world.answer(1, { all: 2 })
    await Promise.all(world.background)
    expect(await world.epochs()).toEqual({ all: 2 })
    expect(world.asked).toHaveLength(2)
  })

  it('holds a purge of its own at once, without another question', async () => {
    const world = createWorld()
    world.book.learn({ all: 7 }, 0)
    expect(await world.epochs()).toEqual({ all: 7 })
    expect(world.asked).toHaveLength(0)
  })

  it('does not lose a purge to an answer that was on its way before', async () => {
    const world = createWorld()
    world.book.learn({}, 0)
    world.clock.nowMs = 26_000
    await world.epochs()
    world.clock.nowMs = 26_001
    world.book.learn({ 'client:app': 26_001 }, 26_001)
    world.answer(0, {})
    await Promise.all(world.background)
    expect(await world.epochs()).toEqual({ 'client:app': 26_001 })
  })
})
