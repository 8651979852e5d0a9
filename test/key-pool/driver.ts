import { env } from 'cloudflare:workers'
import { clientId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { Grant, Refusal, Want } from '../../src/balancing/pool.ts'
import type { BenchOrder, Settlement } from '../../src/balancing/settlement.ts'
import type { PoolSnapshot } from '../../src/balancing/snapshot.ts'
import type { KeyPool } from '../../src/key-pool/object.ts'

let count = 0

/** An object of its own for each test: storage is shared by the tests of a file. */
export function newPool(): DurableObjectStub<KeyPool> {
  count += 1
  return env.KEY_POOL.getByName(`pool/test/${count}`)
}

/** A want of a first attempt, with what a test cares about changed. */
export function wantOf(changes: Partial<Want> = {}): Want {
  count += 1
  return {
    leaseId: leaseId(`lease-${count}`),
    clientId: clientId('tester'),
    model: modelId('vendor/model'),
    triedKeys: [],
    excludedAccounts: [],
    attempt: 'first',
    leaseMs: 600_000,
    ...changes,
  }
}

export async function ask(
  pool: DurableObjectStub<KeyPool>,
  want: Partial<Want> = {},
): Promise<Grant | Refusal> {
  const request = { version: 1, wants: [wantOf(want)], settlements: [], lookups: [] } as const
  const [decision] = (await pool.exchange(request)).decisions
  if (decision === undefined) throw new Error('No decision')
  return decision
}

/** Takes a lease on a certain key, by ruling the others out. */
export async function grantOf(pool: DurableObjectStub<KeyPool>, key: string): Promise<Grant> {
  const others = ['alpha', 'beta', 'gamma'].filter((id) => id !== key).map(keyId)
  const decision = await ask(pool, { triedKeys: others })
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
  await pool.exchange({ version: 1, wants: [], settlements, lookups: [] })
}

export function failing(...benches: BenchOrder[]): Partial<Settlement> {
  return { outcome: 'failure', fault: 'upstream', benches }
}

export function benching(order: BenchOrder): Partial<Settlement> {
  return { outcome: 'ignorable', fault: 'account', benches: [order] }
}

/** What of a snapshot must outlive the object. */
export function lasting({ keys, panic }: PoolSnapshot) {
  return {
    panic,
    keys: keys.map(({ id, reason, clearsAtMs, breaker }) => ({ id, reason, clearsAtMs, breaker })),
  }
}
