import { abortAllDurableObjects, SELF } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterAll, beforeEach, expect, it, vi } from 'vitest'
import { callerWithoutLimits } from '../../../src/balancing/clients/caller.ts'
import { clientId } from '../../../src/balancing/ids.ts'
import type { JoinRequest } from '../../../src/flight/flight-protocol.ts'
import { ISOLATE_BYTES } from '../../../src/gateway/byte-budget.ts'
import { MEMORY } from '../../../src/http/composition-root.ts'

// The real object in its isolate, which lives on when the object dies. Upstream never answers.

let calls = 0
beforeEach(() => {
  calls = 0
  vi.stubGlobal('fetch', (url: string) => {
    if (url.endsWith('/chat/completions')) calls += 1
    return new Promise(() => undefined)
  })
})
afterAll(() => void vi.unstubAllGlobals())

const BODY_BYTES = Math.ceil(0.6 * ISOLATE_BYTES)

/** A body that takes more than half of the isolate's memory. */
function bodyOf(text: string): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(BODY_BYTES).fill(0x20)
  body.set(new TextEncoder().encode(text))
  return body
}

/** Asks an object for an answer that does not come. */
function ask(name: string): void {
  const body = bodyOf('{"model":"vendor/model","messages":[]}')
  const request: JoinRequest['request'] = {
    ...{ seat: crypto.randomUUID(), requestId: 'r', path: 'chat/completions', search: '', body },
    ...{ headers: {}, caller: callerWithoutLimits(clientId('tester')), model: 'vendor/model' },
    ...{ startedAtMs: Date.now(), authMs: 0 },
  }
  const directive = { kind: 'none' } as const
  const terms = { ttlMs: null, maxBytes: 1_000_000, share: true } as const
  // It dies with its object.
  env.FLIGHT.getByName(name)
    .join({ version: 1, request, directive, ...terms })
    .catch(() => undefined)
}

it('what an object held before it died is free when it lives again', async () => {
  for (const life of [1, 2, 3]) {
    ask('flight/test/reborn')
    await vi.waitFor(() => expect(calls).toBe(life), { timeout: 5_000 })
    expect(MEMORY.heldBytes()).toBe(BODY_BYTES)
    await abortAllDurableObjects()
  }
  expect(MEMORY.heldBytes()).toBe(BODY_BYTES)
})

it('what it held is free as well for others, soon after the first is refused', async () => {
  const sent = () =>
    SELF.fetch('https://gateway.example/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: 'Bearer sy-test-token-0001', 'content-type': 'application/json' },
      body: bodyOf('unclosed'),
    })
  const refused = await sent()
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
  await refused.text()
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 5_000 })
  expect((await sent()).status).toBe(400)
})
