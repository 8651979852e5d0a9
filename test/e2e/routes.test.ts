import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  errorOf,
  journeyOf,
  MESSAGES,
  MODEL,
  sendMany,
  servedBy,
  startGateway,
  startGatewayWithClock,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

const FALLBACK = 'anthropic/claude-sonnet-4.5'

async function bodiesSent(): Promise<unknown[]> {
  const log = await upstream.control.log()
  return log
    .filter(({ path }) => path === '/chat/completions')
    .map(({ body }) => JSON.parse(body.text ?? ''))
}

describe('a model whose provider fails', () => {
  const withFallback = {
    strategy: 'priority',
    routes: [{ models: ['openai/*'], fallback_models: [FALLBACK] }],
  }

  test('is benched, its fallback answers, and traffic returns when it recovers', async () => {
    const rule = await upstream.control.rule({
      fault: 'provider-502',
      match: { model: MODEL },
    })
    const { gateway, pass } = await startGatewayWithClock(upstream, { policy: withFallback })
    const first = await gateway.chat({})
    expect(first.status).toBe(200)
    expect(first.headers.get('x-switchyard-model')).toBe(FALLBACK)
    expect(journeyOf(first).attempts).toBe(3)
    const { benchedModels } = await gateway.settledPool()
    expect(benchedModels.map(({ model }) => model)).toEqual([MODEL])
    // The key is not tried while it is benched.
    const second = await gateway.chat({})
    expect(journeyOf(second).attempts).toBe(1)
    expect(second.headers.get('x-switchyard-model')).toBe(FALLBACK)
    await upstream.control.deleteRule(rule)
    // Fifteen seconds, with some chance in them.
    await pass(25_000)
    const back = await gateway.chat({})
    expect(back.headers.get('x-switchyard-model')).toBe(null)
    expect(journeyOf(back).attempts).toBe(1)
    expect((await gateway.pool()).keys.map(({ breaker }) => breaker)).toEqual([
      'closed',
      'closed',
      'closed',
    ])
  })

  test('fails as before where no fallback is configured', async () => {
    await upstream.control.rule({ fault: 'provider-502', match: { model: MODEL } })
    const gateway = await startGateway(upstream)
    const response = await gateway.chat({})
    expect(response.status).toBe(502)
    expect((await errorOf(response)).metadata.provider_name).toEqual(expect.any(String))
    expect(response.headers.get('x-switchyard-model')).toBeNull()
  })

  test('is replaced in streams, too, before anybody has seen anything of them', async () => {
    await upstream.control.rule({ fault: 'error-first-event', match: { model: MODEL } })
    const gateway = await startGateway(upstream, { policy: withFallback })
    const response = await gateway.chat({ stream: true })
    expect(response.headers.get('x-switchyard-model')).toBe(FALLBACK)
    expect(await response.text()).toContain('[DONE]')
  })
})

describe('a free model at its account’s limit', () => {
  const free = { model: 'meta-llama/llama-3.3-70b-instruct:free' }
  const limit = { fault: 'free-day-429', match: { key: 'alpha', model: free.model } }

  test('is not asked of another account', async () => {
    await upstream.control.rule(limit)
    const gateway = await startGateway(upstream)
    const response = await gateway.chat(free)
    expect(response.status).toBe(429)
    expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
    const { perKey } = await upstream.control.stats()
    expect([perKey.gamma?.requests, perKey.delta?.requests]).toEqual([0, 0])
  })

  test('is, where the operator allows it', async () => {
    await upstream.control.rule(limit)
    const gateway = await startGateway(upstream, {
      policy: { strategy: 'priority', spill_free_tier: true },
    })
    expect(journeyOf(await gateway.chat(free))).toEqual({ key: 'gamma', attempts: 2 })
  })

  test('gives way to a fallback', async () => {
    await upstream.control.rule(limit)
    const gateway = await startGateway(upstream, {
      policy: { strategy: 'priority', routes: [{ models: ['*'], fallback_models: [MODEL] }] },
    })
    const response = await gateway.chat(free)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-switchyard-model')).toBe(MODEL)
  })
})

describe('an alias', () => {
  test('is sent as its model, and not another byte of a body of 2 MB changes', async () => {
    const gateway = await startGateway(upstream, {
      policy: { aliases: { 'task:code': MODEL } },
    })
    const filler = '  Grüße 🎉 \\u00e9 '.repeat(120_000)
    const body = (model: string) =>
      `{ "messages" : [{"role":"user",\n"content":"${filler}"}] , "temperature":1.0e0,\t"model" :\r\n ${model} ,"max_tokens": 5, "x":{"model":"task:code"} }`
    const sent = body('"task:code"')
    expect(sent.length).toBeGreaterThan(2_000_000)
    const response = await gateway.send('/api/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: sent,
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-switchyard-model')).toBe(MODEL)
    const log = await upstream.control.log()
    const bytes = new TextEncoder().encode(body(JSON.stringify(MODEL)))
    const digest = createHash('sha256').update(bytes).digest('hex')
    const [entry] = log.filter(({ path }) => path === '/chat/completions')
    expect([entry?.body.bytes, entry?.body.sha256]).toEqual([bytes.length, digest])
  })

  test('that is none gets an error that says so', async () => {
    const gateway = await startGateway(upstream, { policy: { aliases: { 'task:code': MODEL } } })
    const response = await gateway.chat({ model: 'task:cdoe' })
    expect(response.status).toBe(400)
    expect((await errorOf(response)).metadata.reason).toBe('invalid_request')
    expect(await bodiesSent()).toEqual([])
  })
})

describe('a route', () => {
  test('sends its models to the keys that it names and to no other', async () => {
    const gateway = await startGateway(upstream, {
      keys: [{ name: 'alpha', tags: ['small'] }, 'gamma', 'delta'],
      policy: {
        strategy: 'round-robin',
        routes: [
          { models: ['openai/*'], keys: ['tag:small'] },
          { models: ['anthropic/*'], keys: ['account:globex', 'delta'], strategy: 'priority' },
        ],
      },
    })
    expect(servedBy(await sendMany(9, 3, () => gateway.chat({})))).toEqual({ alpha: 9 })
    const others = await sendMany(9, 3, () => gateway.chat({ model: FALLBACK }))
    expect(servedBy(others)).toEqual({ gamma: 9 })
    const any = await sendMany(9, 1, () => gateway.chat({ model: 'deepseek/deepseek-r1' }))
    expect(Object.keys(servedBy(any)).toSorted()).toEqual(['alpha', 'delta', 'gamma'])
  })

  test('whose keys are all gone says so', async () => {
    const gateway = await startGateway(upstream, {
      keys: [{ name: 'alpha', disabled: true }, 'gamma'],
      policy: { routes: [{ models: ['openai/*'], keys: ['alpha'] }] },
    })
    const response = await gateway.chat({})
    expect(response.status).toBe(503)
    expect((await errorOf(response)).metadata.reasons).toEqual({ not_in_route: 1, disabled: 1 })
  })
})

test('what a caller says of models and providers goes through untouched', async () => {
  const gateway = await startGateway(upstream, {
    policy: { routes: [{ models: ['*'], fallback_models: [FALLBACK] }] },
  })
  const own = {
    model: MODEL,
    messages: MESSAGES,
    models: [MODEL, 'deepseek/deepseek-r1'],
    route: 'fallback',
    provider: { sort: 'throughput', order: ['Azure'] },
  }
  expect((await gateway.chat(own)).status).toBe(200)
  expect(await bodiesSent()).toEqual([own])
})
