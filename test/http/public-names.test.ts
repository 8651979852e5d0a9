import { afterEach, expect, it, vi } from 'vitest'
import { REASONS } from '../../src/balancing/reasons.ts'
import { GATEWAY_ERRORS } from '../../src/gateway/answers/gateway-error.ts'
import * as names from '../wire-names.ts'
import { ANSWER, chat, gatewayInFrontOf, json } from './gateway-driver.ts'

// Names that programs of other people read: in log lines, headers and errors.

afterEach(() => void vi.restoreAllMocks())

const ALIASED = { POLICY: { aliases: { 'task:chat': 'vendor/model' } } }

it('a log line and the headers of an answer keep their names', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined)
  const { send } = gatewayInFrontOf(() => new Response(ANSWER, json({}, {})))
  const body = JSON.stringify({ model: 'task:chat', messages: [] })
  const response = await send('/v1/chat/completions', chat({ body }), ALIASED)
  expect(response.status).toBe(200)
  const [line] = log.mock.calls.map(([text]) => JSON.parse(text))
  // `degraded` stands in a line only while the pool can't be reached.
  expect(Object.keys({ ...line, degraded: '' }).toSorted()).toEqual(names.LOG_LINE)
  expect(Object.keys(line.attempts[0]).toSorted()).toEqual(names.LOG_ATTEMPT)
  expect(Object.keys(line.timings_ms).toSorted()).toEqual(names.LOG_TIMINGS)
  expect(Object.keys(line.usage).toSorted()).toEqual(names.USAGE)
  const added = [...response.headers.keys()].filter((name) => /^(x-|server-)/.test(name))
  expect([...added, 'x-switchyard-degraded'].toSorted()).toEqual(names.HEADER_NAMES)
})

it('reasons keep their names and their order', () => {
  expect(REASONS).toEqual(names.REASON_NAMES)
})

it('the gateway’s own errors keep their names', () => {
  expect(Object.keys(GATEWAY_ERRORS)).toEqual(names.ERROR_NAMES)
})
