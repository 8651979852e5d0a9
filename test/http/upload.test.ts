import { expect, it } from 'vitest'
import { ByteBudget } from '../../src/gateway/byte-budget.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { readUpload } from '../../src/http/upload.ts'

const MB = 1024 * 1024
const LIMITS = { maxBytes: 25 * MB, idleMs: 10_000, totalMs: 60_000 }

const REAL_TIME: Ports = {
  fetch: () => Promise.reject(new Error('Nothing to fetch')),
  nowMs: () => Date.now(),
  random: () => 0.5,
  timer(ms, run) {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
  uniqueId: () => 'one',
}

/** Reads a body that arrives in pieces of 4 KB, as a network brings it. Each turn of ours sets a timer. */
async function turnsFor(bytes: number, isAnnounced: boolean): Promise<number> {
  let left = bytes
  let timers = 0
  const body = new ReadableStream({
    pull(controller) {
      if (left === 0) return controller.close()
      const size = Math.min(left, 4_096)
      controller.enqueue(new Uint8Array(size).fill(7))
      left -= size
    },
  })
  const headers: HeadersInit = isAnnounced ? { 'content-length': String(bytes) } : {}
  const request = new Request('https://gateway.test/', { method: 'POST', body, headers })
  const ports: Ports = {
    fetch: () => Promise.reject(new Error('Nothing to fetch')),
    nowMs: () => 0,
    random: () => 0.5,
    timer() {
      timers += 1
      return () => undefined
    },
    uniqueId: () => 'one',
  }
  const upload = await readUpload(request, LIMITS, new ByteBudget(64 * MB), ports)
  if (!upload.ok) throw new Error(upload.error.message)
  expect(upload.bytes.length).toBe(bytes)
  expect(upload.bytes.every((byte) => byte === 7)).toBe(true)
  return timers
}

it('a body of 1 MB whose length is known takes few turns, however many pieces it comes in', async () => {
  expect(await turnsFor(MB, true)).toBeLessThan(10)
  expect(await turnsFor(MB, false)).toBeGreaterThan(10)
})

it.each([20, 5_000])(
  'a slow client is not silent, as long as a piece of %i bytes comes within idle_ms',
  async (pieceBytes) => {
    const pieces = 6
    const body = new ReadableStream({
      async start(controller) {
        for (let i = 0; i < pieces; i += 1) {
          await new Promise((resolve) => setTimeout(resolve, 60))
          controller.enqueue(new Uint8Array(pieceBytes).fill(7))
        }
        controller.close()
      },
    })
    const headers = { 'content-length': String(pieces * pieceBytes) }
    const request = new Request('https://gateway.test/', { method: 'POST', body, headers })
    const limits = { ...LIMITS, idleMs: 200 }
    const upload = await readUpload(request, limits, new ByteBudget(64 * MB), REAL_TIME)
    expect(upload.ok).toBe(true)
  },
)
