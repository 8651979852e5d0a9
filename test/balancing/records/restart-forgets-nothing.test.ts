import { expect, it } from 'vitest'
import { bookCache } from '../../../src/balancing/accounting/cache-counters.ts'
import { countRequest } from '../../../src/balancing/accounting/request-row.ts'
import { watchForAlerts } from '../../../src/balancing/alerts/alert-watch.ts'
import { purge } from '../../../src/balancing/clients/purge-epochs.ts'
import { type ClientsOrder, carryOut } from '../../../src/balancing/clients/registry.ts'
import { accountId, clientId, groupId, keyId, modelId } from '../../../src/balancing/ids.ts'
import { entriesOf } from '../../../src/balancing/limits/rotating-map.ts'
import { control } from '../../../src/balancing/operators/control.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { BenchOrder, BenchScope } from '../../../src/balancing/settlement.ts'
import { TO_OPS } from '../alerts/stored-alerts.ts'
import { budgetOf, clientOf, groupOf } from '../clients/client-terms.ts'
import { drivePool, type KeySpec, POLICY, type Setup, usageOf } from '../pool-driver.ts'
import { type StoredPool, storedPool } from './stored-pool.ts'

const KEYS: readonly KeySpec[] = [
  { id: 'limited', rpm: 100, tpm: 10_000, weight: 3, account: null },
  { id: 'capped', account: 'acme', maxSpend: { usd: 10, period: 'day' } },
  { id: 'sister', account: 'acme', weight: 2 },
  { id: 'failing', account: null },
  { id: 'halted' },
  { id: 'reset' },
  { id: 'poor' },
]

const SETUP: Setup = {
  strategy: 'weighted',
  routes: [
    { models: ['vendor/*'], keys: ['limited', 'sister'], fallback: ['vendor/last'] },
    { models: ['cheap/*'], strategy: 'credit-threshold' },
  ],
  clients: [
    {
      id: 'client',
      rpm: 100,
      tpm: 10_000,
      rpd: 1_000,
      budgets: [budgetOf({ usd: 10 })],
      group: 'team',
    },
  ],
  groups: [{ id: 'team', budgets: [budgetOf({ usd: 10, period: 'month' })] }],
  credit: { thresholdUsd: 6 },
  alerts: { ...POLICY.alerts, to: TO_OPS },
}

/** A model of the last route, which takes every key. */
const OTHER = { model: 'other/model' } as const

const RUNNING = { tokens: 300, boundUsd: 0.3, lease: 'runs' } as const

const benching = (scope: BenchScope, forMs = 3_600_000): BenchOrder => ({
  scope,
  reason: 'account_rate_limited',
  term: { kind: 'for', forMs },
})

function order({ state, now }: StoredPool, given: ClientsOrder): void {
  carryOut(state.clients, given, state.changes, now())
}

/** What clients and operators do. */
function steer(pool: StoredPool): void {
  const { state } = pool
  const step = { state, nowMs: pool.now(), random: () => 0.5 }
  order(pool, { kind: 'make_group', terms: groupOf({ id: 'made-team' }) })
  const minted = clientOf({ id: 'minted', group: 'made-team', rpm: 5, budgets: [budgetOf()] })
  order(pool, { kind: 'make_client', terms: minted, sha256: 'a'.repeat(64) })
  control(step, { kind: 'pause', keyId: keyId('halted') }, 'somebody')
  control(step, { kind: 'reset', keyId: keyId('reset') }, 'somebody')
  purge(state.purges, { kind: 'model', model: modelId('vendor/model') }, null, pool.now())
  countRequest(state.ledger.requests, {
    id: 'r',
    mark: 'r',
    text: '',
    outcome: 'failed',
    attempts: 3,
  })
  const saved = { hits: 1, joins: 2, misses: 3, bypasses: 4, keptBytes: 5, savedUsd: 6 }
  bookCache(state.cache, { mark: 'a', counters: saved }, pool.now())
}

/** What upstream answers. */
function serve(pool: StoredPool): void {
  const told = { usage: usageOf(50, 50, 0.25), firstOutputMs: 100, tookMs: 500 }
  for (let i = 0; i < 3; i++) pool.give(pool.grant({ client: 'client', boundUsd: 0.3 }), told)
  pool.give(pool.grantOf('capped', { ...OTHER, client: 'minted', boundUsd: 0.5 }), {
    ...{ usage: { ...usageOf(5, 5, 0.125), estimated: true }, generationId: 'gen-1' },
  })
  const scopes = ['key_model', 'account', 'account_free', 'account_model', 'creator'] as const
  const begun = scopes.map((scope) => ({ scope, lease: pool.grantOf('failing', OTHER) }))
  pool.trip('failing')
  for (const { scope, lease } of begun) pool.shrug(lease, benching(scope))
  pool.fail(pool.grantOf('sister'), benching('model', 60_000))
  const backoff = { kind: 'backoff', baseMs: 10_000, maxMs: 60_000 } as const
  pool.shrug(pool.grantOf('sister', OTHER), { ...benching('key'), term: backoff })
}

/** A pool to which everything has happened that is stored. */
function experienced(): StoredPool {
  const pool = storedPool(KEYS, SETUP)
  const owned = { owner: accountId('org'), creator: 'carol', workspace: 'lab' }
  pool.lookUp('failing', null, owned)
  pool.lookUp('capped', 50, { usageDailyUsd: 2, expiresAtMs: pool.now() + 1e9 })
  pool.lookUp('limited', 5)
  pool.grant({ model: 'cheap/model', lease: 'cheap' })
  steer(pool)
  serve(pool)
  pool.grantOf('limited', { tokens: 200, lease: 'expires', leaseMs: 1_000 })
  pool.wait(2_000)
  pool.wake()
  pool.grantOf('limited', { client: 'client', attempt: 'retry', ...RUNNING })
  pool.grantOf('limited', { tokens: 300, class: 'batch', lease: 'line' })
  pool.grantOf('capped', { ...OTHER, boundUsd: 0.5, lease: 'holds' })
  const poor = pool.grantOf('poor', OTHER)
  pool.wait(1)
  pool.shrug(poor, { ...benching('account'), term: { kind: 'lookup', lapseMs: 300_000 } })
  pool.wait(1)
  pool.lookUp('poor', 0)
  watchForAlerts({ state: pool.state, nowMs: pool.now(), random: () => 0.5 })
  pool.write()
  pool.writeCheckpoint()
  return pool
}

const key = ({ keys }: PoolState, id: string) => keys.get(keyId(id))
const quotaOf = ({ clients }: PoolState, id: string) => clients.byId.get(clientId(id))?.quota

/** By what is stored: where it stands in a pool. */
const STORED: Readonly<Record<string, (state: PoolState) => unknown>> = {
  'the breaker of a key': (pool) => key(pool, 'failing')?.breaker,
  'the bench of a key': (pool) => key(pool, 'sister')?.bench,
  'its strikes': (pool) => [key(pool, 'sister')?.strikes, key(pool, 'sister')?.struckAtMs],
  'models that a key does not serve': (pool) => key(pool, 'failing')?.modelBenches,
  'who pays for a key': (pool) => key(pool, 'failing')?.owner,
  'whose budgets cover a key': (pool) => [
    key(pool, 'failing')?.creator?.id,
    key(pool, 'failing')?.workspace?.id,
  ],
  'that an operator has halted a key': (pool) => [key(pool, 'halted')?.halt, pool.halted],
  'that he has reset a key': (pool) => [key(pool, 'reset')?.reset, key(pool, 'reset')?.epoch],
  'when he has reset its account': (pool) => key(pool, 'reset')?.account.resetAtMs,
  'the bench of an account': (pool) => key(pool, 'failing')?.account.bench,
  'the bench of its free models': (pool) => key(pool, 'failing')?.account.freeBench,
  'models that an account does not serve': (pool) => key(pool, 'failing')?.account.modelBenches,
  'which of its keys had nothing left': (pool) => key(pool, 'poor')?.account.keysWithoutRoom,
  'the bench of the keys of a creator': (pool) => key(pool, 'failing')?.creator?.bench,
  'models that are benched everywhere': (pool) => pool.modelBenches,
  'the credit of a key': (pool) => key(pool, 'limited')?.credit,
  'when a key expires': (pool) => key(pool, 'capped')?.expiresAtMs,
  'what a key has spent today, as OpenRouter says': (pool) => key(pool, 'capped')?.spentDay,
  'how fast a key spends': (pool) => key(pool, 'capped')?.spendRate,
  'when a key has had its last turn': (pool) => key(pool, 'limited')?.lastTurn,
  'the number of turns': (pool) => pool.turns,
  'where the turns by weight stand': (pool) => pool.routes[0].memory.smoothedWeights,
  'the key that credit-threshold is on': (pool) => pool.routes[1]?.memory.current,
  'what retries may be paid from': (pool) => pool.retryBudget.ceiling.tokens,
  'what an answer costs': (pool) => [pool.meanCostUsd, pool.meanTokenUsd],
  'the sum of everything': (pool) => pool.ledger.all,
  'the sums of keys': (pool) => [pool.ledger.byKey, key(pool, 'limited')?.tally],
  'the sums of models': (pool) => pool.ledger.byModel,
  'the sums of clients': (pool) => pool.ledger.byClient,
  'the sums of groups': (pool) => pool.ledger.byGroup,
  'how many requests there were': (pool) => pool.ledger.requests,
  'what attempts took': (pool) => key(pool, 'limited')?.times,
  'the minute that runs': (pool) => pool.minutes.running,
  'what kept answers have saved': (pool) => pool.cache.tally,
  'leases that owe their settlement': (pool) => entriesOf(pool.leases.owed),
  'leases that run': (pool) => pool.leases.live,
  'how many run with a key': (pool) => [
    key(pool, 'limited')?.inFlight,
    key(pool, 'limited')?.batch.inFlight,
    key(pool, 'limited')?.account.load.inFlight,
  ],
  'requests of the minute': (pool) => key(pool, 'limited')?.rpm?.window.total,
  'tokens of the minute': (pool) => key(pool, 'limited')?.tpm?.window.total,
  'what batches have of them': (pool) => [
    key(pool, 'limited')?.batch.rpm.total,
    key(pool, 'limited')?.batch.tpm.total,
  ],
  'what a key has spent of its max_spend': (pool) => key(pool, 'capped')?.spend?.spentNanos,
  'what its leases hold': (pool) => key(pool, 'capped')?.spend?.reservedNanos,
  'requests and tokens of a client': (pool) => [
    quotaOf(pool, 'client')?.rpm?.window.total,
    quotaOf(pool, 'client')?.tpm?.window.total,
    quotaOf(pool, 'client')?.requestsToday,
  ],
  'what a client has spent': (pool) =>
    quotaOf(pool, 'client')?.budgets.map((one) => one.spentNanos),
  'what his leases hold': (pool) =>
    quotaOf(pool, 'client')?.budgets.map((one) => one.reservedNanos),
  'what a group has spent': ({ clients }) =>
    clients.groups.get(groupId('team'))?.quota.budgets.map((one) => one.spentNanos),
  'a client that was made at run time': ({ clients }) => {
    const { terms, tokens, source } = clients.byId.get(clientId('minted')) ?? {}
    return { terms, tokens, source }
  },
  'a group that was made at run time': ({ clients }) =>
    clients.groups.get(groupId('made-team'))?.terms,
  'what operators have done': (pool) => pool.audit.entries,
  'whose kept answers were thrown away': (pool) => pool.purges.epochs,
  'alerts that have not ended': (pool) => pool.alerts.active,
  'messages that are on their way': ({ alerts }) =>
    alerts.outbox.queues.get('ops')?.map(({ message }) => message),
  'which key made an answer': (pool) => pool.generations.young,
  'answers whose usage is an estimate': (pool) => pool.reconciliations.open,
}

it.each(Object.entries(STORED))('a restart does not forget %s', (_, read) => {
  const pool = experienced()
  expect(read(pool.state)).not.toEqual(read(drivePool(KEYS, SETUP).state))
  expect(read(pool.restart().state)).toEqual(read(pool.state))
})
