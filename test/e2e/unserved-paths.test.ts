// A key of the pool never reaches a path that is not inference.

import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundleForDeployment, readDeployment } from '../bench/processes/deployment.ts'
import { createRunScope } from '../bench/processes/run-scope.ts'
import { startGateway as startBuiltGateway, type Target } from '../bench/processes/targets.ts'
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

describe('files and batches', () => {
  test.each([...['files', 'files/file-1', 'files/file-1/content', 'batches', 'batches/batch_1']])(
    'are the gateway’s own, and %s says that they are off',
    async (path) => {
      const response = await gateway().send(`/api/v1/${path}`)
      expect(response.status).toBe(404)
      expect(await errorOf(response)).toMatchObject({ metadata: { reason: 'batches_off' } })
      await expectNothingUpstream()
    },
  )
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

/**
 * `fetch` and Wrangler's proxy normalise a path before the gateway sees it, and a socket does not. So
 * these requests go to the built Worker in workerd alone, and its upstream records raw paths.
 */
describe('a path that a socket sends as it is', () => {
  const scope = createRunScope(300_000)
  const reached: string[] = []
  let server: Server | null = null
  let target: Target | null = null

  beforeAll(async () => {
    const listening = createServer((request, response) => {
      reached.push(request.url ?? '')
      response.setHeader('content-type', 'application/json').end('{"data":[]}')
    })
    server = listening
    await new Promise<void>((resolve) => void listening.listen(0, '127.0.0.1', resolve))
    const { port } = listening.address() as AddressInfo
    const [deployment, { source }] = await Promise.all([
      readDeployment(scope),
      bundleForDeployment(scope),
    ])
    const options = { name: 'gateway', source }
    target = await startBuiltGateway(scope, deployment, { port }, options)
  }, 120_000)
  afterAll(async () => {
    await target?.stop()
    server?.close()
  })

  /** Sends one request line as it is. Resolves to the status, or to 0 if there is no answer. */
  async function raw(method: string, path: string, headers = ''): Promise<number> {
    const { host, port } = target ?? { host: '', port: 0 }
    return await new Promise((resolve) => {
      let text = ''
      const socket = connect(port, host, () => {
        socket.write(
          `${method} ${path} HTTP/1.1\r\nhost: gateway\r\n${headers}connection: close\r\n\r\n`,
        )
      })
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
      })
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)))
    })
  }

  const OPEN =
    /^\/api\/v1\/(?:models(?:\/[\w~:@+-][\w.~:@+-]*)*|providers|embeddings\/models|endpoints\/zdr)(?:\?.*)?$/
  const isOpen = (url: string) => OPEN.test(url) && !/models\/user/.test(url)

  const DOTS = [
    ...['..', '%2e%2e', '.%2E', '%252e%252e', '%25252e%25252e', '..;', '..;x=1', '..%00', '..%09'],
    ...['%c0%ae%c0%ae', '%u002e%u002e', '\uff0e\uff0e', '....', '. .', '..%20', '.'],
  ]
  const SLASHES = ['/', '\\', '%2f', '%5C', '%252f', '%255c', '//', '/./', ';/', '/%00/', '\\/']
  const PLACES = ['/api/v1/models', '/v1/models/x', '/api/v1/providers', '/api/v1/chat/completions']
  const PATHS_OF_TRICKS = PLACES.flatMap((place) =>
    SLASHES.flatMap((slash) => DOTS.map((dots) => `${place}${slash}${dots}${slash}keys`)),
  )
  const ODD = [
    ...[
      '/api/v1/models/../keys',
      '/api/v1/models/x/../../credits',
      '/v1/models/x/y/../../../auth/keys',
    ],
    ...[
      '/api/v1/models?/../keys',
      '/api/v1/models#/../keys',
      '/api/v1/keys?x=/models',
      '/?/api/v1/keys',
    ],
    ...['/api/v1/models/..', '/api/v1/models/.', '/api/v1/models/', '/api/v1/models%2f..%2fkeys'],
    ...[
      '/api/v1/models/user',
      '/api/v1/models/%75ser',
      '/api/v1/models/./user',
      '/api/v1/models//user',
    ],
    ...[
      '/api/v1/models/x/../user',
      '/api/v1/models/USER/',
      '/v1/models/user%2f',
      '/v1/models/user;a=b',
    ],
    ...[
      '//api/v1/keys',
      '/\\api/v1/keys',
      '\\api\\v1\\keys',
      '/API/V1/keys',
      '/api/v1/KEYS',
      '/v%31/keys',
    ],
    ...[
      'http://gateway/api/v1/keys',
      'http://gateway/api/v1/models/../keys',
      'HTTP://EVIL/v1/keys',
    ],
    ...[
      'http://127.0.0.1/api/v1/models/%2e%2e/credits',
      'https://gateway:1/v1/keys',
      '//evil/v1/models/../keys',
    ],
    ...[
      '*',
      'gateway:80',
      'file:///etc/passwd',
      'api/v1/keys',
      '/api/v1/models/%',
      '/api/v1/models/%zz/../keys',
    ],
    ...[
      '/api/v1/models/@evil/../../keys',
      '/api/v1/models/x%0d%0ahost:evil/keys',
      '/api/v1/models/%ff/keys',
    ],
  ]
  const METHODS = [
    'OPTIONS',
    'TRACE',
    'CONNECT',
    'PROPFIND',
    'PUT',
    'PATCH',
    'DELETE',
    'get',
    'FOO',
  ]

  /** What reached upstream by these requests, and is not open. A few requests go at a time. */
  async function leaked(requests: readonly (readonly [method: string, path: string])[]) {
    reached.length = 0
    const left = requests.values()
    const takeTurns = async () => {
      for (const [method, path] of left) {
        await raw(method, path, method === 'POST' ? 'content-length: 0\r\n' : '')
      }
    }
    await Promise.all(Array.from({ length: 8 }, takeTurns))
    return reached.filter((url) => !isOpen(url))
  }

  test('reaches nothing but public lists, whatever tricks are in it', async () => {
    const gets = [...PATHS_OF_TRICKS, ...ODD].map((path) => ['GET', path] as const)
    const posts = [...PATHS_OF_TRICKS.filter((path) => path.includes('chat')), ...ODD]
    const requests = [...gets, ...posts.map((path) => ['POST', path] as const)]
    expect(await leaked(requests)).toEqual([])
  })

  test('reaches nothing by an odd method', async () => {
    const paths = [
      '/api/v1/keys',
      '/api/v1/models/../keys',
      '/api/v1/models',
      '/v1/chat/completions',
    ]
    const requests = METHODS.flatMap((method) => paths.map((path) => [method, path] as const))
    expect(await leaked(requests)).toEqual([])
    expect(await leaked([...ODD].map((path) => ['HEAD', path] as const))).toEqual([])
  })

  test.each([
    [
      '/api/v1/models/vendor/model-1.5:free/endpoints',
      '/api/v1/models/vendor/model-1.5:free/endpoints',
    ],
    ['/v1/models/vendor%2Fmodel%3Afree/endpoints', '/api/v1/models/vendor/model:free/endpoints'],
    ['/v1/x/../models/count', '/api/v1/models/count'],
    ['http://other.example/api/v1/models/count2', '/api/v1/models/count2'],
  ])('as %s is the list that it names', async (path, upstreamPath) => {
    reached.length = 0
    expect(await raw('GET', path)).toBe(200)
    expect(reached).toEqual([upstreamPath])
    expect(await raw('HEAD', path)).toBe(200)
  })
})
