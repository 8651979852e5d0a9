// A key of the pool never reaches a path that is not inference.

import { describe, expect, test } from 'vitest'
import { PATHS } from '../simulator/shape-requests.ts'
import { errorOf, journeyOf, secretOf, useGateway, useSimulator } from './harness.ts'
import { useRecorder } from './recorder.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream)

const POST = {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'openai/gpt-4o-mini', name: 'x', limit: 1 }),
}

/** No request reached OpenRouter, with or without a key. */
async function expectNothingUpstream() {
  expect(await upstream.control.log()).toEqual([])
}

const MANAGEMENT = [
  'keys',
  'keys/abc',
  'credits',
  'credits/coinbase',
  'activity',
  'analytics/query',
  'auth/keys',
  'auth/keys/code',
  'guardrails',
  'workspaces',
  'workspaces/x/members/add',
  'organization/members',
  'observability/destinations',
  'byok',
  'scim/v2/Users',
  'files',
  'presets/x/chat/completions',
  'generation/content',
]

describe('a path of management', () => {
  test.each(MANAGEMENT)('%s is a 404, by whatever method and prefix', async (path) => {
    for (const prefix of ['/api/v1', '/v1']) {
      for (const init of [{}, POST, { ...POST, method: 'PATCH' }, { method: 'DELETE' }]) {
        const response = await gateway().send(`${prefix}/${path}`, init)
        expect(response.status).toBe(404)
        expect(await errorOf(response)).toMatchObject({
          code: 404,
          metadata: { source: 'switchyard', reason: 'not_found' },
        })
      }
    }
    await expectNothingUpstream()
  })

  test.each([
    '/api/v1/chat/../keys',
    '/api/v1/chat/%2e%2e/keys',
    '/api/v1/models/%2e%2e/keys',
    '/api/v1/models/..%2fkeys',
    '/api/v1/models/..%5ckeys',
    '/api/v1//keys',
    '/api/v1/keys/',
    '/api/v1/keys?x=chat/completions',
    '//api/v1/keys',
  ])('cannot be reached by way of %s', async (path) => {
    for (const init of [{}, POST]) {
      expect((await gateway().send(path, init)).status).toBe(404)
    }
    await expectNothingUpstream()
  })
})

describe('a path of inference', () => {
  test.each(PATHS)('%s answers to POST alone', async (path) => {
    for (const method of ['GET', 'PUT', 'PATCH', 'DELETE']) {
      const response = await gateway().send(`/api/v1${path}`, { method })
      expect(response.status).toBe(404)
      const { error, type } = JSON.parse(await response.text())
      expect(type).toBe(path.startsWith('/messages') ? 'error' : undefined)
      expect(error.metadata).toMatchObject({ source: 'switchyard', reason: 'not_found' })
    }
    await expectNothingUpstream()
  })
})

describe('a path that is not known', () => {
  const recorder = useRecorder()
  const open = useGateway(upstream, () => ({
    policy: { strategy: 'priority', extra_paths: ['videos'] },
    vars: { UPSTREAM_URL: recorder.url() },
  }))
  const inference = () => recorder.requests.filter(({ method }) => method === 'POST')

  test('is closed', async () => {
    expect((await gateway().send('/api/v1/videos', POST)).status).toBe(404)
    await expectNothingUpstream()
  })

  test.each(['/api/v1/videos', '/v1/videos'])(
    'is open as %s once the operator says so',
    async (path) => {
      const response = await open().send(path, POST)
      expect(response.status).toBe(200)
      expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
      expect(await response.text()).toContain('gen-1')
      expect(inference().map(({ url }) => url)).toEqual(['/api/v1/videos'])
      expect(inference()[0]?.headers.authorization).toBe(`Bearer ${secretOf('alpha')}`)
    },
  )

  test('opens with itself nothing beside or below it, and nobody without a client key', async () => {
    for (const closed of ['videos/job-1', 'videos/models', 'videosx', 'videos/', 'VIDEOS']) {
      expect((await open().send(`/api/v1/${closed}`, POST)).status).toBe(404)
    }
    expect((await open().send('/api/v1/videos')).status).toBe(404)
    expect((await fetch(`${open().origin}/api/v1/videos`, POST)).status).toBe(401)
    expect(inference()).toEqual([])
  })
})
