/**
 * The table of faults: what an upstream does wrong, and what the client sees, how often upstream was
 * called and what is left on the key then. `faults.test.ts` holds the built Worker to it, in every API
 * shape, and `docs/faults.md` is made from it.
 */
export interface FaultRow {
  readonly fault: string
  /** In words, for the document. */
  readonly what: string
  readonly inject: Injection
  readonly expected: Expected
  /** Where answers come whole, if it is another. */
  readonly whole?: Expected
  /** In Responses, if it is another: its errors in a 200 name no provider and no reset. */
  readonly responses?: Expected
  /** Whether it can be told only where answers are streamed, or whole. */
  readonly only?: 'whole' | 'streamed'
}

export type Injection =
  /** A fault of the simulator, for the first key. */
  | { readonly by: 'simulator'; readonly name: string; readonly params?: object }
  /** Bytes of our own in place of an answer, for the first key. */
  | { readonly by: 'bytes'; readonly name: string }

export interface Expected {
  readonly client: string
  /** Upstream calls, the good ones too. */
  readonly calls: number
  /** On the first key. */
  readonly left: string
}

/** The second key answers. */
const HIDDEN = { client: 'good answer', calls: 2 } as const
const hidden = (left: string): Expected => ({ ...HIDDEN, left })
/** A failure in the key's window. */
const FAILURE = hidden('failure')
/** Nothing but the count of an attempt that is ignored. */
const IGNORED = hidden('nothing')
/** The fault is none: the first key's answer is good. */
const GOOD: Expected = { client: 'good answer', calls: 1, left: 'success' }
/** The caller gets upstream's own error. */
const passedOn = (status: number): Expected => ({
  client: `upstream’s ${status}`,
  calls: 1,
  left: 'nothing',
})

const simulated = (name: string, params?: object): Injection =>
  params === undefined ? { by: 'simulator', name } : { by: 'simulator', name, params }
const bytes = (name: string): Injection => ({ by: 'bytes', name })

const row = (
  fault: string,
  what: string,
  inject: Injection,
  expected: Expected,
  more: Pick<FaultRow, 'whole' | 'responses' | 'only'> = {},
): FaultRow => ({ fault, what, inject, expected, ...more })

/** A whole answer may take its time: after the headers only `total_ms` ends it, at nobody's cost. */
const SILENT = { whole: { client: '504 upstream_timeout', calls: 1, left: 'nothing' } } as const

/** Faults of the connection and of the form, before the first output. */
const CONNECTION: readonly FaultRow[] = [
  row('refused', 'Nobody listens, so one call arrives.', bytes('refused'), {
    ...FAILURE,
    calls: 1,
  }),
  row('reset', 'The connection is reset before the headers.', bytes('reset'), FAILURE),
  row('closed', 'The connection ends before the headers.', bytes('closed'), FAILURE),
  row('no HTTP', 'What comes is no HTTP.', bytes('no-http'), FAILURE),
  row('hang', 'No headers come in `headers_ms`.', simulated('hang'), FAILURE),
  row(
    'silence',
    'Headers come, and then nothing.',
    simulated('hang-after-headers'),
    FAILURE,
    SILENT,
  ),
  row('comments', 'Only comments come.', simulated('comments-then-hang'), FAILURE, SILENT),
  row('cut', 'The body breaks off before output.', simulated('cut-before-output'), FAILURE),
  row('reset in body', 'The connection is reset in the body.', bytes('reset-in-body'), FAILURE),
  row('empty', 'A 200 with an empty body.', bytes('empty'), FAILURE),
  row('garbage', 'A 200 whose body is noise.', bytes('garbage'), FAILURE),
  row('half a character', 'A body that ends in a character.', bytes('half-character'), FAILURE),
  row('half of JSON', 'A body that ends in its JSON.', simulated('garbage-json-200'), FAILURE),
  row('page', 'A 200 with an HTML page.', simulated('html-200'), FAILURE),
  row('redirect', 'A redirect. It is not followed.', simulated('redirect'), FAILURE),
  row('short of its length', 'Less than `content-length`.', bytes('short'), FAILURE),
  row('broken gzip', '`gzip` that is none.', bytes('broken-gzip'), FAILURE),
]

/** What looks like a fault and is an answer. */
const ODD: readonly FaultRow[] = [
  row('gzip', 'A good answer in gzip.', bytes('gzip'), GOOD),
  row('pieces', 'A good answer in pieces of seven bytes.', bytes('pieces'), GOOD),
  row('10 MB', 'An event, or an answer, of 10 MB.', bytes('large'), GOOD),
  row('no blank line', 'No blank line after the last event.', bytes('no-blank-line'), GOOD, {
    only: 'streamed',
  }),
]

/** One for each row of the table of blame, as an HTTP status. */
const STATUSES: readonly FaultRow[] = [
  row('page of the edge', 'Row 1: 403 with HTML.', simulated('html-403'), FAILURE),
  row('edge’s limit', 'Row 1: 429 with HTML.', simulated('html-429'), FAILURE),
  row('edge is down', 'Row 1: 503 with HTML.', simulated('html-503'), FAILURE),
  row('empty 502', 'Row 1: 502 without a body.', simulated('empty-502'), FAILURE),
  row(
    'byok',
    'Row 2: the account’s own provider key.',
    simulated('byok-429'),
    hidden('provider_key_failed'),
  ),
  row('provider', 'Row 3: a provider’s 502.', simulated('provider-502'), IGNORED),
  row('provider’s limit', 'Row 3: a provider’s 429.', simulated('provider-429'), IGNORED),
  row('401', 'Row 4: the key is refused.', simulated('401'), hidden('key_suspected')),
  row('key spent', 'Row 5: the key’s limit.', simulated('key-limit'), hidden('key_spent')),
  row(
    'key × size',
    'Row 6: too large for the key.',
    simulated('key-tokens-402'),
    hidden('too_large_for_key'),
  ),
  row(
    'in flight',
    'Row 7: running requests hold the credit.',
    simulated('in-flight-402'),
    hidden('account_rate_limited'),
  ),
  row(
    'account × size',
    'Row 8: too large for the account.',
    simulated('afford-402'),
    hidden('too_large_for_account'),
  ),
  row(
    'no credit',
    'Row 9: the account has none.',
    simulated('credits-402'),
    hidden('account_out_of_credit'),
  ),
  row('free tier', 'Row 10: no free requests left.', simulated('free-day-429'), {
    ...passedOn(429),
    left: 'free_tier_spent',
  }),
  row(
    'new account',
    'Row 11: the limit of a new account.',
    simulated('new-account-429'),
    hidden('account_rate_limited'),
  ),
  row(
    '429',
    'Row 12: a limit of nobody’s.',
    simulated('plain-429', { retryAfter: 600 }),
    hidden('key_rate_limited'),
  ),
  row(
    'data policy',
    'Row 13: a policy of the account.',
    simulated('data-policy-404'),
    passedOn(404),
  ),
  row('guardrail', 'Row 13: a guardrail.', simulated('guardrail-404'), passedOn(404)),
  row(
    'budget',
    'Row 13b: a workspace’s budget.',
    simulated('workspace-budget-403'),
    hidden('budget_layer_spent'),
  ),
  row('moderation', 'Row 14: the content.', simulated('moderation-403'), passedOn(403)),
  row('region', 'Row 14: the region.', simulated('region-403'), passedOn(403)),
  ...[400, 405, 409, 410, 412, 413, 415, 422].map((status) =>
    row(
      `${status}`,
      `Row 15: ${status}, the caller’s mistake.`,
      simulated(`${status}`),
      passedOn(status),
    ),
  ),
  row('unknown model', 'Row 15: 404 of the model.', simulated('model-404'), passedOn(404)),
  row('provider’s 400', 'Row 3: a provider’s 400.', simulated('provider-400'), IGNORED),
  ...[408, 524, 529].map((status) =>
    row(`${status}`, `Row 16: ${status}, the model is down.`, simulated(`${status}`), FAILURE),
  ),
  row('502', 'Row 16: 502, the model is down.', simulated('plain-502'), FAILURE),
  row('503', 'Row 16: 503, the model is down.', simulated('plain-503'), FAILURE),
  row('500', 'Row 16b: any other 5xx.', simulated('plain-500'), FAILURE),
]

/** The 200 has come, and so has the error in it. */
const INSIDE: Expected = { client: 'upstream’s error event', calls: 1, left: 'nothing' }
const INSIDE_WHOLE = { whole: { ...INSIDE, client: 'upstream’s 200 with the error' } } as const

const within = (code: number, message: string, metadata?: object): Injection =>
  simulated('error-in-200', { code, message, ...(metadata === undefined ? {} : { metadata }) })

/** The same errors inside of a 200: in the body, or as the first event. */
const IN_200: readonly FaultRow[] = [
  row('502 in a 200', 'Row 16, in a 200.', within(502, 'Bad gateway'), FAILURE),
  row('500 in a 200', 'Row 16b, in a 200.', within(500, 'Internal Server Error'), FAILURE),
  row('provider in a 200', 'Row 3, in a 200.', simulated('error-in-200'), IGNORED, {
    responses: FAILURE,
  }),
  row('401 in a 200', 'Row 4, in a 200.', within(401, 'User not found.'), hidden('key_suspected')),
  row(
    '403 in a 200',
    'Row 5, in a 200.',
    within(403, 'Key limit exceeded (total limit).'),
    hidden('key_spent'),
  ),
  row(
    '402 in a 200',
    'Row 9, in a 200.',
    within(402, 'Insufficient credits'),
    hidden('account_out_of_credit'),
  ),
  row(
    '429 in a 200',
    'Row 12, in a 200.',
    within(429, 'Rate limit exceeded', { headers: { 'Retry-After': '600' } }),
    hidden('key_rate_limited'),
    { responses: FAILURE },
  ),
  row(
    'moderation in a 200',
    'Row 14, in a 200.',
    within(403, 'Flagged', { reasons: ['violence'] }),
    INSIDE,
    INSIDE_WHOLE,
  ),
  row(
    '400 in a 200',
    'Row 15, in a 200.',
    within(400, 'Invalid request parameters'),
    INSIDE,
    INSIDE_WHOLE,
  ),
]

export const BEFORE_OUTPUT: readonly FaultRow[] = [...CONNECTION, ...ODD, ...STATUSES, ...IN_200]

const ended = (reason: string): Expected => ({
  client: `output, then an error event: ${reason}`,
  calls: 1,
  left: 'failure',
})
const BROKEN = ended('upstream_unreachable')
const OWN_EVENT: Expected = {
  client: 'output, then upstream’s error event',
  calls: 1,
  left: 'nothing',
}

/** Faults after the first output has gone to the client. Nothing is tried again. */
export const AFTER_OUTPUT: readonly FaultRow[] = [
  row('cut', 'The body breaks off.', simulated('cut-mid-stream'), BROKEN),
  row('reset', 'The connection is reset.', bytes('output-reset'), BROKEN),
  row('end', 'The stream ends without its end.', simulated('end-without-done'), BROKEN),
  row('half a character', 'It ends in a character.', bytes('output-half-character'), BROKEN),
  row('silence', 'Nothing comes in `idle_ms`.', simulated('stall'), ended('upstream_timeout')),
  row('error event', 'An error of a provider.', simulated('error-mid-stream'), OWN_EVENT, {
    responses: { ...OWN_EVENT, left: 'failure' },
  }),
  row('older error event', 'The older form of it.', simulated('error-mid-stream-old'), OWN_EVENT),
]
