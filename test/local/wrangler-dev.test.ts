import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { startCron } from './wrangler-dev.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

it('fires the cron trigger once a minute, whether the gateway answers or not, until it is stopped', async () => {
  const fetched = vi
    .fn()
    .mockRejectedValueOnce(new TypeError('fetch failed'))
    .mockImplementation(async () => new Response('ok'))
  vi.stubGlobal('fetch', fetched)
  const stop = startCron('http://localhost:8787')
  await vi.advanceTimersByTimeAsync(59_999)
  expect(fetched).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(1)
  await vi.advanceTimersByTimeAsync(120_000)
  expect(fetched).toHaveBeenCalledTimes(3)
  expect(fetched).toHaveBeenCalledWith('http://localhost:8787/cdn-cgi/local/scheduled')
  stop()
  await vi.advanceTimersByTimeAsync(120_000)
  expect(fetched).toHaveBeenCalledTimes(3)
})
