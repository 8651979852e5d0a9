import { accountId, clientId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import {
  acquire,
  type Grant,
  observe,
  type Refusal,
  settle,
  type Want,
} from '../../src/balancing/pool.ts'
import { createPool, type KeyConfig, type PoolPolicy } from '../../src/balancing/pool-state.ts'
import type { Random } from '../../src/balancing/selection.ts'
import type { BenchOrder, Settlement, Usage } from '../../src/balancing/settlement.ts'
import { seededRandom } from './seeded-random.ts'

/** Noon of a day in UTC, so that no test starts on the edge of a day. */
export const START_MS = Date.UTC(2026, 0, 15, 12)

export interface KeySpec {
  readonly id: string
  readonly account?: string
  readonly weight?: number
  readonly maxConcurrent?: number | null
  readonly disabled?: boolean
}

/** The contract's defaults, but for panic: with few keys it would hide what breakers do. */
export const POLICY: PoolPolicy = {
  strategy: 'least-busy',
  breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
  panicRatio: 0,
  retryBudget: { ratio: 0.2, minPerSecond: 2 },
}

export function keyConfig(spec: KeySpec): KeyConfig {
  return {
    id: keyId(spec.id),
    account: accountId(spec.account ?? `account-of-${spec.id}`),
    weight: spec.weight ?? 1,
    maxConcurrent: spec.maxConcurrent ?? null,
    disabled: spec.disabled ?? false,
  }
}

export interface Ask {
  readonly lease?: string
  readonly client?: string
  readonly model?: string
  readonly attempt?: Want['attempt']
  readonly tried?: readonly string[]
  readonly notAccounts?: readonly string[]
  readonly leaseMs?: number
}

/** A pool on a clock that only the test moves. */
export function drivePool(
  keys: readonly (string | KeySpec)[],
  policy: Partial<PoolPolicy> = {},
  random: Random = seededRandom(1),
) {
  const specs = keys.map((key) => (typeof key === 'string' ? { id: key } : key))
  const state = createPool(
    { keys: specs.map(keyConfig), policy: { ...POLICY, ...policy } },
    START_MS,
  )
  let nowMs = START_MS
  let minted = 0

  function ask(wish: Ask = {}): Grant | Refusal {
    minted += 1
    const want: Want = {
      leaseId: leaseId(wish.lease ?? `lease-${minted}`),
      clientId: clientId(wish.client ?? 'client'),
      model: modelId(wish.model ?? 'vendor/model'),
      attempt: wish.attempt ?? 'first',
      triedKeys: (wish.tried ?? []).map(keyId),
      excludedAccounts: (wish.notAccounts ?? []).map(accountId),
      leaseMs: wish.leaseMs ?? 600_000,
    }
    return acquire(state, want, nowMs, random)
  }

  function grant(wish: Ask = {}): Grant {
    const answer = ask(wish)
    if (answer.kind === 'refusal') throw new Error(`refused: ${JSON.stringify(answer)}`)
    return answer
  }

  function refusal(wish: Ask = {}): Refusal {
    const answer = ask(wish)
    if (answer.kind === 'grant') throw new Error(`granted: ${JSON.stringify(answer)}`)
    return answer
  }

  /** A lease on one key and no other. */
  function grantOf(id: string, wish: Ask = {}): Grant {
    const others = [...state.keys.keys()].filter((other) => other !== id)
    return grant({ ...wish, tried: others })
  }

  function give(lease: Grant, told: Partial<Settlement> = {}): void {
    const { leaseId: id, keyId: key } = lease
    const settlement: Settlement = {
      leaseId: id,
      keyId: key,
      outcome: 'success',
      benches: [],
      suspect: false,
      ...told,
    }
    settle(state, settlement, nowMs, random)
  }

  function fail(lease: Grant, ...benches: BenchOrder[]): void {
    give(lease, { outcome: 'failure', fault: 'upstream', benches })
  }

  /** What the caller did wrong, or anything else that says nothing of the key's health. */
  function shrug(lease: Grant, ...benches: BenchOrder[]): void {
    give(lease, { outcome: 'ignorable', fault: 'caller', benches })
  }

  /** Opens one key's breaker by failing it as often as the policy says. */
  function trip(id: string): void {
    for (let i = 0; i < state.policy.breaker.failures; i++) fail(grantOf(id))
  }

  function lookUp(id: string, remainingUsd: number | null): void {
    observe(state, { keyId: keyId(id), kind: 'valid', remainingUsd }, nowMs)
  }

  return {
    state,
    ask,
    grant,
    grantOf,
    refusal,
    give,
    fail,
    shrug,
    trip,
    lookUp,
    now: () => nowMs,
    at: (ms: number) => {
      nowMs = ms
    },
    wait: (ms: number) => {
      nowMs += ms
    },
    key: (id: string) => {
      const key = state.keys.get(keyId(id))
      if (key === undefined) throw new Error(`no key ${id}`)
      return key
    },
  }
}

export type PoolDriver = ReturnType<typeof drivePool>

export function usageOf(promptTokens: number, completionTokens: number, costUsd: number): Usage {
  return {
    promptTokens,
    completionTokens,
    cachedTokens: 0,
    reasoningTokens: 0,
    costUsd,
    estimated: false,
  }
}
