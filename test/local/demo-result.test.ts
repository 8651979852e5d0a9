import { describe, expect, it } from 'vitest'
import type { LogEntry } from '../simulator/journal.ts'
import type { Sent } from './demo-request.ts'
import { demoResult } from './demo-result.ts'

const KEYS = [
  { name: 'alpha', accountId: 'acme' },
  { name: 'beta', accountId: 'acme' },
]

const sent = (number: number, fields: Partial<Sent> = {}): Sent => ({
  number,
  streamed: true,
  outcome: 'answered',
  failure: null,
  key: 'beta',
  attempts: 1,
  requestId: `request-${number}`,
  degraded: false,
  acquireMs: number,
  ...fields,
})

let seq = 0
const received = (number: number, fields: Partial<LogEntry> = {}): LogEntry => ({
  seq: ++seq,
  at: '2026-01-01T00:00:00.000Z',
  endedAt: '2026-01-01T00:00:01.000Z',
  method: 'POST',
  path: '/chat/completions',
  key: 'beta',
  account: 'acme',
  model: 'm',
  stream: true,
  status: 200,
  outcome: 'completed',
  error: null,
  fault: null,
  costUsd: 0,
  headers: { 'x-title': `demo-${number}` },
  body: { sha256: '', bytes: 0, text: null },
  ...fields,
})

const resultOf = (requests: Sent[], log: LogEntry[], gatewayLog: string | null = null) =>
  demoResult({ sent: requests, durationMs: 1000, keys: KEYS, log, gatewayLog })

describe('demoResult', () => {
  it('finds nothing wrong with a failed attempt that the client did not notice', () => {
    const refused = { key: 'alpha', status: 401, outcome: 'failed', error: '401' } as const
    const line = JSON.stringify({
      message: 'request',
      request_id: 'request-1',
      attempts: [
        { key: 'alpha', row: '4', fault: 'key' },
        { key: 'beta', row: null, fault: null },
      ],
    })
    const log = [received(1, refused), received(1), received(2), received(3)]
    const requests = [sent(1, { attempts: 2 }), sent(2), sent(3)]
    const result = resultOf(requests, log, `[wrangler:info] Ready\n${line}\n`)
    expect(result).toMatchObject({ answered: 3, attempts: 4, rescued: 1, failures: [] })
    expect(result.surprises).toEqual([])
    expect(result.keys).toEqual([
      {
        key: 'alpha',
        account: 'acme',
        served: 0,
        refusals: [{ error: '401', status: 401, times: 1, blamed: 'key (row 4)' }],
        passedOver: 3,
      },
      { key: 'beta', account: 'acme', served: 3, refusals: [], passedOver: 0 },
    ])
  })

  it('calls a stream that was cut after its first output unavoidable', () => {
    const cut = { outcome: 'failed', error: 'cut-mid-stream', fault: 'cut-mid-stream' } as const
    const request = sent(1, { outcome: 'failed_after_output', failure: 'upstream_unreachable' })
    const result = resultOf([request], [received(1, cut)])
    expect(result.failures).toEqual([
      { number: 1, reason: 'upstream_unreachable', unavoidable: true },
    ])
    expect(result.surprises).toEqual([])
  })

  it('is surprised by any other failure, even after output', () => {
    const early = sent(1, { outcome: 'failed_before_output', failure: '502 keys_exhausted' })
    const late = sent(2, { outcome: 'failed_after_output', failure: 'upstream_timeout' })
    const result = resultOf([early, late], [received(1), received(2)])
    expect(result.surprises).toEqual([
      'request 1 failed: 502 keys_exhausted',
      'request 2 failed: upstream_timeout',
    ])
  })

  it('is surprised where headers and upstream disagree', () => {
    const result = resultOf([sent(1, { key: 'alpha', degraded: true })], [received(1), received(1)])
    expect(result.surprises).toEqual([
      'request 1: the header says 1 attempts, upstream saw 2',
      'request 1: the header says key alpha, upstream saw beta',
      'request 1: the pool could not be reached',
    ])
  })

  it('gives percentiles that were measured', () => {
    const requests = Array.from({ length: 20 }, (_, i) => sent(i + 1))
    const result = resultOf(
      requests,
      requests.map(({ number }) => received(number)),
    )
    expect(result.acquireMs).toEqual({ p50: 10, p95: 19 })
  })

  it('is surprised by a warning of Wrangler’s, such as that it fires no cron trigger', () => {
    const log =
      '▲ [WARNING] Scheduled Workers are not automatically triggered\n{"message":"request"}\n'
    expect(resultOf([sent(1)], [received(1)], log).surprises).toEqual([
      'Wrangler warns: ▲ [WARNING] Scheduled Workers are not automatically triggered',
    ])
  })
})
