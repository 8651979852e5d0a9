import { reset } from 'cloudflare:test'
import { afterAll, expect, vi } from 'vitest'
import { MEMORY } from '../../src/http/composition-root.ts'

// All files share one Worker: the next one must find no object, no entry of KV and no file of this one,
// and all of the isolate's memory.
afterAll(async () => {
  await vi.waitFor(() => expect(MEMORY.heldBytes()).toBe(0), { timeout: 3_000 })
  await reset()
})
