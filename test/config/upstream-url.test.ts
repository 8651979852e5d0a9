import { expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

it.each([
  [undefined, 'https://openrouter.ai/api/v1'],
  ['', 'https://openrouter.ai/api/v1'],
  ['https://eu.example.com/api/v1/', 'https://eu.example.com/api/v1'],
  ['http://localhost:8788/api/v1', 'http://localhost:8788/api/v1'],
  ['http://127.0.0.1:1/api', 'http://127.0.0.1:1/api'],
  ['http://[::1]:9/api', 'http://[::1]:9/api'],
])('%j is an upstream', async (UPSTREAM_URL, url) => {
  expect((await configOf({ UPSTREAM_URL })).upstreamUrl).toBe(url)
})

it.each([
  'openrouter.ai/api/v1',
  'http://openrouter.ai/api/v1',
  'http://localhost.example.com/api',
  'http://127.0.0.1.example.com/api',
  'ftp://localhost/api',
  'https://user:secret@openrouter.ai/api/v1',
  'https://openrouter.ai/api/v1?key=secret',
  'https://openrouter.ai/api/v1#x',
  'https://openrouter.ai/api/v1?',
  'https://openrouter.ai/api/v1#',
  7,
])('%j is none: keys would be sent there', async (UPSTREAM_URL) => {
  const faults = await faultsOf({ UPSTREAM_URL })
  expect(faults).toHaveLength(1)
  expect(faults[0]).toMatch(/^UPSTREAM_URL: /)
  expect(faults[0]).not.toContain('secret')
})
