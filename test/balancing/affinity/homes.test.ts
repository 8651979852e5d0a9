import { describe, expect, it } from 'vitest'
import type { AccountLoad } from '../../../src/balancing/affinity/account-load.ts'
import {
  accountFor,
  countRequest,
  createAffinities,
  homeOf,
  loadOf,
  mayKeep,
  remember,
} from '../../../src/balancing/affinity/affinity.ts'
import { accountsOf } from '../../../src/balancing/affinity/candidate-accounts.ts'
import { accountId } from '../../../src/balancing/ids.ts'

const T = 1_800_000_000_000
const MINUTE = 60_000
const TEN_MINUTES = 10 * MINUTE
const [X, Y] = [accountId('x'), accountId('y')]

/** Two accounts with what they carry, and the keys of them that may serve. */
function twoAccounts(
  x: Partial<AccountLoad>,
  y: Partial<AccountLoad> = {},
  [xWeight, yWeight]: readonly [number, number] = [1, 1],
) {
  const affinities = createAffinities(T)
  const loads = [Object.assign(loadOf(affinities, X), x), Object.assign(loadOf(affinities, Y), y)]
  const keys = [xWeight, yWeight].map((weight, at) => ({
    weight,
    account: { load: loads[at] as AccountLoad },
  }))
  return { affinities, loads, among: accountsOf(affinities, keys) }
}

const homes = ({ youngHomes, oldHomes }: AccountLoad) => [youngHomes, oldHomes]

describe('the home of a conversation', () => {
  it('is the account that served it last, for ten minutes', () => {
    const { affinities, loads } = twoAccounts({})
    expect(homeOf(affinities, 'talk', T)).toBeNull()
    remember(affinities, 'talk', X, T)
    remember(affinities, 'talk', Y, T + 1)
    expect(homeOf(affinities, 'talk', T + 1 + TEN_MINUTES)).toBe(loads[1])
    expect(homeOf(affinities, 'talk', T + 2 + TEN_MINUTES)).toBeNull()
  })

  it('is counted once, where it is', () => {
    const { affinities, loads } = twoAccounts({})
    remember(affinities, 'talk', X, T)
    remember(affinities, 'talk', X, T)
    expect(loads.map(homes)).toEqual([
      [1, 0],
      [0, 0],
    ])
    remember(affinities, 'talk', Y, T)
    expect(loads.map(homes)).toEqual([
      [0, 0],
      [1, 0],
    ])
  })

  it('is counted once also when it is old and is spoken in again, and not at all when forgotten', () => {
    const { affinities, loads } = twoAccounts({})
    for (const id of ['a', 'b']) remember(affinities, id, X, T)
    remember(affinities, 'c', Y, T + TEN_MINUTES - 1)
    expect(loads.map(homes)).toEqual([
      [2, 0],
      [1, 0],
    ])
    remember(affinities, 'd', Y, T + TEN_MINUTES)
    expect(loads.map(homes)).toEqual([
      [0, 2],
      [1, 1],
    ])
    remember(affinities, 'a', Y, T + TEN_MINUTES)
    expect(loads.map(homes)).toEqual([
      [0, 1],
      [2, 1],
    ])
    remember(affinities, 'e', X, T + 2 * TEN_MINUTES)
    expect(loads.map(homes)).toEqual([
      [1, 0],
      [0, 2],
    ])
    expect(homeOf(affinities, 'b', T + TEN_MINUTES)).toBeNull()
    expect(homeOf(affinities, 'a', T + 2 * TEN_MINUTES)).toBe(loads[1])
  })

  it('is forgotten sooner where there are more than ten thousand, the oldest first', () => {
    const { affinities } = twoAccounts({})
    for (let i = 0; i < 20_000; i++) remember(affinities, `talk-${i}`, X, T)
    expect(homeOf(affinities, 'talk-0', T)?.id).toBe(X)
    remember(affinities, 'talk-20000', X, T)
    expect(homeOf(affinities, 'talk-0', T)).toBeNull()
    expect(homeOf(affinities, 'talk-10000', T)?.id).toBe(X)
  })
})

describe('an account keeps its conversations', () => {
  it.each([
    ['while it has its part', { inFlight: 2, recent: 9 }, { inFlight: 1 }, true],
    [
      'while others had as much of the last minute',
      { inFlight: 3, recent: 1 },
      { recent: 1 },
      true,
    ],
    ['up to a quarter more of the last minute', { inFlight: 3, recent: 5 }, { recent: 3 }, true],
    ['no more beyond it', { inFlight: 3, recent: 5.1 }, { recent: 3 }, false],
    ['no more when it had all', { inFlight: 3, recent: 1 }, {}, false],
    ['while more may be chance', { inFlight: 12 }, {}, true],
    ['no more when that can be no chance', { inFlight: 13 }, {}, false],
  ])('%s', (_, x, y, keeps) => {
    const { loads, among } = twoAccounts(x, y)
    expect(mayKeep(among, loads[0] as AccountLoad)).toBe(keeps)
  })

  it('for three times as long with three times the weight', () => {
    const carried = { inFlight: 3, recent: 1 }
    const { loads, among } = twoAccounts(carried, {}, [3, 1])
    expect(mayKeep(among, loads[0] as AccountLoad)).toBe(true)
    const { loads: equal, among: evenly } = twoAccounts(carried)
    expect(mayKeep(evenly, equal[0] as AccountLoad)).toBe(false)
  })

  it('not where none of its keys may serve', () => {
    const { affinities, among } = twoAccounts({})
    expect(mayKeep(among, loadOf(affinities, accountId('z')))).toBe(false)
  })
})

describe('a conversation without a home', () => {
  /** One that is X’s by its name alone. */
  const ID = Array.from({ length: 100 }, (_, i) => `talk-${i}`).find((id) => {
    const { affinities, among } = twoAccounts({})
    return accountFor(affinities, id, among, T).id === X
  }) as string

  it.each([
    ['is where its name says', {}, {}, X],
    ['is there while others have as many', { youngHomes: 2 }, { youngHomes: 1 }, X],
    ['is elsewhere where there are too many', { youngHomes: 2 }, {}, Y],
    ['is elsewhere where there were too many', { youngHomes: 1, oldHomes: 1 }, {}, Y],
    ['is elsewhere where too much runs', { inFlight: 3, recent: 1 }, {}, Y],
    [
      'is where too many are rather than where too much runs',
      { youngHomes: 2 },
      { inFlight: 3, recent: 1 },
      X,
    ],
  ])('%s', (_, x, y, account) => {
    const { affinities, among } = twoAccounts(x, y)
    expect(accountFor(affinities, ID, among, T).id).toBe(account)
  })

  it('is at a home that it has, whatever its name says, as long as that is not overloaded', () => {
    const { affinities, among, loads } = twoAccounts({})
    remember(affinities, ID, Y, T)
    expect(accountFor(affinities, ID, among, T).id).toBe(Y)
    Object.assign(loads[1] as AccountLoad, { inFlight: 3, recent: 1 })
    expect(accountFor(affinities, ID, among, T).id).toBe(X)
  })
})

describe('a request counts for its account', () => {
  it('less by the minute', () => {
    const { affinities, loads } = twoAccounts({})
    const [x, y] = loads as [AccountLoad, AccountLoad]
    countRequest(affinities, x, T)
    countRequest(affinities, y, T + MINUTE)
    expect(y.recent / x.recent).toBeCloseTo(Math.E, 6)
    countRequest(affinities, x, T + MINUTE)
    expect(x.recent / y.recent).toBeCloseTo(1 + 1 / Math.E, 6)
  })

  it('by the same scale after twenty minutes, and the figures stay small', () => {
    const { affinities, loads } = twoAccounts({})
    const [x, y] = loads as [AccountLoad, AccountLoad]
    countRequest(affinities, x, T + 19 * MINUTE)
    countRequest(affinities, y, T + 20 * MINUTE)
    expect(y.recent).toBeCloseTo(1, 6)
    expect(x.recent).toBeCloseTo(1 / Math.E, 6)
    countRequest(affinities, y, T + 40 * MINUTE - 1)
    expect(y.recent).toBeGreaterThan(1_000)
    countRequest(affinities, y, T + 40 * MINUTE)
    expect(y.recent).toBeLessThan(3)
  })

  it('as of now where a clock was set back', () => {
    const { affinities, loads } = twoAccounts({})
    countRequest(affinities, loads[0] as AccountLoad, T - MINUTE)
    expect(loads[0]?.recent).toBe(1)
  })
})

it('keys of one account are one account, which weighs what they do on average', () => {
  const { affinities, loads } = twoAccounts({})
  const keyOf = (weight: number, at: number) => ({
    weight,
    account: { load: loads[at] as AccountLoad },
  })
  const { parts, weights } = accountsOf(affinities, [
    keyOf(1, 0),
    keyOf(2, 1),
    keyOf(3, 0),
    keyOf(8, 0),
  ])
  expect(parts.map(({ load, weight, keyCount }) => [load.id, weight, keyCount])).toEqual([
    ['x', 4, 3],
    ['y', 2, 1],
  ])
  expect(weights).toBe(6)
  expect(accountsOf(affinities, [keyOf(5, 1)]).parts).toHaveLength(1)
})
