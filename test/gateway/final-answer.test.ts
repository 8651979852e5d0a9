import { describe, expect, it } from 'vitest'
import { accountId, keyId } from '../../src/balancing/ids.ts'
import type { Refusal } from '../../src/balancing/lease-request.ts'
import type { FailedAttempt } from '../../src/gateway/attempts/attempt-history.ts'
import { asEvent, finalAnswer } from '../../src/gateway/final-answer.ts'
import { blame } from '../../src/openrouter/failures/blame.ts'
import { readError, type UpstreamFailure } from '../../src/openrouter/failures/upstream-failure.ts'
import { chatCompletions } from '../../src/openrouter/shapes/chat-completions.ts'
import { errorsIn } from './stream-texts.ts'
import { bytesOf } from './upstream-script.ts'
import { START_MS } from './virtual-world.ts'

function failedBy(failure: UpstreamFailure, body: unknown = null): FailedAttempt {
  const replay =
    failure.kind === 'response'
      ? {
          status: failure.status,
          headers: failure.headers,
          body: bytesOf(typeof body === 'string' ? body : JSON.stringify(body)),
        }
      : null
  return {
    keyId: keyId('a'),
    accountId: accountId('acme'),
    failure,
    blame: blame(failure, { nowMs: START_MS, spill: { freeTier: false, policy: false } }),
    replay,
  }
}

function answered(status: number, message: string, metadata: object = {}): FailedAttempt {
  const body = { error: { code: status, message, metadata } }
  const error = readError(body, status)
  const headers = new Headers({ 'content-type': 'application/json' })
  return failedBy({ kind: 'response', status, headers, error }, body)
}

const KEY = answered(403, 'Key limit exceeded')
const ACCOUNT = answered(402, 'Insufficient credits')
const REJECTED = answered(401, 'User not found.')
const UPSTREAM = answered(503, 'Overloaded')
const PROVIDER = answered(502, 'Provider returned error', { provider_name: 'Vendor' })
const RATE_LIMIT = answered(429, 'Rate limit exceeded')
const CALLER = answered(400, 'Bad request')
const TOO_LARGE = failedBy(
  {
    kind: 'response',
    status: 413,
    headers: new Headers({ 'content-type': 'text/html' }),
    error: null,
  },
  { error: { message: 'Too large' } },
)
const EDGE = failedBy(
  { kind: 'response', status: 520, headers: new Headers(), error: null },
  '<html>',
)
const NETWORK = failedBy({ kind: 'network' })
const TRUNCATED = failedBy({ kind: 'truncated' })
const SLOW = failedBy({ kind: 'timeout', clock: 'headers' })
const LATE = failedBy({ kind: 'timeout', clock: 'total' })

function refusal(retryAtMs: number | null): Refusal {
  return { kind: 'refusal', cause: 'no_key', reasons: { key_spent: 2 }, retryAtMs }
}

/** A final answer as text: upstream's by status and message, the gateway's by status and reason. */
function wordOf(failures: readonly FailedAttempt[], given: Refusal | null = null): string {
  const answer = finalAnswer(failures, given, START_MS)
  if (answer.kind === 'ours') return `${answer.error.status} ${answer.error.reason}`
  const body: { error: { message: string } } = JSON.parse(
    new TextDecoder().decode(answer.replay.body),
  )
  return `${answer.replay.status} ${body.error.message}`
}

describe('the last word', () => {
  const table: readonly [name: string, failures: FailedAttempt[], answer: string][] = [
    ['a fault of the caller is passed on', [CALLER], '400 Bad request'],
    ['a fault of the provider is passed on', [PROVIDER], '502 Provider returned error'],
    ['a fault of upstream is passed on', [UPSTREAM], '503 Overloaded'],
    ['a rate limit of unknown making is passed on', [RATE_LIMIT], '429 Rate limit exceeded'],
    ['a page of the edge is not', [EDGE], '502 upstream_unreachable'],
    ['a page that says that the caller is at fault is', [TOO_LARGE], '413 Too large'],
    ['a broken connection has no words', [NETWORK], '502 upstream_unreachable'],
    ['nor has an answer that broke off', [TRUNCATED], '502 upstream_unreachable'],
    ['a clock that ran out is a timeout', [SLOW], '504 upstream_timeout'],
    ['and so is that of the whole request', [LATE], '504 upstream_timeout'],
    ["a key's own words are never passed on", [KEY], '502 keys_exhausted'],
    ['nor are those about a rejected key', [REJECTED], '502 keys_exhausted'],
    ["nor an account's", [ACCOUNT], '502 keys_exhausted'],
    ['nor those of several', [KEY, ACCOUNT, REJECTED], '502 keys_exhausted'],
    ['what tells the caller something goes first', [UPSTREAM, KEY, ACCOUNT], '503 Overloaded'],
    ['the last that tells something', [UPSTREAM, CALLER, KEY], '400 Bad request'],
    ['even if it has no words', [UPSTREAM, NETWORK], '502 upstream_unreachable'],
    ['even if it is our own clock', [KEY, LATE], '504 upstream_timeout'],
  ]
  for (const [name, failures, answer] of table) {
    it(name, () => {
      expect(wordOf(failures)).toBe(answer)
      // The pool's refusal of a further attempt does not change the answer.
      expect(wordOf(failures, refusal(START_MS + 5_000))).toBe(answer)
    })
  }

  it('is passed on to the byte', () => {
    expect(finalAnswer([CALLER], null, START_MS)).toEqual({
      kind: 'verbatim',
      replay: CALLER.replay,
    })
  })

  it('without any attempt says when to come back, where time will cure it', () => {
    const answer = finalAnswer([], refusal(START_MS + 5_500), START_MS)
    expect(answer).toMatchObject({
      error: {
        reason: 'no_key_available',
        status: 429,
        retryAfterMs: 5_500,
        metadata: { reasons: { key_spent: 2 } },
      },
    })
  })

  it('without any attempt is 503 where it will not', () => {
    const answer = finalAnswer([], refusal(null), START_MS)
    expect(answer).toMatchObject({ error: { reason: 'no_key_available', status: 503 } })
    expect(answer).toMatchObject({ error: { retryAfterMs: null } })
  })

  it('without any attempt and without a pool is 503', () => {
    expect(wordOf([])).toBe('503 pool_unavailable')
  })

  it('after keys that failed says when one will be free', () => {
    expect(finalAnswer([KEY, KEY], refusal(START_MS + 9_000), START_MS)).toMatchObject({
      error: { retryAfterMs: 9_000, metadata: { attempts: 2, reasons: { key_spent: 2 } } },
    })
  })

  it('after accounts that are limited says when the first of them is free again', () => {
    const limited = (seconds: number) =>
      answered(429, 'new-account-rpm/vendor', {
        headers: { 'X-RateLimit-Reset': String(START_MS + seconds * 1_000) },
      })
    const failures = [limited(50), limited(20), KEY]
    expect(finalAnswer(failures, null, START_MS)).toMatchObject({
      error: { reason: 'keys_exhausted', retryAfterMs: 20_000 },
    })
    // The pool's time, which covers the untried keys, takes precedence.
    expect(finalAnswer(failures, refusal(START_MS + 1_000), START_MS)).toMatchObject({
      error: { retryAfterMs: 1_000 },
    })
  })

  it('never counts a moment that has passed as a negative time', () => {
    const answer = finalAnswer([], refusal(START_MS - 1), START_MS)
    expect(answer).toMatchObject({ error: { retryAfterMs: 0 } })
  })
})

describe('an answer as an event', () => {
  const asText = (attempt: FailedAttempt): string => {
    if (attempt.replay === null) throw new Error('Nothing to say')
    return new TextDecoder().decode(asEvent(attempt.replay, chatCompletions))
  }

  it('says what the answer said', () => {
    const text = asText(answered(429, 'Busy', { provider_name: 'Vendor' }))
    expect(errorsIn(text)).toMatchObject([
      {
        error: { code: 429, message: 'Busy', metadata: { provider_name: 'Vendor' } },
        finish: 'error',
      },
    ])
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  it('says something even if the answer cannot be read', () => {
    expect(errorsIn(asText(EDGE))).toMatchObject([
      { error: { code: 502, metadata: { reason: 'upstream_unreachable' } } },
    ])
  })

  it('is what it was, if it was one', () => {
    const headers = new Headers({ 'content-type': 'text/event-stream; charset=utf-8' })
    const body = 'data: {"error":{"code":500}}\n\n'
    expect(asText(failedBy({ kind: 'response', status: 200, headers, error: null }, body))).toBe(
      body,
    )
  })
})
