/** One metric: its name, its kind in Prometheus' words, and what it says. */
export interface Metric {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
}

const gauge = (name: string, help: string): Metric => ({ name, type: 'gauge', help })
const counter = (name: string, help: string): Metric => ({ name, type: 'counter', help })
const histogram = (name: string, help: string): Metric => ({ name, type: 'histogram', help })

/**
 * All metrics, in the order in which they are told. A name is a promise: dashboards and alert rules of
 * other people read it. Where OpenTelemetry's conventions for generative AI have one it is theirs, as
 * Prometheus writes it.
 */
export const METRICS = {
  up: gauge(
    'switchyard_pool_up',
    'Whether the pool answered this scrape. If not, it is all there is.',
  ),
  keys: gauge('switchyard_keys', 'Configured keys.'),
  usable: gauge(
    'switchyard_keys_usable',
    'Keys without a reason against them. A busy key is usable.',
  ),
  panic: gauge('switchyard_panic', 'Whether breakers are ignored, since most keys fail at once.'),
  waiting: gauge('switchyard_queue_waiting', 'Requests that wait for a key.'),
  queue: gauge('switchyard_queue_limit', 'The most requests that may wait.'),
  models: gauge('switchyard_models_benched', 'Models that are benched for all keys.'),

  key: gauge('switchyard_key_info', 'Which account pays for a key.'),
  keyUsable: gauge('switchyard_key_usable', 'Whether nothing but load is against a key.'),
  keyOut: gauge('switchyard_key_out', 'Why a key may not serve. A key that may has none.'),
  keyOutUntil: gauge('switchyard_key_out_until_timestamp_seconds', 'When that ends by itself.'),
  breaker: gauge(
    'switchyard_breaker_state',
    'The state of a key’s breaker: 1 for that which it is in.',
  ),
  inFlight: gauge('switchyard_key_in_flight', 'Leases of a key that are out.'),
  rpmUsed: gauge('switchyard_key_rpm_used_ratio', 'The used share of a key’s requests per minute.'),
  tpmUsed: gauge('switchyard_key_tpm_used_ratio', 'The used share of a key’s tokens per minute.'),
  creditLeft: gauge('switchyard_key_credit_remaining_usd', 'What is left of a key’s cap.'),
  creditLimit: gauge('switchyard_key_credit_limit_usd', 'A key’s cap at OpenRouter.'),
  creditAt: gauge('switchyard_key_credit_timestamp_seconds', 'When the credit was looked up.'),
  creditStale: gauge('switchyard_key_credit_stale', 'Whether the latest lookup failed.'),
  expires: gauge(
    'switchyard_key_expires_timestamp_seconds',
    'When OpenRouter stops accepting a key.',
  ),

  budgetLimit: gauge(
    'switchyard_budget_limit_usd',
    'A budget: the fullest hundred of clients and groups, and those of keys.',
  ),
  budgetSpent: gauge('switchyard_budget_spent_usd', 'What is spent of a budget in its period.'),
  budgetReserved: gauge(
    'switchyard_budget_reserved_usd',
    'What running requests hold of a budget.',
  ),
  budgetLost: gauge('switchyard_budget_lost_usd', 'What requests held that ended without a word.'),
  budgetResets: gauge('switchyard_budget_resets_timestamp_seconds', 'When a budget’s period ends.'),

  alerts: gauge('switchyard_alerts_active', 'Alerts that have begun and not ended, by event.'),
  undelivered: gauge(
    'switchyard_alert_messages_undelivered',
    'Messages that an address is yet to get.',
  ),
  batchLines: gauge('switchyard_batch_lines_running', 'Lines of batches that run.'),

  requests: counter('switchyard_requests_total', 'Requests that have ended by outcome.'),
  retries: counter('switchyard_retries_total', 'Attempts that requests made beside their first.'),
  attempts: counter('switchyard_attempts_total', 'Finished attempts of a key by outcome.'),
  faults: counter(
    'switchyard_attempt_faults_total',
    'Failed attempts of a key by whose fault it was.',
  ),
  answerTime: histogram(
    'gen_ai_client_operation_duration_seconds',
    'From the call to the end of a good answer.',
  ),
  firstOutput: histogram(
    'gen_ai_client_operation_time_to_first_chunk_seconds',
    'From the call to the first output, or to the timeout that ended the attempt.',
  ),
  keyTokens: counter(
    'switchyard_key_tokens_total',
    'Tokens of a key’s answers, without estimates.',
  ),
  keyCost: counter(
    'switchyard_key_cost_usd_total',
    'What a key’s answers cost, without estimates.',
  ),
  keyEstimate: gauge(
    'switchyard_key_cost_estimated_usd',
    'What a key’s answers cost of which only an estimate is known.',
  ),
  modelAttempts: counter(
    'switchyard_model_attempts_total',
    'Finished attempts of a model by outcome.',
  ),
  modelTokens: counter(
    'switchyard_model_tokens_total',
    'Tokens of a model’s answers, without estimates.',
  ),
  modelCost: counter(
    'switchyard_model_cost_usd_total',
    'What a model’s answers cost, without estimates.',
  ),
  clientAttempts: counter(
    'switchyard_client_attempts_total',
    'Finished attempts for a client by outcome.',
  ),
  clientTokens: counter(
    'switchyard_client_tokens_total',
    'Tokens of a client’s answers, without estimates.',
  ),
  clientCost: counter(
    'switchyard_client_cost_usd_total',
    'What a client’s answers cost, without estimates.',
  ),
  cacheRequests: counter(
    'switchyard_cache_requests_total',
    'Requests of routes that share answers, by what the cache was to them.',
  ),
  cacheKept: counter('switchyard_cache_kept_bytes_total', 'Bytes of answers that were kept.'),
  cacheSaved: counter(
    'switchyard_cache_saved_usd_total',
    'What requests would have cost that got the answer of another.',
  ),
} as const satisfies Readonly<Record<string, Metric>>
