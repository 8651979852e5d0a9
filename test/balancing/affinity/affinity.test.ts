import { describe, expect, it } from 'vitest'
import { drivePool, type KeySpec, type PoolDriver } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const HOME_MS = 10 * 60_000

const TWO_ACCOUNTS: readonly KeySpec[] = [
  { id: 'a1', account: 'acme' },
  { id: 'a2', account: 'acme' },
  { id: 'g1', account: 'globex' },
  { id: 'g2', account: 'globex' },
]

const accountOf = (pool: PoolDriver, conversation: string): string => {
  const lease = pool.grant({ affinity: conversation })
  pool.give(lease)
  return lease.accountId
}

/** Serves the turns of some conversations one after another, in random order. */
function talk(pool: PoolDriver, conversations: number, turns: number, seed = 1) {
  const random = seededRandom(seed)
  const pending = Array.from({ length: conversations * turns }, (_, i) => i % conversations)
  const visited = new Map<number, Set<string>>()
  const requests: Record<string, number> = {}
  while (pending.length > 0) {
    const [conversation] = pending.splice(Math.floor(random() * pending.length), 1)
    if (conversation === undefined) break
    const account = accountOf(pool, `conversation-${conversation}`)
    visited.set(conversation, (visited.get(conversation) ?? new Set()).add(account))
    requests[account] = (requests[account] ?? 0) + 1
    pool.wait(100)
  }
  return { visited, requests }
}

describe('a conversation', () => {
  it('stays with one account, whatever others do', () => {
    const { visited } = talk(drivePool(TWO_ACCOUNTS), 40, 5)
    const moved = [...visited.values()].filter(({ size }) => size > 1)
    expect(moved.length).toBeLessThanOrEqual(4)
  })

  it.each([1, 2, 3, 4, 5])(
    'is with one of two accounts, of which none gets much more (seed %i)',
    (seed) => {
      const { requests } = talk(drivePool(TWO_ACCOUNTS, {}, seededRandom(seed)), 40, 5, seed)
      for (const count of Object.values(requests)) expect(count).toBeLessThanOrEqual(1.25 * 100)
    },
  )

  it('uses all keys of its account', () => {
    const pool = drivePool(TWO_ACCOUNTS, { strategy: 'round-robin' })
    const leases = Array.from({ length: 10 }, () => {
      const lease = pool.grant({ affinity: 'one' })
      pool.give(lease)
      return lease
    })
    expect(new Set(leases.map(({ accountId }) => accountId)).size).toBe(1)
    expect(new Set(leases.map(({ keyId }) => keyId)).size).toBe(2)
  })

  it('goes elsewhere when its account can’t serve, and stays there', () => {
    const pool = drivePool(TWO_ACCOUNTS)
    const home = accountOf(pool, 'one')
    const lease = pool.grant({ affinity: 'one' })
    pool.shrug(lease, {
      scope: 'account',
      reason: 'account_rate_limited',
      term: { kind: 'until', untilMs: pool.now() + 5_000 },
    })
    const other = accountOf(pool, 'one')
    expect(other).not.toBe(home)
    pool.wait(6_000)
    // The conversation's prompt is now cached at the other account.
    expect(accountOf(pool, 'one')).toBe(other)
  })

  it('begins anew after ten minutes, and as often as not at the same place', () => {
    const pool = drivePool(TWO_ACCOUNTS)
    const ids = Array.from({ length: 200 }, (_, i) => `conversation-${i}`)
    const first = ids.map((id) => accountOf(pool, id))
    pool.wait(HOME_MS + 60_000)
    const second = ids.map((id) => accountOf(pool, id))
    const same = second.filter((account, i) => account === first[i]).length
    expect(same).toBeGreaterThan(150)
  })

  it('leaves an account that carries more than its part', () => {
    const pool = drivePool(TWO_ACCOUNTS)
    const home = accountOf(pool, 'one')
    const others = Array.from({ length: 400 }, (_, i) => `other-${i}`)
    const neighbours = others.filter((other) => accountOf(pool, other) === home)
    pool.wait(5 * 60_000)
    // After some quiet minutes only conversations of one account have turns, with long answers.
    const leases = neighbours.slice(0, 60).map((affinity) => pool.grant({ affinity }))
    const kept = leases.filter(({ accountId }) => accountId === home)
    expect(kept.length).toBeGreaterThan(30)
    expect(kept.length).toBeLessThanOrEqual(Math.ceil((1.25 * 60) / 2))
  })

  it('leaves an account that carries far more than can be chance, however long it has', () => {
    const pool = drivePool(TWO_ACCOUNTS)
    const home = accountOf(pool, 'one')
    // Forty answers that do not end. None of them belongs to a conversation.
    const elsewhere = home === 'acme' ? 'globex' : 'acme'
    for (let i = 0; i < 40; i++) pool.grant({ notAccounts: [elsewhere] })
    for (let turn = 0; turn < 9; turn++) {
      pool.wait(60_000)
      const account = accountOf(pool, 'one')
      expect(account).toBe(elsewhere)
    }
  })

  it('takes accounts by the weight of their keys', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme', weight: 3 },
      { id: 'g', account: 'globex' },
    ])
    const ids = Array.from({ length: 400 }, (_, i) => `conversation-${i}`)
    const at = ids.map((id) => accountOf(pool, id)).filter((account) => account === 'acme').length
    expect(at / ids.length).toBeGreaterThan(0.68)
    expect(at / ids.length).toBeLessThan(0.82)
  })

  it('takes no key out of its turn that has been tried before', () => {
    const pool = drivePool(TWO_ACCOUNTS)
    const lease = pool.grant({ affinity: 'one' })
    const next = pool.grant({ affinity: 'one', attempt: 'move', tried: [lease.keyId] })
    expect(next.accountId).toBe(lease.accountId)
    expect(next.keyId).not.toBe(lease.keyId)
  })
})

describe('a request that may be answered from OpenRouter’s cache', () => {
  const cached = (id: string) => ({ kind: 'cache', id }) as const

  it('goes to one key, as long as that may serve', () => {
    const pool = drivePool(TWO_ACCOUNTS, { strategy: 'round-robin' })
    const keys = Array.from({ length: 20 }, () => pool.grant({ affinity: cached('same') }).keyId)
    expect(new Set(keys).size).toBe(1)
    const [home] = keys
    const moved = pool.grant({ affinity: cached('same'), tried: home === undefined ? [] : [home] })
    expect(moved.keyId).not.toBe(home)
  })

  it('spreads over the keys by what is asked, and over them by their weights', () => {
    const pool = drivePool([{ id: 'a', weight: 3 }, 'b'])
    const served = Array.from({ length: 800 }, (_, i) => {
      const lease = pool.grant({ affinity: cached(`question ${i}`) })
      pool.give(lease)
      return lease.keyId
    })
    const share = served.filter((id) => id === 'a').length / served.length
    expect(share).toBeGreaterThan(0.68)
    expect(share).toBeLessThan(0.82)
  })

  it('moves few of its kind when a key goes', () => {
    const questions = Array.from({ length: 300 }, (_, i) => `question ${i}`)
    const homes = (keys: readonly string[]) => {
      const pool = drivePool(keys)
      return questions.map((id) => pool.grant({ affinity: cached(id) }).keyId)
    }
    const before = homes(['a', 'b', 'c'])
    const after = homes(['a', 'b'])
    const moved = after.filter((key, i) => key !== before[i])
    expect(moved).toHaveLength(before.filter((key) => key === 'c').length)
  })
})

it('without a conversation no account is kept to', () => {
  const pool = drivePool(TWO_ACCOUNTS, { strategy: 'round-robin' })
  const accounts = Array.from({ length: 4 }, () => pool.grant().accountId)
  expect(new Set(accounts).size).toBe(2)
})
