import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { vi } from 'vitest'
import type { KeyReport } from '../../src/balancing/health/key-report.ts'
import { clientId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { Decision, Grant, LeaseRequest } from '../../src/balancing/lease-request.ts'
import type { BenchOrder, Settlement } from '../../src/balancing/settlement.ts'
import type { PoolSnapshot } from '../../src/balancing/snapshot.ts'
import { KeyPool } from '../../src/key-pool/durable-object.ts'

export const NOTHING = { version: 1, wants: [], settlements: [], lookups: [] } as const

let count = 0

/** A new object for each test, since the tests of a file share the storage. */
export function newPool(): DurableObjectStub<KeyPool> {
  count += 1
  return env.KEY_POOL.getByName(`pool/test/${count}`)
}

interface Deployment {
  readonly keys: readonly object[]
  readonly policy?: object
}

/**
 * Starts a new object over the same storage, as a deployment with this configuration would. The
 * constructor hashes the keys asynchronously, so the object is used only after that.
 */
export async function deployed<T>(
  pool: DurableObjectStub<KeyPool>,
  { keys, policy = {} }: Deployment,
  use: (object: KeyPool) => T,
): Promise<T> {
  return await runInDurableObject(pool, async (_, state) => {
    const secrets = { OPENROUTER_KEYS: JSON.stringify(keys) }
    const object = new KeyPool(state, { ...env, ...secrets, POLICY: policy } as typeof env)
    await state.blockConcurrencyWhile(async () => undefined)
    return use(object)
  })
}

/** The configuration of a key. */
export const keyOf = (id: string) => ({ id, key: `sk-or-v1-test-${id}` })

/** Lets time pass for the object's timers. For tests with a fake clock. */
export async function pass(pool: DurableObjectStub<KeyPool>, ms: number): Promise<void> {
  await runInDurableObject(pool, () => void vi.advanceTimersByTime(ms))
}

/** A key report of now, for a key without a cap, with a test's changes. */
export function keyReportOf(
  id: string,
  changes: Partial<Extract<KeyReport, { kind: 'valid' }>> = {},
): KeyReport {
  return {
    keyId: keyId(id),
    kind: 'valid',
    limitUsd: null,
    remainingUsd: null,
    resetsAtMs: null,
    expiresAtMs: null,
    owner: null,
    balanceUsd: null,
    askedAtMs: Date.now(),
    ...changes,
  }
}

/** A lease request of a first attempt, with a test's changes. */
export function leaseRequestOf(changes: Partial<LeaseRequest> = {}): LeaseRequest {
  count += 1
  const models = changes.models ?? [modelId('vendor/model')]
  return {
    leaseId: leaseId(`lease-${count}`),
    clientId: clientId('tester'),
    asked: models[0],
    models,
    affinity: null,
    tokens: 0,
    waitMs: 0,
    triedKeys: [],
    excludedAccounts: [],
    attempt: 'first',
    leaseMs: 600_000,
    ...changes,
  }
}

export async function ask(
  pool: DurableObjectStub<KeyPool>,
  want: Partial<LeaseRequest> = {},
): Promise<Decision> {
  const [decision] = (await pool.exchange({ ...NOTHING, wants: [leaseRequestOf(want)] })).decisions
  if (decision === undefined) throw new Error('No decision')
  return decision
}

/** Takes a lease on one key by ruling the others out. */
export async function grantOf(
  pool: DurableObjectStub<KeyPool>,
  key: string,
  request: Partial<LeaseRequest> = {},
): Promise<Grant> {
  const others = ['alpha', 'beta', 'gamma'].filter((id) => id !== key).map(keyId)
  const decision = await ask(pool, { ...request, triedKeys: others })
  if (decision.kind !== 'grant') throw new Error(`${key} was refused`)
  return decision
}

export async function give(
  pool: DurableObjectStub<KeyPool>,
  grant: Grant,
  changes: Partial<Settlement> = {},
): Promise<void> {
  const { leaseId, keyId } = grant
  const settlement = { leaseId, keyId, outcome: 'success', benches: [], suspect: false } as const
  const settlements = [{ ...settlement, ...changes }]
  await pool.exchange({ ...NOTHING, settlements })
}

export function failing(...benches: BenchOrder[]): Partial<Settlement> {
  return { outcome: 'failure', fault: 'upstream', benches }
}

export function benching(order: BenchOrder): Partial<Settlement> {
  return { outcome: 'ignorable', fault: 'account', benches: [order] }
}

/** The part of a snapshot that must outlive the object. */
export function lasting({ keys, panic }: PoolSnapshot) {
  return {
    panic,
    keys: keys.map(({ id, reason, clearsAtMs, breaker }) => ({ id, reason, clearsAtMs, breaker })),
  }
}
