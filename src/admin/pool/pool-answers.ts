import { type CacheCounters, NO_CACHE_COUNTERS } from '../../balancing/accounting/cache-counters.ts'
import {
  countOf,
  quantileMs,
  type TimeHistogram,
} from '../../balancing/accounting/time-histogram.ts'
import type { AccountOverview, Counted, PoolOverview } from '../../balancing/operators/overview.ts'
import type { KeySnapshot } from '../../balancing/snapshot.ts'
import { clientAnswer, groupAnswer, isoTime, isoTimeOrNull } from '../client-answers.ts'
import { countersAnswer } from '../counters-answer.ts'
import type { KeyAnswer, PoolAnswer } from './pool-answer-schemas.ts'

/** The pool in the words of the admin API. */
export function poolAnswer(overview: PoolOverview): PoolAnswer {
  const { keys, queue } = overview
  return {
    at: isoTime(overview.nowMs),
    keys_total: keys.length,
    keys_usable: overview.usable,
    panic: overview.panic,
    keys: keys.map(keyAnswer),
    accounts: overview.accounts.map(accountAnswer),
    benched_models: overview.benchedModels.map(({ model, untilMs }) => {
      return { model, until: isoTimeOrNull(untilMs) }
    }),
    routes: overview.routes.map((route) => ({
      models: [...route.models],
      strategy: route.strategy,
      affinity: route.affinity,
      fallback_models: [...route.fallbackModels],
      key_count: route.keyCount,
    })),
    queue: {
      waiting: queue.waiting,
      max_waiting: queue.maxWaiting,
      max_wait_ms: queue.maxWaitMs,
      lane_count: queue.laneCount,
      lanes: queue.lanes.map(({ client, model, waiting, lastDeadlineMs }) => {
        return { client, model, waiting, last_deadline_at: isoTime(lastDeadlineMs) }
      }),
    },
    batches: overview.batches.map(batchAnswer),
    clients_total: overview.clientCount,
    clients: overview.clients.map((client) => ({ ...clientAnswer(client), ...countedOf(client) })),
    groups_total: overview.groupCount,
    groups: overview.groups.map((group) => ({ ...groupAnswer(group), ...countedOf(group) })),
    ...countedOf(overview),
    cache: cacheAnswer(overview.cache),
  }
}

function batchAnswer(batch: PoolOverview['batches'][number]): PoolAnswer['batches'][number] {
  const { id, clientId, status, total, completed, failed, claimed } = batch
  const lines = { total, completed, failed, claimed, waiting: total - completed - failed - claimed }
  return { id, client: clientId, status, lines, expires_at: isoTime(batch.expiresAtMs) }
}

export function keyAnswer(key: KeySnapshot): KeyAnswer {
  const { halt, maxSpend } = key
  return {
    id: key.id,
    account: key.account,
    tags: [...key.tags],
    reason: key.reason,
    clears_at: isoTimeOrNull(key.clearsAtMs),
    reasons: [...key.reasons],
    disabled: key.disabled,
    halt: halt === null ? null : { kind: halt.kind, since: isoTime(halt.sinceMs) },
    breaker: { state: key.breaker, until: isoTimeOrNull(key.breakerUntilMs) },
    in_flight: key.inFlight,
    batch_in_flight: key.batchInFlight,
    weight: key.weight,
    max_concurrent: key.maxConcurrent,
    rpm: key.rpm,
    rpm_used_share: key.rpmUsed,
    tpm: key.tpm,
    tpm_used_share: key.tpmUsed,
    min_credit_usd: key.minCreditUsd,
    max_spend:
      maxSpend === null
        ? null
        : {
            usd: maxSpend.usd,
            period: maxSpend.period,
            spent_usd: maxSpend.spentUsd,
            reserved_usd: maxSpend.reservedUsd ?? 0,
            lost_usd: maxSpend.lostUsd ?? 0,
            resets_at: isoTimeOrNull(maxSpend.resetsAtMs),
          },
    credit: creditAnswer(key.credit),
    expires_at: isoTimeOrNull(key.expiresAtMs),
    expires_soon: key.expiresSoon,
    affordable_tokens: key.affordableTokens,
    latency_ms: key.latencyMs,
    first_output_ms: quantilesOf(key.times.firstOutput),
    answer_ms: quantilesOf(key.times.answer),
    ...countedOf(key),
  }
}

export function creditAnswer(credit: KeySnapshot['credit']): KeyAnswer['credit'] {
  if (credit === null) return null
  return {
    limit_usd: credit.limitUsd,
    remaining_usd: credit.remainingUsd,
    resets_at: isoTimeOrNull(credit.resetsAtMs),
    projected_end: isoTimeOrNull(credit.projectedEndMs),
    as_of: isoTime(credit.asOfMs),
    stale: credit.stale,
  }
}

function accountAnswer(account: AccountOverview): PoolAnswer['accounts'][number] {
  return {
    id: account.id,
    kind: account.kind,
    is_own: account.isOwn,
    keys: [...account.keys],
    in_flight: account.inFlight,
    benches: account.benches.map(({ of, model, reason, sinceMs, untilMs }) => {
      return { of, model, reason, since: isoTime(sinceMs), until: isoTimeOrNull(untilMs) }
    }),
    ...countedOf(account),
  }
}

const quantilesOf = (times: TimeHistogram): KeyAnswer['answer_ms'] => ({
  count: countOf(times),
  p50: quantileMs(times, 0.5),
  p90: quantileMs(times, 0.9),
  p99: quantileMs(times, 0.99),
})

const countedOf = ({ total, today }: Counted) => {
  return { total: countersAnswer(total), today: countersAnswer(today) }
}

function cacheAnswer(cache: PoolOverview['cache']): PoolAnswer['cache'] {
  const told = ({ keptBytes, savedUsd, ...counts }: CacheCounters) => {
    return { ...counts, kept_bytes: keptBytes, saved_usd: savedUsd }
  }
  const { total, today } = cache ?? { total: NO_CACHE_COUNTERS, today: NO_CACHE_COUNTERS }
  return { total: told(total), today: told(today) }
}
