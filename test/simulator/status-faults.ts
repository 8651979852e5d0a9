import {
  canOnlyAfford,
  type ErrorAnswer,
  type ErrorContext,
  failure,
  inBody,
  inFlightBudget,
  inHeaders,
  keyLimit,
  limitSource,
  outOfCredits,
  rateLimited,
  retryAfter,
  tokensExceed,
  unauthorized,
  weightExceedsBudget,
} from './errors.ts'
import { windowEndMs } from './money.ts'

type StatusFault = (context: ErrorContext) => ErrorAnswer

function keySpent(context: ErrorContext): ErrorAnswer {
  const form = context.params.form ?? 'newest'
  const window = form === 'newest' ? 'weekly' : form
  const reset = window === 'total' ? null : window
  const older = { ...context, settings: { ...context.settings, errorForm: 'older' as const } }
  return keyLimit(form === 'newest' ? context : older, {
    reset,
    usedUsd: 20.05,
    limitUsd: 20,
    resetsAtMs: reset === null ? null : windowEndMs(reset, context.nowMs),
  })
}

function tooManyTokens(payer: 'key' | 'account'): StatusFault {
  return (context) => {
    const affordable = context.params.affordTokens ?? 1520
    return canOnlyAfford(context, payer, { requested: 65_536, affordable })
  }
}

function passed(limit: 'free-day' | 'free-minute' | 'new-account'): StatusFault {
  return (context) => {
    const length = limit === 'free-day' ? 86_400_000 : 60_000
    const windowEnd = (Math.floor(context.nowMs / length) + 1) * length
    const { resetInMs } = context.params
    const resetAtMs = resetInMs === undefined ? windowEnd : context.nowMs + resetInMs
    return rateLimited(context, { limit, perWindow: limit === 'free-day' ? 50 : 20, resetAtMs })
  }
}

/** A provider's error that OpenRouter relays. It carries the provider's name. */
function relayed(status: number, raw: string, errorType?: string, byok = false): StatusFault {
  return (context) => {
    const provider = context.params.provider ?? context.provider
    const type = errorType === undefined ? {} : { error_type: errorType }
    const source = byok ? 'upstream_provider_byok' : 'upstream_provider_shared_pool'
    const limit = status === 429 ? limitSource(context, source, 'Retry shortly.') : {}
    return failure(status, 'Provider returned error', {
      raw: raw.replaceAll('{model}', context.model),
      provider_name: provider,
      is_byok: byok,
      ...type,
      ...limit,
    })
  }
}

function plain429(context: ErrorContext): ErrorAnswer {
  const { params } = context
  const later = params.retryAfter === undefined ? {} : { 'retry-after': retryAfter(context, 1) }
  if (params.resetInMs === undefined) return failure(429, 'Rate limit exceeded', undefined, later)
  const limits = { 'X-RateLimit-Reset': String(context.nowMs + params.resetInMs) }
  const metadata = inBody(context, limits)
  return failure(429, 'Rate limit exceeded', metadata, { ...later, ...inHeaders(context, limits) })
}

/** An error with only a text. `{model}` in it is replaced by the model's name. */
function plain(
  status: number,
  message: string,
  metadata?: Readonly<Record<string, unknown>>,
): StatusFault {
  return (context) => failure(status, message.replaceAll('{model}', context.model), metadata)
}

/** Blocked by a policy of the platform or the provider: 403 since about August 2026, 400 before. */
function policy(type: string, message: string): StatusFault {
  return (context) =>
    failure(context.settings.errorForm === 'older' ? 400 : 403, message, { error_type: type })
}

const DATA_POLICY_TEXT =
  '0 endpoints out of 1 requested are available matching your guardrail restrictions and data ' +
  'policy. Configure: https://openrouter.ai/settings/privacy'

const ineligible = (step: string, reason: string) => ({
  failed_routing_step: step,
  ineligibility_reasons: [
    { reason, count: 1, configure_url: 'https://openrouter.ai/settings/privacy' },
  ],
})

const moderated: StatusFault = (context) =>
  failure(
    403,
    `${context.model} requires moderation on OpenAI. Your input was flagged for "violence". No credits were charged.`,
    {
      reasons: ['violence'],
      flagged_input: 'How do I …',
      provider_name: 'OpenAI',
      model_slug: context.model,
    },
  )

const patterns: StatusFault = () =>
  failure(403, 'Request blocked: prompt injection patterns detected', {
    patterns: ['ignore_previous_instructions'],
  })

/** Faults that are a whole error answer, by name. */
export const STATUS_FAULTS: Readonly<Record<string, StatusFault>> = {
  '401': unauthorized,
  'key-limit': keySpent,
  'key-limit-402': tooManyTokens('key'),
  'afford-402': tooManyTokens('account'),
  'prompt-402': ({ params }) =>
    tokensExceed('account', 'Prompt tokens', params.affordTokens ?? 1520),
  'max-tokens-402': ({ params }) =>
    tokensExceed('account', 'max_tokens', params.affordTokens ?? 1520),
  'key-tokens-402': ({ params }) =>
    tokensExceed('key', 'Prompt tokens', params.affordTokens ?? 1520),
  'in-flight-402': inFlightBudget,
  'weight-402': weightExceedsBudget,
  'credits-402': (context) => outOfCredits(context, true),
  'never-purchased-402': (context) => outOfCredits(context, false),
  'free-day-429': passed('free-day'),
  'free-minute-429': passed('free-minute'),
  'new-account-429': passed('new-account'),
  'provider-429': relayed(
    429,
    '{model} is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations',
  ),
  'byok-429': relayed(429, '{model} is rate-limited for your own key.', undefined, true),
  'plain-429': plain429,
  'provider-400': relayed(400, '{"error":{"message":"Unsupported parameter: top_k"}}'),
  'provider-401': relayed(401, '{"error":"invalid API key"}'),
  'provider-502': relayed(502, 'upstream connect error', 'provider_unavailable'),
  'plain-500': plain(500, 'Internal Server Error', { error_type: 'server' }),
  'plain-502': plain(502, 'Provider returned error'),
  'plain-503': plain(503, 'Service temporarily unavailable'),
  '503-retry-after': (context) =>
    failure(503, 'Service temporarily unavailable', undefined, {
      'retry-after': retryAfter(context, 2),
    }),
  '408': plain(408, 'Operation timed out. Please try again later.'),
  '504': plain(504, 'The provider took too long to answer.', { error_type: 'timeout' }),
  '524': plain(524, 'Request timed out at the edge.'),
  '529': plain(529, 'Provider is temporarily overloaded'),
  'moderation-403': moderated,
  'patterns-403': patterns,
  'content-policy-403': policy('content_policy_violation', 'The input violates a content policy.'),
  'refusal-403': policy('refusal', 'The model refused to answer.'),
  'harness-403': plain(403, '{model} is only available on agentic harnesses.', {
    failed_routing_step: 'Gate Free Endpoints by Agentic Harness',
  }),
  'attestation-403': plain(403, 'This model needs an attestation of the account.', {
    failed_routing_step: 'Gate Endpoints with Attestations',
    missing_attestation_types: ['age_18plus'],
  }),
  'region-403': plain(403, '{model} is not available in your region: XX'),
  'management-403': plain(403, 'Only management keys can perform this operation'),
  'workspace-budget-403': plain(
    403,
    'Workspace monthly budget of $500.00 exceeded. Contact your org admin.',
  ),
  'guardrail-404': plain(
    404,
    DATA_POLICY_TEXT,
    ineligible('Filter by Guardrails', 'model-ignored-by-guardrail'),
  ),
  'data-policy-404': plain(
    404,
    DATA_POLICY_TEXT,
    ineligible('Filter by Data Policy', 'paid-model-training-violation-by-account'),
  ),
  'parameters-404': plain(404, 'No endpoints found that can handle the requested parameters.', {
    failed_routing_step: 'Filter by Parameters',
  }),
  'model-404': plain(404, 'No endpoints found for {model}.'),
  '400': plain(400, 'Invalid request parameters'),
  '405': plain(405, 'Method Not Allowed'),
  '409': plain(409, 'Conflict'),
  '410': plain(410, 'This endpoint has been retired.'),
  '412': plain(412, 'Precondition failed', { error_type: 'precondition_failed' }),
  '413': plain(413, 'Request payload too large', { error_type: 'payload_too_large' }),
  '415': plain(415, 'Unsupported Media Type'),
  '422': plain(422, 'Invalid argument', { error_type: 'unprocessable' }),
}
