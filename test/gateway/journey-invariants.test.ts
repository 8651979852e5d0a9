import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { letTimePass } from '../../src/balancing/serving/lease-end.ts'
import { seededRandom } from '../balancing/seeded-random.ts'
import { within } from '../property-limits.ts'
import { type JourneyPlan, journeyArbitrary, type Leaving } from './journey-arbitraries.ts'
import { errorsIn } from './stream-texts.ts'
import { createVirtualWorld, type KeySpec, type Sent, type VirtualWorld } from './virtual-world.ts'

const KEYS: readonly KeySpec[] = [
  { id: 'a', account: 'acme' },
  { id: 'b', account: 'acme' },
  { id: 'c', account: 'globex' },
  { id: 'd', account: 'globex' },
  { id: 'e', account: 'initech' },
  { id: 'f', account: 'umbrella', maxConcurrent: 1 },
]

/** Longer than a request may take, and longer than its lease lasts. */
const LONG_MS = 700_000

/** Rows of the contract's table after which the next attempt is paid from the retry budget. */
const PAID_ROWS: ReadonlySet<string | null> = new Set(['1', '3', '12', '16', '16b'])
/** Rows after which none of the account's keys is tried again. */
const ACCOUNT_ROWS: ReadonlySet<string | null> = new Set(['2', '7', '8', '9', '11', '13b'])

async function leave(sent: Sent, client: AbortController, by: Leaving['by']): Promise<void> {
  if (by !== 'cancel') client.abort()
  if (by !== 'signal') await sent.cancel()
}

/** Runs one journey, until none of its events is left. */
async function live({ scripts, connections, leaving, maxAttempts, seed }: JourneyPlan) {
  const random = seededRandom(seed)
  const world = createVirtualWorld({ keys: KEYS, maxAttempts, random })
  world.upstream.on('chat/completions', ...scripts)
  world.upstream.on('key', scripts[0] ?? {})
  world.pool.connect(connections)
  const client = new AbortController()
  const sent = world.send({ signal: client.signal, reads: leaving?.reads ?? 'along' })
  if (leaving !== null) {
    await world.time.advance(leaving.afterMs)
    await leave(sent, client, leaving.by)
    // A client can cancel a body only once there is one. Before that, it leaves by its signal.
    if (sent.response() === null) client.abort()
  }
  await world.time.advance(LONG_MS)
  return { world, sent }
}

function expectItEnds(world: VirtualWorld, sent: Sent): void {
  expect(sent.bug()).toBeNull()
  expect(sent.response()).not.toBeNull()
  expect(world.time.openTimers()).toBe(0)
  expect(world.pool.bugs).toEqual([])
  expect(world.upstream.calls.filter(({ isOpen }) => isOpen)).toEqual([])
}

function expectKeysAreChosenFairly(world: VirtualWorld, sent: Sent, maxAttempts: number): void {
  const attempts = sent.report()?.attempts ?? []
  expect(world.keysCalled()).toEqual(attempts.map(({ key }) => key))
  expect(attempts.length).toBeLessThanOrEqual(maxAttempts)
  // One key may serve twice, where no other may: one that failed by a fault of upstream's.
  const again = attempts.filter(({ key }, i) => attempts.findIndex((a) => a.key === key) < i)
  expect(again.length).toBeLessThanOrEqual(1)
  for (const { key } of again) {
    expect(PAID_ROWS).toContain(attempts.find((a) => a.key === key)?.row)
  }
  const accountOf = (id: string) => KEYS.find((key) => key.id === id)?.account
  for (const [i, { key, row }] of attempts.entries()) {
    if (!ACCOUNT_ROWS.has(row)) continue
    const later = attempts.slice(i + 1).map((attempt) => accountOf(attempt.key))
    expect(later).not.toContain(accountOf(key))
  }
}

/** The client has output of the last attempt only, and at most one error event. */
function expectNothingWasRetriedAfterOutput(world: VirtualWorld, sent: Sent): void {
  const text = sent.text()
  const received = new Set(Array.from(text.matchAll(/output of (\d+)/g), (match) => match[1]))
  const last = world.keysCalled().length - 1
  if (received.size > 0) expect([...received]).toEqual([String(last)])
  const isStream = sent.response()?.headers.get('content-type') === 'text/event-stream'
  if (!isStream || sent.state() !== 'ended') return
  // A stream that was cut in the middle of an event contains an event that is not JSON.
  const errors = errorsIn(text.replace('data: {"cut\n', ''))
  expect(errors.length).toBe(sent.report()?.outcome === 'failed' ? 1 : 0)
}

/** If no call to the pool is lost, every lease is settled once and every retry is paid for. */
function expectExactBooks({ pool }: VirtualWorld, sent: Sent): void {
  const granted = pool.decisions.flatMap((decision) =>
    decision.kind === 'grant' ? [decision.leaseId] : [],
  )
  for (const id of granted) expect(pool.settlementsOf(id)).toHaveLength(1)
  expect(pool.settlements).toHaveLength(granted.length)
  const attempts = sent.report()?.attempts ?? []
  const served = pool.wants.filter(({ leaseId }) => granted.includes(leaseId))
  for (const [i, want] of served.entries()) {
    const before = attempts[i - 1]
    const isAgain = attempts.slice(0, i).some(({ key }) => key === attempts[i]?.key)
    const paid = before !== undefined && (isAgain || PAID_ROWS.has(before.row))
    expect(want.attempt).toBe(before === undefined ? 'first' : paid ? 'retry' : 'move')
  }
}

/** Even if calls to the pool are lost or repeated, no attempt counts twice and no lease is lost. */
function expectLeasesCameBack({ pool, time }: VirtualWorld): void {
  letTimePass(pool.state, time.nowMs())
  expect(pool.inFlight()).toBe(0)
  expect(pool.unsettled()).toEqual([])
  const counted = [...pool.state.ledger.byKey.values()].reduce(
    (sum, t) => sum + t.total.attempts,
    0,
  )
  expect(counted).toBeLessThanOrEqual(new Set(pool.settlements.map(({ leaseId }) => leaseId)).size)
}

describe('whatever upstream, the pool and the client do', () => {
  it('a request ends, gives back its leases once, and keeps to the rules', async () => {
    await fc.assert(
      fc.asyncProperty(journeyArbitrary, async (any) => {
        const { world, sent } = await live(any)
        expect(sent.report()).not.toBeNull()
        expectItEnds(world, sent)
        expectKeysAreChosenFairly(world, sent, any.maxAttempts)
        expectNothingWasRetriedAfterOutput(world, sent)
        expectLeasesCameBack(world)
        if (any.connections.length === 0) expectExactBooks(world, sent)
      }),
      { numRuns: 1_500, seed: 11, ...within(100_000) },
    )
  }, 120_000)
})
