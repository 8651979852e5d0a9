import { describe, expect, it } from 'vitest'
import { clientId, keyId, leaseId } from '../../../src/balancing/ids.ts'
import type { Refusal } from '../../../src/balancing/lease-request.ts'
import type { QuotaCharge } from '../../../src/balancing/limits/quota-charge.ts'
import type { Waiter } from '../../../src/balancing/queue/waiter.ts'
import {
  firstOfLine,
  foremostOf,
  type Line,
  type Offer,
} from '../../../src/balancing/queue/waiting-line.ts'
import {
  claimKey,
  createQueue,
  displace,
  enter,
  firstFor,
  foremost,
  forget,
  leave,
  noteMoment,
  restIfEmpty,
  shareOfClient,
  sweep,
  takeMoments,
  youngestOf,
} from '../../../src/balancing/queue/waiting-queue.ts'
import { leaseRequestOf } from '../pool-driver.ts'

const NOW = 1_000_000
const [A, B] = [keyId('a'), keyId('b')]
const REFUSAL: Refusal = { kind: 'refusal', cause: 'no_key', reasons: {}, retryAtMs: null }
const CHARGE: QuotaCharge = {
  ...{ clientId: clientId('app'), groupId: null, requests: 1, tokens: 0, chargedAtMs: NOW },
  holds: [],
}

interface Who {
  readonly client?: string
  readonly lane?: string
  readonly line?: string
  readonly size?: number
  readonly tokens?: number
  readonly cost?: number | null
  readonly deadlineMs?: number
  readonly polledAtMs?: number
  readonly charge?: QuotaCharge
}

/** A queue in which one after the other waits, named in order of arrival. */
function queueOf(...all: readonly Who[]) {
  const queue = createQueue()
  const join = ({ client = 'app', lane = 'lane', size, tokens, cost, ...who }: Who = {}): Waiter =>
    enter(
      queue,
      { lane, line: who.line ?? `line of ${lane}`, route: 3 },
      {
        request: leaseRequestOf(
          {
            client,
            ...(size === undefined ? {} : { size }),
            ...(tokens === undefined ? {} : { tokens }),
            ...(cost === undefined ? {} : { costNanos: cost }),
          },
          `w${queue.arrivals + 1}`,
        ),
        deadlineMs: who.deadlineMs ?? NOW + 10_000,
        lastPolledAtMs: who.polledAtMs ?? NOW,
        ...{ refusal: REFUSAL, charge: who.charge ?? null },
      },
    )
  const waiters = all.map(join)
  const line = (name = 'line of lane'): Line => {
    const found = queue.lines.get(name)
    if (found === undefined) throw new Error(`no ${name}`)
    return found
  }
  return { queue, join, waiters, line, at: (i: number) => waiters[i] as Waiter }
}

const nameOf = (waiter: Waiter | undefined | null): string => waiter?.request.leaseId ?? 'nobody'
const many = (count: number, who: Who = {}) => Array.from({ length: count }, () => who)

/** A key that has something for some waiters, by name, and what it was asked. */
function offeringOf(
  has: (name: string) => boolean = () => true,
  {
    tooLargeFrom = Number.POSITIVE_INFINITY,
    tokensLeft = Number.POSITIVE_INFINITY,
    nanosLeft = Number.POSITIVE_INFINITY,
    isFor = (_: Line): boolean => true,
  } = {},
) {
  const asked: string[] = []
  const hidden: number[] = []
  const offer = (waiter: Waiter): Offer<string> => {
    asked.push(nameOf(waiter))
    return has(nameOf(waiter)) ? { kind: 'now', model: 'm' } : { kind: 'nothing' }
  }
  const hides = (untilMs: number) => void hidden.push(untilMs)
  const left = () => ({ tokens: tokensLeft, nanos: nanosLeft })
  return { asked, hidden, offering: { nowMs: NOW, tooLargeFrom, left, isFor, offer, hides } }
}

describe('of a line', () => {
  it('the first goes that the key has something for and that still waits', () => {
    const { line, at, queue } = queueOf(
      {},
      { deadlineMs: NOW },
      { polledAtMs: NOW - 5_001 },
      { polledAtMs: NOW - 5_000, deadlineMs: NOW + 1 },
      {},
      {},
    )
    leave(queue, at(0))
    const { asked, offering } = offeringOf((name) => name !== 'w4')
    const first = firstOfLine(line(), offering)
    expect([nameOf(first?.waiter), first?.offer, asked]).toEqual([
      ...['w5', { kind: 'now', model: 'm' }, ['w4', 'w5']],
    ])
  })

  it('sixteen are looked at, and the key is looked at again when one of them may be gone', () => {
    const { line, join } = queueOf(...many(15), { deadlineMs: NOW + 700 })
    const none = offeringOf(() => false)
    expect(firstOfLine(line(), none.offering)).toBeNull()
    expect([none.asked.length, none.hidden]).toEqual([16, []])
    join({ deadlineMs: NOW + 100 })
    const hides = offeringOf((name) => name === 'w17')
    expect(firstOfLine(line(), hides.offering)).toBeNull()
    expect([hides.asked.length, hides.hidden]).toEqual([16, [NOW + 700]])
    expect(foremostOf(line(), NOW).map(nameOf)).toEqual(hides.asked)
    expect(foremostOf(line(), NOW + 700)).toHaveLength(15)
  })

  it('behind sixteen of no use goes who needs no more tokens than the key has left, and only he', () => {
    const tokens = (i: number) => (i === 140 ? 7 : 100 + i)
    const { line, at } = queueOf(...Array.from({ length: 150 }, (_, i) => ({ tokens: tokens(i) })))
    const little = nameOf(at(140))
    const goes = (left: number, isFor = (name: string) => name === little) => {
      const { asked, offering } = offeringOf(isFor, { tokensLeft: left })
      return [nameOf(firstOfLine(line(), offering)?.waiter), asked.length]
    }
    expect(goes(6)).toEqual(['nobody', 16])
    expect(goes(7)).toEqual([little, 17])
    expect(goes(118)).toEqual([little, 20])
    // So many are looked at once more.
    expect(goes(200)).toEqual(['nobody', 32])
    expect(goes(7, () => false)).toEqual(['nobody', 17])
  })

  it('behind sixteen of no use goes who costs no more than the key has left, if that is known', () => {
    const costs = (i: number) => (i === 140 ? 7 : i < 70 ? 100 + i : null)
    const { line, at } = queueOf(...Array.from({ length: 150 }, (_, i) => ({ cost: costs(i) })))
    const cheap = nameOf(at(140))
    const goes = (left: number) => {
      const { asked, offering } = offeringOf((name) => name === cheap, { nanosLeft: left })
      return [nameOf(firstOfLine(line(), offering)?.waiter), asked.length]
    }
    expect(goes(6)).toEqual(['nobody', 16])
    expect(goes(7)).toEqual([cheap, 17])
    expect(goes(117)).toEqual([cheap, 19])
  })

  it('a Worker that does not ask is gone a millisecond after its five seconds', () => {
    const { line } = queueOf(...many(17, { polledAtMs: NOW - 4_000 }))
    const { hidden, offering } = offeringOf(() => false)
    firstOfLine(line(), offering)
    expect(hidden).toEqual([NOW + 1_001])
  })

  it('those that are too large for a key are passed over without a look at each', () => {
    const { line, join, at, queue } = queueOf(...many(200, { size: 50 }), ...many(100, { size: 9 }))
    let looks = 0
    for (const { request } of line().waiters) {
      const { size } = request
      Object.defineProperty(request, 'size', {
        get: () => {
          looks += 1
          return size
        },
      })
    }
    const found = (tooLargeFrom?: number) => {
      looks = 0
      const { offering } = offeringOf(undefined, tooLargeFrom === undefined ? {} : { tooLargeFrom })
      return nameOf(firstOfLine(line(), offering)?.waiter)
    }
    // The first small one stands in the middle of the fourth stretch of 64.
    expect(found(50)).toBe('w201')
    expect(looks).toBeLessThan(90)
    expect([found(51), found(9), found(10), found()]).toEqual(['w1', 'nobody', 'w201', 'w1'])
    expect(found(9)).toBe('nobody')
    expect(looks).toBeLessThanOrEqual(2 * 64)
    // The small ones of a stretch leave: it is measured once more, and then passed over.
    for (let i = 200; i < 256; i++) leave(queue, at(i))
    expect(found(50)).toBe('w257')
    const measured = looks
    found(50)
    expect(looks).toBeLessThan(measured)
    join({ size: 1 })
    expect(found(9)).toBe('w301')
  })

  it('one without a size is too large for no key', () => {
    const { line } = queueOf({ size: 5 }, {})
    const { offering } = offeringOf(undefined, { tooLargeFrom: 1 })
    expect(nameOf(firstOfLine(line(), offering)?.waiter)).toBe('w2')
  })

  it.each([
    // Of forty, more than half have left, but not more than 32.
    [40, 32, 40, 19],
    [40, 33, 7, 19],
    // Of seventy, more than 32 have left, but not more than half.
    [70, 35, 70, 70],
    [70, 36, 34, 34],
  ])('of %i of whom %i leave, %i places are kept', (count, leaving, kept, shared) => {
    const { queue, line, at } = queueOf(...many(count))
    for (let i = 0; i < leaving; i++) leave(queue, at(i))
    expect(line().waiters).toHaveLength(kept)
    expect(line().waiters.at(-1)).toBe(at(count - 1))
    expect(nameOf(firstOfLine(line(), offeringOf().offering)?.waiter)).toBe(`w${leaving + 1}`)
    // A share of more than 32 places is cleared up as soon as more than half have left.
    const share = shareOfClient(queue, clientId('app'))
    const ofLane = share.lanes.get('lane')
    expect([share.size, ofLane?.size]).toEqual([count - leaving, count - leaving])
    expect([share.waiters.length, ofLane?.waiters.length]).toEqual([shared, shared])
    // What has left is not counted twice.
    for (let i = leaving; i < leaving + 3; i++) leave(queue, at(i))
    expect(line().waiters.length).toBeGreaterThanOrEqual(count - leaving - 3)
  })
})

describe('over all lines', () => {
  it('the one goes that came first, of the lines that the key is for', () => {
    const { queue } = queueOf({ lane: 'x' }, { lane: 'y' }, { lane: 'z' }, { lane: 'x' })
    const first = (has?: (name: string) => boolean, isFor = (_: Line): boolean => true) =>
      nameOf(firstFor(queue, offeringOf(has, { isFor }).offering)?.waiter)
    expect(first()).toBe('w1')
    expect(first((name) => name !== 'w1')).toBe('w2')
    expect(first((name) => name > 'w2')).toBe('w3')
    expect(first(undefined, ({ name }) => name === 'line of z')).toBe('w3')
    expect(first((name) => name === 'w4')).toBe('w4')
    expect(first(() => false)).toBe('nobody')
  })

  it('no line is looked at whose first came after one that the key has something for', () => {
    const { queue } = queueOf({ lane: 'x' }, { lane: 'y' })
    const looked: string[] = []
    const isFor = ({ name }: Line) => looked.push(name) > 0
    firstFor(queue, offeringOf(undefined, { isFor }).offering)
    expect(looked).toEqual(['line of x'])
  })

  it('a line in which nobody waits any more is gone, and whose Worker is gone leaves', () => {
    const { queue, at } = queueOf(
      { lane: 'x', polledAtMs: NOW - 6_000 },
      { lane: 'x', deadlineMs: NOW - 1 },
      { lane: 'y' },
    )
    expect(nameOf(firstFor(queue, offeringOf().offering)?.waiter)).toBe('w3')
    expect([...queue.lines.keys()]).toEqual(['line of y'])
    expect([at(0).state, at(1).state]).toEqual(['gone', 'waits'])
    expect(queue.size).toBe(2)
    // A line of the dead that is cleared up meanwhile has its first living one found.
    const long = queueOf(...many(40, { polledAtMs: NOW - 6_000 }), {})
    expect(nameOf(firstFor(long.queue, offeringOf().offering)?.waiter)).toBe('w41')
    expect(foremost(long.queue, 'line of lane', NOW).map(nameOf)).toEqual(['w41'])
    expect(foremost(long.queue, 'no line', NOW)).toEqual([])
  })
})

describe('who leaves', () => {
  it('lets go of its keys and of what it has taken of its client, and its shares shrink', () => {
    const { queue, at } = queueOf({ charge: CHARGE }, { lane: 'other' }, { client: 'b' })
    claimKey(queue, A, at(0))
    queue.changed.clear()
    leave(queue, at(0))
    expect(at(0)).toMatchObject({ state: 'gone', charge: null, claims: new Set() })
    expect([queue.size, queue.waiters.size, queue.claims.size]).toEqual([2, 2, 0])
    expect([...queue.changed]).toEqual(['a'])
    expect(queue.uncharged).toEqual([CHARGE])
    const share = shareOfClient(queue, clientId('app'))
    expect([share.size, [...share.lanes.keys()]]).toEqual([1, ['other']])
    // Once more changes nothing.
    leave(queue, at(0))
    expect([queue.size, queue.uncharged.length]).toEqual([2, 1])
    leave(queue, at(1))
    expect([...queue.clients.keys()]).toEqual(['b'])
    expect(shareOfClient(queue, clientId('app'))).toEqual({
      ...{ size: 0, waiters: [], lanes: new Map() },
    })
  })

  it('by another in its place stays until its Worker has heard why', () => {
    const { queue, at } = queueOf({}, {})
    const why: Refusal = { ...REFUSAL, retryAtMs: 5 }
    displace(queue, at(0), why)
    expect(at(0)).toMatchObject({ state: 'refused', refusal: why })
    expect(queue.decided).toEqual(['w1'])
    expect([queue.size, queue.waiters.has(leaseId('w1'))]).toEqual([1, true])
    leave(queue, at(0))
    expect([queue.size, queue.waiters.has(leaseId('w1'))]).toEqual([1, false])
  })

  it('the youngest of a share is the last that still waits', () => {
    const { queue, at } = queueOf({}, {}, {})
    const share = shareOfClient(queue, clientId('app'))
    expect(nameOf(youngestOf(share))).toBe('w3')
    leave(queue, at(2))
    leave(queue, at(0))
    expect(nameOf(youngestOf(share))).toBe('w2')
    leave(queue, at(1))
    expect(youngestOf(share)).toBeUndefined()
  })

  it('the largest client is the one with the most, the latest of equal ones', () => {
    const { queue, join } = queueOf({ client: 'x' })
    const largest = [queue.largest]
    for (const client of ['y', 'x', 'y', 'z']) {
      join({ client })
      largest.push(queue.largest)
    }
    expect(largest).toEqual(['x', 'y', 'x', 'y', 'y'])
  })
})

describe('a sweep', () => {
  it('takes out whose Workers are gone, once a second at most', () => {
    const { queue, waiters } = queueOf(
      { lane: 'x', polledAtMs: NOW - 5_001 },
      { lane: 'y', polledAtMs: NOW - 4_500 },
      { lane: 'z', deadlineMs: NOW },
      {},
    )
    sweep(queue, NOW)
    expect(waiters.map(({ state }) => state)).toEqual(['gone', 'waits', 'waits', 'waits'])
    // Who is out of time has yet to hear so.
    expect([...queue.lines.keys()]).toEqual(['line of y', 'line of lane'])
    expect(queue.waiters.size).toBe(3)
    sweep(queue, NOW + 999)
    expect(waiters[1]?.state).toBe('waits')
    sweep(queue, NOW + 1_000)
    expect(waiters[1]?.state).toBe('gone')
  })

  it('of a queue without waiters is none: the next is due at once', () => {
    const { queue, join } = queueOf()
    sweep(queue, NOW)
    const late = join({ polledAtMs: NOW - 6_000 })
    sweep(queue, NOW + 1)
    expect(late.state).toBe('gone')
  })
})

describe('a key', () => {
  it('is kept for the first that claims it, until it is looked at again', () => {
    const { queue, at } = queueOf({}, {})
    claimKey(queue, A, at(0))
    claimKey(queue, A, at(1))
    expect(queue.claims.get(A)).toBe(at(0))
    expect([[...at(0).claims], [...at(1).claims]]).toEqual([['a'], []])
    noteMoment(queue, A, NOW + 5)
    forget(queue, A)
    expect([queue.claims.size, queue.moments.size, at(0).claims.size]).toEqual([0, 0, 0])
    claimKey(queue, A, at(1))
    expect(queue.claims.get(A)).toBe(at(1))
  })

  it('is looked at when its first moment has come, and not before', () => {
    const { queue } = queueOf({})
    noteMoment(queue, A, NOW + 20)
    noteMoment(queue, A, NOW + 10)
    noteMoment(queue, A, NOW + 15)
    noteMoment(queue, B, NOW + 30)
    expect(queue.nextMomentMs).toBe(NOW + 10)
    expect([takeMoments(queue, NOW + 9), queue.changed.size]).toEqual([false, 0])
    expect([takeMoments(queue, NOW + 10), [...queue.changed]]).toEqual([true, ['a']])
    expect([queue.nextMomentMs, [...queue.moments.keys()]]).toEqual([NOW + 30, ['b']])
    expect(takeMoments(queue, NOW + 29)).toBe(false)
    expect(takeMoments(queue, NOW + 30)).toBe(true)
    expect([queue.nextMomentMs, queue.changed.size]).toEqual([Number.POSITIVE_INFINITY, 2])
    expect(takeMoments(queue, NOW + 99)).toBe(false)
    // A key that is to be looked at anyway is no news.
    noteMoment(queue, A, NOW + 100)
    expect(takeMoments(queue, NOW + 100)).toBe(false)
  })
})

it('a queue that is empty forgets what was waited for', () => {
  const { queue, at } = queueOf({})
  queue.changed.add(A)
  queue.overspent.add(A)
  queue.unpaid.add('line of lane')
  queue.paidAtMs = NOW
  noteMoment(queue, A, NOW + 5)
  expect([restIfEmpty(queue), queue.changed.size]).toEqual([false, 1])
  leave(queue, at(0))
  firstFor(queue, offeringOf().offering)
  expect(restIfEmpty(queue)).toBe(true)
  const { changed, moments, unpaid, overspent, nextMomentMs, paidAtMs, lastDeadlineMs } = queue
  const { size: none } = changed
  expect([none, moments.size, unpaid.size, overspent.size]).toEqual([0, 0, 0, 0])
  const { POSITIVE_INFINITY, NEGATIVE_INFINITY } = Number
  expect([nextMomentMs, paidAtMs]).toEqual([POSITIVE_INFINITY, POSITIVE_INFINITY])
  expect(lastDeadlineMs).toBe(NEGATIVE_INFINITY)
  expect(restIfEmpty(queue)).toBe(true)
  expect(createQueue()).toMatchObject({ decided: [], uncharged: [] })
})
