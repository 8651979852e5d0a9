import { describe, expect, it } from 'vitest'
import type { KeyReport } from '../../../src/balancing/health/key-report.ts'
import { accountId, keyId } from '../../../src/balancing/ids.ts'
import { report } from '../../../src/balancing/pool.ts'
import { takeLookupDuties } from '../../../src/balancing/serving/duty-hand-out.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const REFRESH_MS = 60_000

const SUSPECTED: BenchOrder = {
  scope: 'key',
  reason: 'key_rejected',
  term: { kind: 'for', forMs: 60_000 },
}
const SPENT: BenchOrder = {
  scope: 'key',
  reason: 'key_spent',
  term: { kind: 'lookup', lapseMs: null },
}
const orders = (pool: PoolDriver) => takeLookupDuties(pool.state, pool.now())
const due = (pool: PoolDriver) => orders(pool).map((order) => order.keyId)

/** Reports a lookup that was made now and found no valid key. */
function tell(pool: PoolDriver, id: string, kind: 'rejected' | 'unknown'): void {
  const lookup: KeyReport =
    kind === 'rejected'
      ? { keyId: keyId(id), kind, askedAtMs: pool.now() }
      : { keyId: keyId(id), kind }
  report(pool.state, lookup, pool.now())
}

/** A pool whose keys have all just been looked up. */
function known(...keys: Parameters<typeof drivePool>[0]): PoolDriver {
  const pool = drivePool(keys)
  for (let round = due(pool); round.length > 0; round = due(pool)) {
    for (const id of round) pool.lookUp(id, null)
  }
  return pool
}

/** Settles an attempt that got a 401. */
function suspect(pool: PoolDriver, id: string): void {
  const told = { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true } as const
  pool.give(pool.grantOf(id), told)
}

function spend(pool: PoolDriver, id: string): void {
  pool.shrug(pool.grantOf(id), SPENT)
}

describe('the duty to look a key up', () => {
  it('exists for every key at first, since nothing is known of any', () => {
    expect(due(drivePool(['a', 'b']))).toEqual(['a', 'b'])
  })

  it('comes back as soon as the last answer is as old as it may be, and no sooner', () => {
    const pool = known('a')
    for (let round = 0; round < 3; round++) {
      pool.wait(REFRESH_MS - 1)
      expect(due(pool)).toEqual([])
      pool.wait(1)
      expect(due(pool)).toEqual(['a'])
      pool.lookUp('a', 5)
    }
  })

  it('counts the age of an answer from when OpenRouter was asked', () => {
    const pool = drivePool(['a'])
    due(pool)
    pool.lookUp('a', 5, { askedAtMs: pool.now() - 20_000 })
    pool.wait(REFRESH_MS - 20_001)
    expect(due(pool)).toEqual([])
    pool.wait(1)
    expect(due(pool)).toEqual(['a'])
  })

  it('is not put off by an answer that claims to come from the future', () => {
    const pool = drivePool(['a'])
    due(pool)
    pool.lookUp('a', 5, { askedAtMs: pool.now() + 10 ** 9 })
    pool.wait(REFRESH_MS)
    expect(due(pool)).toEqual(['a'])
  })

  it('is handed to one asker, and to nobody else while its report may come', () => {
    const pool = drivePool(['a'])
    expect([due(pool), due(pool)]).toEqual([['a'], []])
    pool.wait(REFRESH_MS - 1)
    expect(due(pool)).toEqual([])
  })

  it('is handed out again when its report never came', () => {
    const pool = drivePool(['a'])
    due(pool)
    pool.wait(REFRESH_MS)
    expect([due(pool), due(pool)]).toEqual([['a'], []])
  })

  it('comes a few keys at a time, and every key has its turn', () => {
    const ids = Array.from({ length: 10 }, (_, i) => `k${i}`)
    const pool = drivePool(ids)
    const rounds = [due(pool), due(pool), due(pool), due(pool)]
    expect(rounds.map((round) => round.length)).toEqual([4, 4, 2, 0])
    expect(new Set(rounds.flat())).toEqual(new Set(ids))
  })

  it('follows the policy: a pool that wants fresher answers asks more often', () => {
    const pool = drivePool(['a'], { credit: { refreshMs: 30_000 } })
    due(pool)
    pool.lookUp('a', 5)
    pool.wait(30_000)
    expect(due(pool)).toEqual(['a'])
  })

  it('is fulfilled by an answer that somebody else got, if it is fresh enough', () => {
    const pool = drivePool(['a'])
    const [order] = orders(pool)
    expect(order).toMatchObject({ keyId: 'a', withBalance: false })
    // The answer stays fresh for a moment. Otherwise the next lookup would be due at once.
    pool.lookUp('a', 5, { askedAtMs: order?.freshSinceMs ?? 0 })
    expect(due(pool)).toEqual([])
    pool.wait(1)
    expect(due(pool)).toEqual(['a'])
  })

  it('is not repeated at once when a lookup fails', () => {
    const pool = drivePool(['a'])
    due(pool)
    tell(pool, 'a', 'unknown')
    pool.wait(REFRESH_MS - 1)
    expect(due(pool)).toEqual([])
    pool.wait(1)
    expect(due(pool)).toEqual(['a'])
  })

  it('reaches each key once in each refresh, however many requests run', () => {
    const pool = drivePool(['a', 'b', 'c'])
    const asked: string[] = []
    for (let request = 0; request < 1_000; request++) {
      pool.give(pool.grant())
      for (const id of due(pool)) {
        asked.push(id)
        pool.lookUp(id, 50)
      }
      pool.wait(120)
    }
    // In two minutes each key is due at the start and a minute later. The third time would be at
    // their end.
    expect(asked.toSorted().join('')).toBe('aabbcc')
  })
})

describe('a doubt about a key', () => {
  it('has it looked up at once, however fresh the last answer is', () => {
    const pool = known('a', 'b')
    pool.wait(1_000)
    suspect(pool, 'a')
    expect(orders(pool)).toEqual([{ keyId: 'a', freshSinceMs: pool.now(), withBalance: false }])
  })

  it('is not doubled by a second one while somebody is out looking', () => {
    const pool = known('a', 'b')
    const other = pool.grantOf('a')
    suspect(pool, 'a')
    due(pool)
    pool.give(other, { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true })
    expect(due(pool)).toEqual([])
  })

  it('is not settled by an answer from before it', () => {
    const pool = drivePool(['a'])
    due(pool)
    const beforeMs = pool.now()
    pool.wait(1_000)
    suspect(pool, 'a')
    pool.lookUp('a', 5, { askedAtMs: beforeMs })
    expect(pool.refusal().reasons).toEqual({ key_suspected: 1 })
    expect(orders(pool)).toEqual([{ keyId: 'a', freshSinceMs: pool.now(), withBalance: false }])
    pool.lookUp('a', 5)
    expect(pool.grant().keyId).toBe('a')
  })

  it('has it looked up once a minute at most, however many requests raise it', () => {
    const pool = known('a', 'b')
    const out = Array.from({ length: 50 }, () => pool.grantOf('a'))
    let lookups = 0
    for (const lease of out) {
      pool.give(lease, { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true })
      for (const id of due(pool)) {
        lookups += 1
        pool.lookUp(id, null)
      }
      pool.wait(1_000)
    }
    expect(lookups).toBe(1)
    pool.wait(10_000)
    expect(due(pool)).toContain('a')
  })

  it('has it looked up twice at most while doubts come in faster than answers', () => {
    const pool = known('a', 'b')
    const out = Array.from({ length: 50 }, () => pool.grantOf('a'))
    const asked: number[] = []
    for (const lease of out) {
      pool.give(lease, { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true })
      const [last] = asked.slice(-1)
      if (last === pool.now() - 300) pool.lookUp('a', null, { askedAtMs: last })
      if (due(pool).some((id) => id === 'a')) asked.push(pool.now())
      pool.wait(100)
    }
    expect(asked.length).toBeGreaterThanOrEqual(1)
    expect(asked.length).toBeLessThanOrEqual(2)
    pool.wait(REFRESH_MS)
    expect(due(pool)).toContain('a')
  })

  it('that a failed lookup left standing is looked into again in its turn, not at once', () => {
    const pool = known('a')
    suspect(pool, 'a')
    due(pool)
    const doubtedAtMs = pool.now()
    tell(pool, 'a', 'unknown')
    pool.wait(REFRESH_MS - 1)
    expect(orders(pool)).toEqual([])
    pool.wait(1)
    const [order] = orders(pool)
    expect(order?.keyId).toBe('a')
    expect(order?.freshSinceMs).toBeGreaterThanOrEqual(doubtedAtMs)
  })
})

describe('a key that answered 401', () => {
  it('is benched, and back as soon as a lookup finds it valid', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    expect(pool.refusal().reasons).toEqual({ key_suspected: 1 })
    // The lookup is due now, and may bring the key back.
    expect(pool.refusal().retryAtMs).toBe(pool.now() + 1_000)
    pool.lookUp('a', 5)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is not condemned by an answer from before it', () => {
    const pool = drivePool(['a'])
    const askedAtMs = pool.now()
    pool.wait(1_000)
    suspect(pool, 'a')
    report(pool.state, { keyId: keyId('a'), kind: 'rejected', askedAtMs }, pool.now())
    pool.at(pool.key('a').bench?.untilMs ?? 0)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is rejected once a lookup says so too, and time does not cure that', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    tell(pool, 'a', 'rejected')
    pool.wait(10 ** 10)
    expect(pool.refusal()).toMatchObject({ reasons: { key_rejected: 1 }, retryAtMs: null })
  })

  it('that was rejected is looked up with everybody else, and comes back when it is valid', () => {
    const pool = known('a')
    suspect(pool, 'a')
    due(pool)
    for (let minute = 0; minute < 3; minute++) {
      tell(pool, 'a', 'rejected')
      pool.wait(REFRESH_MS - 1)
      expect(due(pool)).toEqual([])
      pool.wait(1)
      expect(due(pool)).toEqual(['a'])
    }
    pool.lookUp('a', null)
    expect(pool.grant().keyId).toBe('a')
  })

  it('stays benched but unconvicted when the lookup itself fails, and is back with time', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    due(pool)
    tell(pool, 'a', 'unknown')
    // The next lookup comes before the bench ends, and may be believed.
    expect(pool.refusal().retryAtMs).toBe(pool.now() + REFRESH_MS)
    pool.at(pool.key('a').bench?.untilMs ?? 0)
    expect(pool.grant().keyId).toBe('a')
  })
})

it('a key that serves is not condemned because /key alone answers 401', () => {
  const pool = drivePool(['a'])
  for (let minute = 0; minute < 3; minute++) {
    tell(pool, 'a', 'rejected')
    expect(pool.grant().keyId).toBe('a')
    pool.wait(REFRESH_MS)
  }
})

describe('a spent key', () => {
  it('serves again when a lookup shows that it was topped up', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    pool.wait(10 ** 9)
    expect(pool.refusal()).toMatchObject({ reasons: { key_spent: 1 }, retryAtMs: null })
    pool.lookUp('a', 0.01)
    expect(pool.grant().keyId).toBe('a')
  })

  it.each([0, -0.5])('stays spent when a lookup shows %d left', (remainingUsd) => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    pool.lookUp('a', remainingUsd)
    expect(pool.refusal().reasons).toEqual({ key_spent: 1 })
  })

  it('serves again when its cap was lifted', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    pool.lookUp('a', null)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is looked up with everybody else until then', () => {
    const pool = known('a')
    spend(pool, 'a')
    expect(due(pool)).toEqual([])
    for (let minute = 0; minute < 3; minute++) {
      pool.wait(REFRESH_MS)
      expect(due(pool)).toEqual(['a'])
      pool.lookUp('a', 0)
    }
    expect(pool.refusal().reasons).toMatchObject({ key_spent: 1 })
  })

  it('is not freed by an answer from before it was spent', () => {
    const pool = drivePool(['a'])
    const beforeMs = pool.now()
    pool.wait(1_000)
    spend(pool, 'a')
    pool.lookUp('a', 5, { askedAtMs: beforeMs })
    expect(pool.refusal().reasons).toEqual({ key_spent: 1 })
  })

  it('is not freed by a failed lookup, nor convicted of anything worse', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    tell(pool, 'a', 'unknown')
    expect(pool.refusal().reasons).toEqual({ key_spent: 1 })
  })
})

it('a failed lookup keeps the last answer and marks it as old', () => {
  const pool = drivePool(['a'])
  pool.lookUp('a', 5)
  tell(pool, 'a', 'unknown')
  expect(pool.key('a').credit).toMatchObject({ remainingUsd: 5, stale: true })
  pool.wait(REFRESH_MS)
  pool.lookUp('a', 4)
  expect(pool.key('a').credit).toMatchObject({ remainingUsd: 4, stale: false })
})

it('an answer tells who pays, unless the configuration does', () => {
  const pool = drivePool([
    { id: 'a', account: null },
    { id: 'b', account: 'acme' },
  ])
  for (const id of ['a', 'b']) pool.lookUp(id, null, { owner: accountId('org-1') })
  expect(pool.key('b').account.id).toBe('acme')
  // The owner's other key belongs to acme, so this key does too.
  expect(pool.key('a').account.id).toBe('acme')
})

it('a valid key is no reason to end a rate limit', () => {
  const pool = drivePool(['a'])
  const untilMs = pool.now() + 5_000
  const reason = 'account_rate_limited'
  pool.shrug(pool.grant(), { scope: 'key', reason, term: { kind: 'until', untilMs } })
  pool.lookUp('a', 10)
  expect(pool.refusal()).toMatchObject({ reasons: { account_rate_limited: 1 }, retryAtMs: untilMs })
})

it('a lookup of a key that is no longer configured changes nothing', () => {
  const pool = drivePool(['a'])
  tell(pool, 'gone', 'rejected')
  expect(pool.grant().keyId).toBe('a')
})

it('a disabled key is never looked up', () => {
  const pool = known('a', { id: 'b', disabled: true })
  tell(pool, 'b', 'rejected')
  pool.wait(10 ** 6)
  expect(due(pool)).toEqual(['a'])
})
