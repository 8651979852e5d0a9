/**
 * Names that outlive a deployment. For some minutes after one, Workers of the new version talk to an
 * object of the old, and the other way round; stored rows are read by later versions, and log lines,
 * headers and reasons by programs of other people. So a rename in the code stops here: a name may be
 * added, and none may be changed.
 */

/** Fields of what a Worker sends to the pool's object. */
export const EXCHANGE_REQUEST = [
  ...['isolate', 'lookups', 'requests', 'settlements', 'version', 'wants'],
] as const

/** The one that reports duties carried out at rest says that it takes no others. */
export const REPORT_AT_REST = [
  'lookups',
  'settlements',
  'takesNoDuties',
  'version',
  'wants',
] as const

export const LEASE_REQUEST = [
  ...['affinity', 'asked', 'attempt', 'clientId', 'excludedAccounts', 'isolate', 'leaseId'],
  ...['leaseMs', 'models', 'size', 'tokens', 'triedKeys', 'waitMs'],
] as const

export const AFFINITY = ['id', 'kind'] as const

export const SETTLEMENT = [
  ...['affordableTokens', 'benches', 'fault', 'firstOutputMs', 'generationId', 'keyId', 'lease'],
  ...['leaseId', 'outcome', 'suspect', 'tooLargeFor', 'tookMs', 'usage'],
] as const

/** What a settlement repeats of its lease. */
export const LEASE_TERMS = ['clientId', 'grantedAtMs', 'model', 'size', 'tokens'] as const

export const USAGE = [
  ...['cachedTokens', 'completionTokens', 'costUsd', 'estimated', 'promptTokens'],
  'reasoningTokens',
] as const

export const BENCH_ORDER = ['detail', 'reason', 'scope', 'term'] as const

/** A key report; one of a key that was refused, and one of a lookup that failed, has fewer. */
export const KEY_REPORT = [
  ...['askedAtMs', 'balanceUsd', 'creator', 'expiresAtMs', 'fingerprint', 'freeRemaining'],
  ...['keyId', 'kind', 'layer', 'limitUsd', 'owner', 'remainingUsd', 'resetsAtMs', 'usageDailyUsd'],
  'workspace',
] as const

/** Fields of what the object answers. */
export const EXCHANGE_REPLY = [
  ...(['clientsVersion', 'decisions', 'lookups', 'usableKeys', 'version', 'waiting'] as const),
] as const

export const HEALTH_REPLY = ['usableKeys', 'version'] as const

export const DUTIES_REQUEST = ['max', 'maxGenerations'] as const

export const DUTIES_REPLY = ['lookups', 'version'] as const

export const GRANT = ['accountId', 'grantedAtMs', 'keyId', 'kind', 'leaseId', 'model'] as const

export const REFUSAL = ['cause', 'kind', 'reasons', 'retryAtMs'] as const

export const WAITING = ['kind', 'leaseId'] as const

export const AWAIT_REPLY = ['decision', 'version'] as const

export const LOOKUP_DUTY = ['freshSinceMs', 'keyId', 'withBalance'] as const

/** Methods of the object. */
export const OBJECT_METHODS = [
  ...['alerts', 'audit', 'clientDirectory', 'control', 'duties'],
  ...['epochs', 'exchange', 'explain', 'health', 'history'],
  ...['keyForGeneration', 'manageClients', 'noteBatch', 'noteInAudit', 'overview', 'purge'],
  ...['quotas', 'readings', 'requests', 'snapshot', 'spending', 'usage'],
  ...['visit', 'whenDecided'],
] as const

/** Every field of a stored row, at any depth, by the kind of the row. */
export const STORED_FIELDS = {
  key: [
    ...['bench', 'breaker', 'cooldownMs', 'creator', 'cure', 'detail', 'earlierCooldownMs'],
    'failuresAtMs',
    ...[
      'fingerprint',
      'halt',
      'hidden',
      'kind',
      'modelBenches',
      'owner',
      'provenance',
      'reason',
      'recoveredAtMs',
      'reset',
      'sinceMs',
      'strikes',
      'struckAtMs',
      'untilMs',
      'workspace',
    ],
  ],
  account: [
    ...[
      'bench',
      'cure',
      'detail',
      'freeBench',
      'hadNoRoom',
      'hidden',
      'keysWithoutRoom',
      'modelBenches',
    ],
    'provenance',
    ...['reason', 'resetAtMs', 'sinceMs', 'untilMs'],
  ],
  models: ['cure', 'hidden', 'provenance', 'reason', 'sinceMs', 'untilMs'],
  spend: [
    ...['committedNanos', 'endsAtMs', 'increase', 'lostNanos', 'nanos', 'period', 'sinceMs'],
    ...['spentNanos', 'toldPercent', 'usedAtMs'],
  ],
  alert: [
    ...['account', 'event', 'expires_at', 'facts', 'goneSinceMs', 'key', 'sinceMs', 'subject'],
    ...['total', 'until', 'usable'],
  ],
  checkpoint: [
    ...['all', 'amount', 'answer', 'answerMs', 'answered', 'answers'],
    ...['asOfMs', 'atMs', 'attempt', 'attempts', 'byClient', 'byGroup'],
    ...[
      'byKey',
      'bypasses',
      'cache',
      'cachedTokens',
      'charge',
      'chargedAtMs',
      'clientId',
      'client_gone',
    ],
    ...['completionTokens', 'costUsd', 'counts', 'credit', 'current', 'day'],
    ...[
      'epoch',
      'estimated',
      'estimatedCompletionTokens',
      'estimatedPromptTokens',
      'estimatedUsd',
      'expiresAtMs',
    ],
    ...['failed', 'failures', 'faults', 'fingerprint', 'firstOutput', 'firstOutputMs'],
    ...['firstOutputs', 'gaps', 'generations', 'grantedAtMs', 'hits', 'id', 'ignored', 'isBatch'],
    ...['isolate', 'joins', 'keptBytes', 'keyHold', 'keyId', 'keys', 'kind', 'lastTurn', 'layer'],
    ...['leases', 'limitUsd', 'lookupAtMs', 'meanCostUsd', 'meanTokenUsd', 'meters'],
    ...['minute', 'misses', 'model', 'models', 'monthUsd', 'panic', 'promptTokens'],
    ...['reasoningTokens', 'reconciliations', 'refused', 'remainingUsd', 'requests', 'resetsAtMs'],
    ...['retries', 'retryTokens', 'routes', 'rpm', 'savedAtMs', 'savedUsd', 'slot'],
    ...['smoothedWeights', 'spendRate', 'spentDay', 'stale', 'successes', 'sumMs'],
    ...['times', 'today', 'tokens', 'total', 'tpm', 'turns'],
    ...['unclaimedMs', 'usdPerHour', 'weekUsd'],
  ],
} as const

/** Ids of the rows of a checkpoint. */
export const CHECKPOINT_PARTS = ['byModel', 'counters', 'recent'] as const

/** Fields of the line that is logged for each request, at its top. */
export const LOG_LINE = [
  ...['attempts', 'client', 'degraded', 'duration_ms', 'message', 'model', 'outcome'],
  ...['request_id', 'status', 'timings_ms', 'usage'],
] as const

export const LOG_ATTEMPT = ['fault', 'key', 'model', 'row', 'status', 'why'] as const

export const LOG_TIMINGS = ['acquire', 'auth', 'upstream', 'wait'] as const

export const REASON_NAMES = [
  ...[
    'disabled',
    'paused',
    'draining',
    'not_in_route',
    'already_tried',
    'key_rejected',
    'key_spent',
  ],
  ...['account_out_of_credit', 'account_rate_limited', 'below_min_credit', 'breaker_open'],
  ...['half_open_busy', 'at_max_concurrent', 'at_rpm', 'at_tpm', 'at_max_spend'],
  ...[
    'not_for_client',
    'key_rate_limited',
    'key_suspected',
    'too_large_for_key',
    'too_large_for_account',
  ],
  ...['budget_layer_spent', 'free_tier_spent', 'provider_key_failed'],
  'kept_for_interactive',
] as const

export const ERROR_NAMES = [
  ...['unauthorized', 'budget_exceeded', 'budget_unpriceable', 'model_not_allowed'],
  ...['not_found', 'batches_off', 'body_too_large', 'request_timeout', 'overloaded'],
  ...[
    'unsupported_encoding',
    'invalid_request',
    'client_rate_limited',
    'no_key_available',
    'pool_unavailable',
  ],
  ...['keys_exhausted', 'upstream_unreachable', 'upstream_timeout'],
  ...['not_cached', 'answer_gone', 'gateway_misconfigured', 'internal_error'],
] as const

export const HEADER_NAMES = [
  ...['server-timing', 'x-request-id', 'x-switchyard-attempts', 'x-switchyard-degraded'],
  ...['x-switchyard-key', 'x-switchyard-model'],
] as const

/** Every name of a field, at any depth. Keys of maps (faults by name) are names of other lists. */
export function fieldNames(value: unknown, into: Set<string> = new Set()): Set<string> {
  if (Array.isArray(value)) for (const item of value) fieldNames(item, into)
  else if (typeof value === 'object' && value !== null) {
    for (const [name, item] of Object.entries(value)) {
      into.add(name)
      if (name !== 'faults') fieldNames(item, into)
    }
  }
  return into
}
