import { serialize } from 'node:v8'
import {
  accountId,
  clientId,
  isolateId,
  keyId,
  leaseId,
  modelId,
} from '../../../src/balancing/ids.ts'
import type { Decision } from '../../../src/balancing/lease-request.ts'
import { numberedLeaseId } from '../../../src/balancing/limits/lease-number.ts'
import { acquire, claim, report, tick } from '../../../src/balancing/pool.ts'
import { createPool, type PoolConfig, type PoolState } from '../../../src/balancing/pool-state.ts'
import { readings } from '../../../src/balancing/readings/pool-readings.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { checkpoint } from '../../../src/balancing/records/checkpoint.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import { settle } from '../../../src/balancing/serving/lease-end.ts'
import {
  STRATEGY_NAMES,
  type StrategyName,
} from '../../../src/balancing/strategies/strategy-registry.ts'
import { alertPolicy } from '../../../src/config/alerts/alert-fields.ts'
import { policySchema } from '../../../src/config/policy.ts'
import { createStore } from '../../../src/key-pool/rows/record-store.ts'
import { createInMemoryRows } from '../../gateway/in-memory-rows.ts'

/** All that the bench knows of the reducer: a change of its interface ends here. */

export const STRATEGIES = STRATEGY_NAMES
export type Strategy = StrategyName

export interface Setup {
  readonly keys: number
  readonly strategy: Strategy
  /** Whether each key has limits of requests and tokens, too large to refuse anything. */
  readonly isLimited?: boolean
  /** Most leases of one key at once. */
  readonly maxConcurrent?: number
}

export interface Request {
  readonly model?: string
  readonly client?: string
  readonly session?: string
  readonly fails?: boolean
  /** Whether it is a line of a batch. */
  readonly isBatch?: boolean
}

/** A lease that has been granted. */
export interface Held {
  readonly lease: string
  readonly key: string
}

const START_MS = Date.UTC(2026, 0, 15, 12)
const LEASE_MS = 600_000
const WAIT_MS = 10_000
const ISOLATE = isolateId('0b5c2f6e-6f0a-4c43-9d5e-3f1f2f6f7a10')

/** A pool on a clock that moves by a millisecond with each request, or stands still. */
export class Reducer {
  readonly #config: PoolConfig
  readonly #state: PoolState
  readonly #random = generator(1)
  #nowMs = START_MS
  #minted = 0
  #isStill = false

  constructor(setup: Setup) {
    this.#config = configOf(setup)
    this.#state = createPool(this.#config, this.#nowMs)
    for (const [i, key] of this.#config.keys.entries()) {
      report(this.#state, creditOf(key.id, i, this.#nowMs), this.#nowMs)
    }
  }

  stopClock(): void {
    this.#isStill = true
  }

  /** @returns null where nothing was granted */
  acquire(request: Request): Held | null {
    return heldOf(this.#ask(request, 0))
  }

  /** Puts a request into the queue, for as long as it may wait. @returns what it can be claimed by */
  enqueue(request: Request): string {
    const decision = this.#ask(request, WAIT_MS)
    if (decision.kind !== 'waiting') throw new Error(`Does not wait: ${JSON.stringify(decision)}`)
    return decision.leaseId
  }

  /** What became of a request that waited. */
  claim(lease: string): Held | null {
    const decision = claim(this.#state, leaseId(lease), this.#nowMs)
    return decision === null ? null : heldOf(decision)
  }

  settle({ lease, key }: Held, { fails = false }: Request): void {
    settle(
      this.#state,
      {
        leaseId: leaseId(lease),
        keyId: keyId(key),
        outcome: fails ? 'failure' : 'success',
        ...(fails && { fault: 'upstream' }),
        benches: [],
        suspect: false,
        usage: USAGE,
        firstOutputMs: 300 + 200 * this.#random(),
        generationId: `gen-${lease}`,
      },
      this.#nowMs,
      this.#random,
    )
  }

  /** Gives to those who wait what has come free. */
  serveQueue(): void {
    tick(this.#state, this.#nowMs, this.#random)
  }

  /** All that is written down, as text. */
  checkpoint(): string {
    return JSON.stringify(checkpoint(this.#state, this.#nowMs))
  }

  /** All that a scrape of the metrics is told, as it goes to the Worker. */
  readings(): Buffer {
    return serialize(readings(this.#state, this.#nowMs))
  }

  /** Writes all that an object needs to start again. @returns the start itself, to be timed */
  restoration(): () => void {
    const rows = createInMemoryRows()
    const store = createStore(rows)
    const { changes, keys, accounts } = this.#state
    for (const id of keys.keys()) changes.keys.add(id)
    for (const id of accounts.keys()) changes.accounts.add(id)
    store.save(takeChanges(this.#state))
    store.saveCheckpoint(checkpoint(this.#state, this.#nowMs))
    return () => {
      restore(createPool(this.#config, this.#nowMs), createStore(rows).load(), this.#nowMs)
    }
  }

  /** Makes a pool anew without configured accounts, and reports of every key that one owner has them all. */
  learnOwners(): void {
    const keys = this.#config.keys.map((key) => ({ ...key, account: null }))
    const state = createPool({ ...this.#config, keys }, this.#nowMs)
    const owner = accountId('owner')
    for (const [i, { id }] of keys.entries()) {
      report(state, { ...creditOf(id, i, this.#nowMs), owner }, this.#nowMs)
    }
  }

  #ask(
    { model = 'vendor/model', client = 'client', session, isBatch = false }: Request,
    waitMs: number,
  ): Decision {
    if (!this.#isStill) this.#nowMs += 1
    this.#minted += 1
    const request = {
      leaseId: numberedLeaseId(ISOLATE, this.#minted),
      clientId: clientId(client),
      asked: modelId(model),
      models: [modelId(model)] as const,
      triedKeys: [],
      excludedAccounts: [],
      affinity: session === undefined ? null : ({ kind: 'conversation', id: session } as const),
      tokens: 800,
      attempt: 'first',
      leaseMs: LEASE_MS,
      waitMs,
    } as const
    const classed = isBatch ? ({ ...request, class: 'batch' } as const) : request
    return acquire(this.#state, classed, this.#nowMs, this.#random)
  }
}

function heldOf(decision: Decision): Held | null {
  return decision.kind === 'grant' ? { lease: decision.leaseId, key: decision.keyId } : null
}

const USAGE = {
  promptTokens: 600,
  completionTokens: 200,
  cachedTokens: 0,
  reasoningTokens: 0,
  costUsd: 0.000_12,
  estimated: false,
}

function configOf({ keys, strategy, isLimited = false, maxConcurrent }: Setup): PoolConfig {
  return {
    clients: { clients: [], groups: [] },
    keys: Array.from({ length: keys }, (_, i) => ({
      id: keyId(`key-${i}`),
      account: accountId(`account-${i % Math.ceil(keys / 2)}`),
      tags: [],
      weight: 1 + (i % 3),
      maxConcurrent: maxConcurrent ?? (isLimited ? 100_000 : null),
      rpm: isLimited ? 1_000_000 : null,
      tpm: isLimited ? 1_000_000_000 : null,
      minCreditUsd: 0,
      maxSpend: null,
      disabled: false,
      fingerprint: `key-${i}`,
    })),
    routes: [{ models: ['*'], keys: null, strategy, affinity: 'session', fallbackModels: [] }],
    // The defaults, but for a queue that holds more.
    policy: {
      breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
      panicRatio: 0.5,
      retryBudget: { ratio: 0.2, minPerSecond: 2 },
      credit: { refreshMs: 60_000, thresholdUsd: 1 },
      queue: { maxWaiting: 10_000, maxWaitMs: WAIT_MS },
      alerts: alertPolicy(policySchema.parse({}).alerts, []),
      batch: { share: 0.5 },
    },
  }
}

/** What a lookup has found, so that strategies which go by credit have something to go by. */
function creditOf(id: ReturnType<typeof keyId>, position: number, askedAtMs: number) {
  return {
    keyId: id,
    kind: 'valid',
    limitUsd: 1_000_000,
    remainingUsd: 500_000 + position,
    resetsAtMs: null,
    expiresAtMs: null,
    owner: null,
    balanceUsd: null,
    askedAtMs,
  } as const
}

/** Uniform numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
