import { env } from 'cloudflare:workers'
import { describe, expect, it, vi } from 'vitest'
import type { Ports } from '../../src/gateway/ports.ts'
import { carryOutDuties } from '../../src/http/duties-at-rest.ts'
import type { ExchangeRequest } from '../../src/key-pool/protocol.ts'
import * as names from '../wire-names.ts'

const KEYS = Array.from({ length: 30 }, (_, i) => ({ id: `k${i}`, key: `sk-or-v1-test-${i}` }))

const MAX_SPEND = { usd: 1, period: 'day' }

interface Setting {
  readonly isPlaced?: boolean
  readonly withBalance?: boolean
  readonly withBudget?: boolean
  readonly duties?: (() => Promise<unknown>) | undefined
}

/** A deployment in whose pool the lookups of all keys are due. */
function deploymentOf(setting: Setting) {
  const { isPlaced = true, withBalance = false, withBudget = false, duties } = setting
  const keys = KEYS.map((key) => (withBudget ? { ...key, max_spend: MAX_SPEND } : key))
  const lookups = KEYS.map(({ id: keyId }) => ({ keyId, freshSinceMs: 0, withBalance }))
  const exchange = vi.fn(async (_: ExchangeRequest) => ({ version: 1, decisions: [], lookups: [] }))
  const object = { exchange, duties: vi.fn(duties ?? (async () => ({ version: 1, lookups }))) }
  const getByName = vi.fn(() => object)
  const get = vi.fn(async (name: string) => (name.includes('/') && isPlaced ? true : null))
  const put = vi.fn(async () => undefined)
  const open = { now: 0, most: 0 }
  const asked: string[] = []
  const ports: Ports = {
    async fetch(url, { headers }) {
      asked.push(`${new URL(url).pathname} ${new Headers(headers).get('authorization')}`)
      open.now += 1
      open.most = Math.max(open.most, open.now)
      await new Promise((resolve) => setTimeout(resolve, 1))
      open.now -= 1
      return Response.json({ data: { limit: null, limit_remaining: null, usage: 0 } })
    },
    nowMs: () => Date.now(),
    random: () => 0,
    timer(ms, callback) {
      const id = setTimeout(callback, ms)
      return () => clearTimeout(id)
    },
    uniqueId: () => crypto.randomUUID(),
  }
  const bindings = {
    ...env,
    OPENROUTER_KEYS: JSON.stringify(keys),
    KEY_POOL: { getByName },
    CREDIT: { get, put },
  } as unknown as Env
  return { run: () => carryOutDuties(bindings, ports), object, getByName, open, asked }
}

describe('the scheduled handler', () => {
  it('does nothing until a request has called the object', async () => {
    const { run, getByName, asked } = deploymentOf({ isPlaced: false })
    await run()
    expect(getByName).not.toHaveBeenCalled()
    expect(asked).toEqual([])
  })

  it('carries out what is due and reports it in one exchange, which takes no further duties', async () => {
    const { run, object, asked } = deploymentOf({})
    await run()
    expect(object.duties).toHaveBeenCalledWith({ max: 30, maxGenerations: 60, maxAlerts: 20 })
    expect(new Set(asked).size).toBe(30)
    expect(object.exchange).toHaveBeenCalledTimes(1)
    const [request] = object.exchange.mock.calls[0] ?? []
    expect(request?.lookups.map(({ keyId }) => keyId).toSorted()).toEqual(
      KEYS.map(({ id }) => id).toSorted(),
    )
    expect(request?.takesNoDuties).toBe(true)
    expect(Object.keys(request ?? {}).toSorted()).toEqual(names.REPORT_AT_REST)
  })

  it('asks what answers have cost, and reports it with the lookups', async () => {
    const generations = [
      { generationId: 'gen-1', keyId: 'k3' },
      { generationId: 'gen-2', keyId: 'gone' },
    ]
    const duties = async () => ({ version: 1, lookups: [], generations })
    const { run, object, asked } = deploymentOf({ duties })
    await run()
    expect(asked).toEqual(['/api/v1/generation Bearer sk-or-v1-test-3'])
    const [request] = object.exchange.mock.calls[0] ?? []
    expect(request?.reconciled).toEqual([
      { generationId: 'gen-1', kind: 'unknown' },
      { generationId: 'gen-2', kind: 'unknown' },
    ])
    expect(request?.takesNoDuties).toBe(true)
  })

  it('reads the prices, without a key, where money is counted, and nowhere else', async () => {
    const nothingDue = async () => ({ version: 1, lookups: [] })
    const prices = ['/api/v1/models null', '/api/v1/embeddings/models null']
    for (const [withBudget, expected] of [
      [true, prices],
      [false, []],
    ] as const) {
      const { run, asked } = deploymentOf({ withBudget, duties: nothingDue })
      await run()
      expect(asked).toEqual(expected)
    }
    const unplaced = deploymentOf({ withBudget: true, isPlaced: false })
    await unplaced.run()
    expect(unplaced.asked).toEqual([])
  })

  it.each([false, true])(
    'opens few connections at once, with a balance %s',
    async (withBalance) => {
      const { run, open } = deploymentOf({ withBalance })
      await run()
      expect(open.most).toBe(3)
    },
  )

  it.each([
    ['nothing is due', async () => ({ version: 1, lookups: [] })],
    [
      'the object is older and has no such method',
      () => Promise.reject(new TypeError('No method')),
    ],
  ])('reports nothing if %s', async (_, duties) => {
    const { run, object, asked } = deploymentOf({ duties })
    await run()
    expect(asked).toEqual([])
    expect(object.exchange).not.toHaveBeenCalled()
  })
})
