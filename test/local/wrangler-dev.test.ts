import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { startCron, withoutTypesHint } from './wrangler-dev.ts'

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

it('does not tell a newcomer that the types are out of date, and nothing else is left out', () => {
  const hint =
    '❓ Your types might be out of date. Re-run `wrangler types` to ensure your types are correct.'
  expect(withoutTypesHint(`before\n\n${hint}\nafter\n`)).toBe('before\nafter\n')
  expect(withoutTypesHint('[wrangler:info] Ready\n')).toBe('[wrangler:info] Ready\n')
})
